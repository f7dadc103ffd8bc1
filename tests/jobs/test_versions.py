"""Stage versions: numbers that people raise, and digests of the code they stand for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editinfinity.jobs import stage_version
from editinfinity.jobs.record import Code
from editinfinity.jobs.stage_version import (
    changed_stages,
    current_digests,
    recorded_versions,
    rule_version,
)
from tests.workflow.project import ROOT

PACKAGE = ROOT / "editinfinity"
STAGES = list(recorded_versions())


def test_every_rule_has_a_stage_with_a_version() -> None:
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert {stage_version.stage_of(rule) for rule in scripts} == set(STAGES)
    assert all((PACKAGE / "stages" / f"{stage}.py").is_file() for stage in STAGES)
    assert rule_version("edit_text_features") == rule_version("text_features") == "text_features:1"


@pytest.mark.parametrize("name", ["edit_{}", "{}_of_photo", "text_{}", "my_other_{}"])
def test_a_rule_of_a_module_runs_the_stage_it_is_named_after(name: str) -> None:
    rules = [path.stem for path in (ROOT / "scripts").glob("*.py")]
    renamed = {rule: stage_version.stage_of(name.format(rule)) for rule in rules}
    assert renamed == {rule: stage_version.stage_of(rule) for rule in rules}
    assert stage_version.stage_of("album") == "album"
    put_back = stage_version.running_code("put_back", "finish")
    assert put_back.rule == "put_back"
    assert put_back.digest == stage_version.running_digests()["finish"]


def test_the_code_of_every_stage_is_what_its_version_stands_for() -> None:
    """Fails with every change of code that computes results, until somebody classifies it.

    Who knows that the results stay the same runs ``python -m editinfinity.jobs.stage_version
    same``; who knows better runs ``… new STAGE``, and every user's results of it are made again.
    """
    changed = changed_stages(current_digests())
    assert not changed, (
        f"the code of {', '.join(changed)} has changed; if its results are the same, run "
        "`python -m editinfinity.jobs.stage_version same`, else `python -m "
        f"editinfinity.jobs.stage_version new {' '.join(changed)}`, and commit versions.json"
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package and the scripts, to be changed."""
    folder = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    return folder


def changed_in(package: Path) -> list[str]:
    """Stages whose digest differs from the project's."""
    now, before = current_digests(package, package.parent / "scripts"), current_digests()
    return [stage for stage in STAGES if now[stage] != before[stage]]


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_digest_follows_code_through_imports(package: Path) -> None:
    assert changed_in(package) == []
    rewrite(
        package / "stages" / "kernel.py", "import annotations\n", "import annotations\nNEW = 1\n"
    )
    assert changed_in(package) == ["kernel"]
    rewrite(
        package / "editing" / "sampler.py", "import annotations\n", "import annotations\nX = 1\n"
    )
    assert changed_in(package) == ["attention_map", "kernel", "edit"]
    rewrite(package.parent / "scripts" / "edit_text_features.py", "this.run(", "this.run( 1, ")
    assert changed_in(package) == ["text_features", "attention_map", "kernel", "edit"]
    rewrite(package / "errors.py", "class GpuMemoryError", "X = 1\n\n\nclass GpuMemoryError")
    assert changed_in(package) == STAGES


def test_cached_digests_do_not_hide_a_new_stage(package: Path) -> None:
    versions = package / "stages" / "versions.json"
    complete = json.loads(versions.read_text("utf-8"))
    for stages in (STAGES[:-1], STAGES):
        versions.write_text(json.dumps({stage: complete[stage] for stage in stages}))
        recorded_versions.cache_clear()
        assert list(current_digests(package, package.parent / "scripts")) == stages


def test_prose_formatting_and_places_are_not_in_a_digest(package: Path) -> None:
    kernel = package / "stages" / "kernel.py"
    rewrite(kernel, '"""Stage', '"""The stage')
    rewrite(kernel, "    source = ", "    # The photograph's.\n    source = \\\n        ")
    locate = package / "method" / "locate.py"
    rewrite(locate, "is outside the part", "is not in the part")
    rewrite(
        package / "files" / "input_files.py",
        "is not UTF-8 text; save it",
        "is not in UTF-8; save it",
    )
    (package / "editing" / "blend_mask.py").rename(package / "editing" / "weights.py")
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8").replace("editing.blend_mask", "editing.weights")
        path.write_text(text, encoding="utf-8")
    assert changed_in(package) == []


def test_a_change_is_classified_by_one_command(package: Path) -> None:
    rewrite(
        package / "stages" / "kernel.py", "import annotations\n", "import annotations\nNEW = 1\n"
    )
    rewrite(
        package / "editing" / "sampler.py", "import annotations\n", "import annotations\nX = 1\n"
    )

    def classify(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "editinfinity.jobs.stage_version", *arguments]
        (package.parent / "Snakefile").touch()
        (package.parent / "rules").mkdir(exist_ok=True)
        return subprocess.run(command, cwd=package.parent, text=True, capture_output=True)

    before = recorded_versions()
    assert classify("new", "kernel").stdout.startswith("kernel: version 2, ")
    assert [line.partition(",")[0] for line in classify("same").stdout.splitlines()] == [
        "attention_map: version 1",
        "edit: version 1",
    ]
    after = json.loads((package / "stages" / "versions.json").read_text("utf-8"))
    assert {stage: entry["version"] for stage, entry in after.items()} == {
        stage: known.version + (stage == "kernel") for stage, known in before.items()
    }
    assert classify("same").stdout == ""
    refused = classify("newer", "kernel")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("usage: same [STAGE ...] or: new STAGE")


def test_codes_agree_by_version_unless_somebody_changed_one() -> None:
    released, next_release = Code("edit", 1, "a", False), Code("edit", 1, "b", False)
    assert released.matches(next_release)
    assert not released.matches(Code("edit", 2, "a", False))
    changed = Code("edit", 1, "c", True)
    assert changed.matches(changed)
    assert not changed.matches(released)
    assert not released.matches(changed)
    assert not changed.matches(Code("edit", 1, "d", True))


def test_versions_need_no_torch() -> None:
    code = (
        "import sys; from editinfinity.jobs.stage_version import current_digests\n"
        "current_digests(); assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
