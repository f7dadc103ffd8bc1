"""Fingerprints and stage versions: they change with content and code, and with nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editinfinity.workflow import fingerprint
from editinfinity.workflow.stage_version import modules_used, rule_version, stage_version

PACKAGE = Path(fingerprint.__file__).parents[1]
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


def test_texts(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("a  red hat\n", encoding="utf-8")
    assert fingerprint.of_text(path) == fingerprint.of_text("a red hat")
    assert fingerprint.of_text("a red hat") != fingerprint.of_text("a blue hat")
    path.write_bytes(b"\xff\xfe")
    assert fingerprint.of_text(path) not in (fingerprint.MISSING, fingerprint.of_text(""))
    assert fingerprint.of_text(tmp_path / "none.txt") == fingerprint.MISSING
    assert fingerprint.of_text(None) == "none"


def test_images_by_size_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    content = bytes(range(256)) * 1024
    seen = set()
    for changed in (content, b"x" + content[1:], content[:-1] + b"x", content + b"x", b"", b"x"):
        path.write_bytes(changed)
        seen.add(fingerprint.of_image(path))
    assert len(seen) == 6
    assert fingerprint.of_image(tmp_path) == fingerprint.of_image(tmp_path / "b") == "missing"


def test_weights_by_name_and_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    assert fingerprint.of_images([a, b]) == fingerprint.of_images([b, a])
    assert fingerprint.of_images([a]) != fingerprint.of_images([a, b])
    assert fingerprint.of_images([]) == fingerprint.MISSING


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
