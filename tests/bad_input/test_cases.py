"""Every bad photograph, mask, prompt and word through the workflow's own ``check`` script."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from editinfinity.cases.load import load_case
from editinfinity.config.load import load_config
from editinfinity.jobs.record import FAILED, read_record
from editinfinity.planning import fingerprint
from tests.bad_input.corpus import Accepted, Bad, require_clear, sound_case
from tests.bad_input.pictures import IMAGES, MASKS
from tests.bad_input.texts import PROMPTS, WORDS
from tests.workflow.project import ROOT


def check(case: str, **settings: object) -> str | None:
    """What the check job of a case says when it fails; None where it finds nothing wrong."""
    log = Path("results", case, "logs", "check.log")
    snakemake = SimpleNamespace(
        config={"model": "tiny", **settings},
        wildcards=SimpleNamespace(case=case),
        params={},
        input={},
        output=[f"results/{case}/check.json"],
        log=[str(log)],
        rule="check",
    )
    try:
        runpy.run_path(str(ROOT / "scripts" / "check.py"), {"snakemake": snakemake})
    except SystemExit as end:
        assert end.code == 1
        record = read_record(log.parent, "check")
        assert record is not None and record.outcome is not None
        assert record.outcome.state == FAILED
        assert log.read_text("utf-8").splitlines()[-1].endswith(record.outcome.message)
        return record.outcome.message
    return None


def settled(bad: Bad, folder: Path, said: str | None) -> None:
    """Make sure that what came of an input is what may come of it."""
    if said is None:
        assert bad.accepted is not Accepted.LINE, "it was taken for sound"
        if bad.right is not None:
            bad.right(folder)
        return
    assert bad.accepted is not Accepted.RIGHT, said
    require_clear(said, bad.blamed)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return sound_case(Path("data/case"))


def test_a_sound_case_passes(case: Path) -> None:
    assert check("case") is None
    assert check("case", mask_source="attention") is None


@pytest.mark.parametrize("bad", [*IMAGES, *MASKS, *PROMPTS], ids=str)
def test_bad_images_masks_and_prompts(
    bad: Bad, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad.spoil(case)
    said = check("case")
    settled(bad, case, said)
    # The terminal shows the same line and no more.
    shown = capsys.readouterr().err.splitlines()
    assert shown == ([] if said is None else [said])


@pytest.mark.parametrize("bad", WORDS, ids=str)
def test_bad_target_words(bad: Bad, case: Path) -> None:
    bad.spoil(case)
    settled(bad, case, check("case", mask_source="attention"))


def test_a_bad_blend_mask_is_one_line_of_its_file(case: Path) -> None:
    """It is read in place of the mask; tests/files/test_blends.py has all that may be wrong."""
    path = case / "image" / "blend.npy"
    np.save(path, np.ones((64, 64)))
    said = check("case")
    assert (
        said is not None and f"{path}: has a grid of 64×64, but the photograph's is 56×70" in said
    )
    require_clear(said, "blend.npy")
    np.save(path, np.ones((56, 70)))
    (case / "image" / "mask.png").write_text("no mask, but not used either")
    assert check("case") is None


@pytest.mark.parametrize("bad", [*IMAGES, *MASKS, *PROMPTS, *WORDS], ids=str)
def test_planning_neither_hangs_nor_stops(bad: Bad, case: Path) -> None:
    """What planning looks at of a case: its files' names and fingerprints."""
    bad.spoil(case)
    found = load_case(load_config({"model": "tiny", "mask_source": "user"}), "case")
    edit = found.edits["edit"]
    fingerprint.of_file(found.image)
    for text in (found.source_prompt, edit.prompt, edit.target_word):
        fingerprint.of_text(text)
    fingerprint.of_file(edit.mask)


def test_the_corpus_is_large_enough() -> None:
    names = [bad.name for bad in (*IMAGES, *MASKS, *PROMPTS, *WORDS)]
    assert len(names) >= 60
