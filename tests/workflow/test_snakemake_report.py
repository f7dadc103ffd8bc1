"""``snakemake --report``, and the target ``report``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.workflow.project import Project


@pytest.mark.slow
def test_snakemakes_own_report_and_the_page_of_a_run_in_which_a_case_fails(tmp_path: Path) -> None:
    without = ("train_textembedding", "use_textembedding", "use_concat_embedding")
    project = Project.create(tmp_path / "project", **dict.fromkeys(without, 0))
    project.add_case("a b", mask=True)
    broken = project.add_case("broken")
    (broken / "image" / "original_image.jpg").write_bytes(b"no picture")
    project.run("--keep-going", status=1)

    page = project.folder / "results" / "report.html"
    text = page.read_text("utf-8")
    assert "broken/image/original_image.jpg: is not a picture" in text
    assert '"outcome":"edited"' in text
    page.unlink()
    assert not project.run("report", status=None).jobs
    assert page.exists()

    project.run("--report", "report.html", "--config", "cases=[a b]")
    text = (project.folder / "report.html").read_text("utf-8")
    listed = re.findall(r'"name": "([^"]+)", "filename": "[^"]+", "labels": (\{[^}]*\})', text)
    labels = dict(listed)
    assert labels["edit.png"] == '{"case": "a b", "edit": "edit"}'
    assert '"to iteration": "2"' in labels["losses.tsv"]
    assert '"variant": "embedding0-lora2-cfg4.5' in text
    for category in ("Edits", "Variants", "Losses"):
        assert f'"{category}"' in text
    assert "<em>a b</em> at the size of" in text
    assert "Photographs edited by text" in text
