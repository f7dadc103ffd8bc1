"""The workflow as a module of another one, which lies elsewhere and has rules of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.workflow.project import BARE, ROOT, SETTINGS, Project

pytestmark = pytest.mark.slow

OUTER = """
configfile: "config.yaml"

rule album:
    input: "{prefix}results/one/edit.png"
    output: "album.png"
    shell: "cp {{input}} {{output}}"

module editinfinity:
    snakefile: "{workflow}/Snakefile"
    config: config["edit"]
    {prefix_line}

use rule * from editinfinity as {names}
"""

HANDLERS = """
onstart: editinfinity.onstart()
onsuccess: editinfinity.onsuccess()
onerror: editinfinity.onerror()
"""


def outer(folder: Path, names: str, prefix: str = "", handlers: str = "") -> Project:
    """A workflow with a case and a rule that takes its edit."""
    project = Project(folder / "outer")
    project.add_case("one")
    configure(project)
    snakefile = OUTER.format(
        workflow=ROOT,
        names=names,
        prefix=f"{prefix}/" if prefix else "",
        prefix_line=f'prefix: "{prefix}"' if prefix else "",
    )
    (project.folder / "Snakefile").write_text(snakefile + handlers, "utf-8")
    return project


def configure(project: Project, **settings: object) -> None:
    content = {"edit": {**SETTINGS, **BARE, **settings}, "colours": 3}
    (project.folder / "config.yaml").write_text(yaml.safe_dump(content), "utf-8")


def reads_by_workers(results: Path) -> int:
    """How often a worker has read the tokenizer, which two jobs need; it says what it keeps."""
    logs = results.rglob("*.log")
    return sum(log.read_text("utf-8").count("load_tokenizer: read") for log in logs)


def test_another_workflow_takes_an_edit_as_input(tmp_path: Path) -> None:
    project = outer(tmp_path, "edit_*", prefix="photos", handlers=HANDLERS)
    done = project.call("--resources", "gpu=1")
    results = project.folder / "photos" / "results"
    assert (project.folder / "album.png").read_bytes() == (results / "one/edit.png").read_bytes()
    assert "one   edit  edited" in done.stdout and "photos/results/one/edit.png" in done.stdout
    assert (results / "report.html").is_file()
    assert not list(results.glob(".unfinished*"))
    assert reads_by_workers(results) == 1
    assert not (project.folder / "results").exists()
    assert "Nothing to be done" in project.call().stderr
    # A changed setting of its configuration runs what it runs in the workflow alone.
    configure(project, cfg=3)
    plan = project.call("-n", "--quiet", "host").stdout
    assert {"edit_edit", "edit_finish", "album"} <= set(plan.split())
    assert "edit_image_features" not in plan


def test_without_its_handlers_each_job_reads_the_model_by_itself(tmp_path: Path) -> None:
    project = outer(tmp_path, "*_of_photo")
    done = project.call("--resources", "gpu=1")
    assert (project.folder / "album.png").is_file()
    assert reads_by_workers(project.folder / "results") == 0
    assert "edited" not in done.stdout
    assert "Nothing to be done" in project.call().stderr


RULES_WITH_A_GPU = """
rule count:
    input: "1.count", "2.count"

rule use_gpu:
    output: "{n}.count"
    resources: gpu=1
    shell: "mkdir in_use && sleep 1 && rmdir in_use && touch {output}"
"""


def test_no_more_jobs_of_the_other_workflow_share_a_gpu(tmp_path: Path) -> None:
    project = outer(tmp_path, "edit_*", handlers=HANDLERS + RULES_WITH_A_GPU)
    project.call("--resources", "gpu=1", "--", "count")


def test_a_fault_of_its_configuration_is_one_line(tmp_path: Path) -> None:
    project = outer(tmp_path, "edit_*")
    configure(project, model="tny")
    done = project.call("-n", status=1)
    assert done.stderr.splitlines()[-1].startswith(
        "config of module editinfinity: model: must be one of"
    )
    assert "Traceback" not in done.stderr and "colours" not in done.stderr
