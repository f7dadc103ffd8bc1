"""Stage versions: they change with code, and with nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editinfinity.workflow import stage_version as versions
from editinfinity.workflow.stage_version import modules_used, rule_version, stage_version

PACKAGE = Path(versions.__file__).parents[1]
STAGES = [
    "check",
    "jsonl",
    "image_features",
    "text_features",
    "train_textembedding",
    "train_lora",
    "attention_map",
    "mask_pictures",
    "kernel",
    "edit",
    "finish",
    "metrics",
    "select",
]


def test_every_stage_has_a_version_of_its_own() -> None:
    assert len({stage_version(stage) for stage in STAGES}) == len(STAGES)
    with pytest.raises(ValueError, match="no stage"):
        stage_version("nonsense")


def test_versions_follow_imports_through_the_package() -> None:
    used = modules_used("editinfinity.stages.kernel")
    assert "editinfinity.editing.kernel" in used
    assert "editinfinity.errors" in used
    assert "editinfinity.models.transformer" not in used
    assert "editinfinity.models.transformer" in modules_used("editinfinity.stages.edit")


def versions_of(package: Path) -> dict[str, str]:
    code = (
        "from editinfinity.workflow.stage_version import stage_version\n"
        f"for stage in {STAGES!r}: print(stage, stage_version(stage))\n"
        "import sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=package.parent, text=True, capture_output=True, check=True
    )
    return dict(line.split() for line in run.stdout.splitlines())


def test_code_changes_a_version_and_prose_does_not(tmp_path: Path) -> None:
    package = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    before = versions_of(package)
    assert before == {stage: stage_version(stage) for stage in STAGES}

    kernel = package / "stages" / "kernel.py"
    kernel.write_text("# a comment\n" + kernel.read_text("utf-8").replace('"""', '"""So: ', 1))
    assert versions_of(package) == before

    kernel.write_text(kernel.read_text("utf-8") + "\nNEW = 1\n", encoding="utf-8")
    after = versions_of(package)
    assert {stage for stage in STAGES if after[stage] != before[stage]} == {"kernel"}

    errors = package / "errors.py"
    errors.write_text(errors.read_text("utf-8") + "\nNEW = 1\n", encoding="utf-8")
    assert all(versions_of(package)[stage] != after[stage] for stage in STAGES if stage != "none")


def test_a_rules_version_covers_its_script(tmp_path: Path) -> None:
    script = tmp_path / "kernel.py"
    seen = set()
    for text in ('"""Prose."""\nx = 1', "# prose\nx = 1", "x = 2"):
        script.write_text(text, encoding="utf-8")
        rule_version.cache_clear()
        seen.add(rule_version(script, "kernel"))
    assert len(seen) == 2
