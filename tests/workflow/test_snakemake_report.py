"""``snakemake --report``, and the target ``report``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.workflow.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Project:
    without = ("train_textembedding", "use_textembedding", "use_concat_embedding")
    project = Project.create(tmp_path / "project", **dict.fromkeys(without, 0))
    project.add_case("a b", mask=True)
    return project


def test_snakemakes_own_report_has_captions_categories_and_labels(project: Project) -> None:
    project.run()
    project.run("--report", "report.html")
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


def test_the_page_is_made_when_cases_fail_and_as_a_target_of_its_own(project: Project) -> None:
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
