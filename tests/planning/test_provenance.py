"""What made a result: the environments of its drawing and of its trainings, from their records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from editinfinity.cases.case import Case, Edit
from editinfinity.environment import Environment
from editinfinity.planning.provenance import provenance_of
from editinfinity.planning.variants import variants_of
from editinfinity.settings.groups import SETTINGS as DECLARED
from tests.jobs.records import write_record

HERE = Environment("cpu", 2, "torch 2.9")
THERE = Environment("cuda", 8, "torch 2.7")
SETTINGS = {
    **{key: setting.default for key, setting in DECLARED.items()},
    **{"model": "tiny", "mask_source": "none", "crop": "full", "checkpoint_every": 20},
    **{"train_textembedding_iter": 50, "train_lora_iter": 30},
}
TRAININGS = [
    *(f"text_embedding/iter{n}" for n in (20, 40, 50)),
    *(f"lora/embedding50/iter{n}" for n in (20, 30)),
]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    for name in ("photo.png", "source.txt", "target.txt"):
        (tmp_path / name).write_text(name)
    edit = Edit("cat", tmp_path / "target.txt", mask=None, target_word=None, settings=SETTINGS)
    return Case("cup", tmp_path / "photo.png", tmp_path / "source.txt", {"cat": edit}, SETTINGS)


def environments(
    case: Case, logs: Path, trained_there: str | None, **changes: int
) -> tuple[Environment | None, Environment | None]:
    """Write the records of a run; return the environments of the drawing and of a training."""
    (variant,) = variants_of(SETTINGS)
    variant = replace(variant, **changes)
    write_record(logs, f"edit/cat/{variant.name}", HERE)
    for job in [*TRAININGS, "text_embedding/iter25", "lora/embedding0/iter30"]:
        write_record(logs, job, THERE if job == trained_there else HERE)
    made = provenance_of(case, case.edits["cat"], variant, "tiny", logs)
    return made.environment, made.training_environment


@pytest.mark.parametrize("training", TRAININGS)
def test_a_training_elsewhere_is_recorded(case: Case, tmp_path: Path, training: str) -> None:
    assert environments(case, tmp_path / "logs", training) == (HERE, THERE)


@pytest.mark.parametrize("training", [None, "text_embedding/iter25", "lora/embedding0/iter30"])
def test_trainings_here_and_those_of_other_pictures_are_not(
    case: Case, tmp_path: Path, training: str | None
) -> None:
    assert environments(case, tmp_path / "logs", training) == (HERE, None)


def test_a_picture_without_an_adapter_has_no_training_of_one(case: Case, tmp_path: Path) -> None:
    for changes, training in (
        ({"lora": 0}, "lora/embedding50/iter30"),
        ({"lora": 0, "embedding": 0}, "text_embedding/iter50"),
        ({"embedding": 20, "lora": 0}, "text_embedding/iter40"),
    ):
        assert environments(case, tmp_path / "logs", training, **changes) == (HERE, None)
    # The adapter was trained with what the picture itself does not use.
    found = environments(case, tmp_path / "logs", "text_embedding/iter40", embedding=0)
    assert found == (HERE, THERE)


def test_trainings_without_a_record_are_unknown(case: Case, tmp_path: Path) -> None:
    (variant,) = variants_of(SETTINGS)
    made = provenance_of(case, case.edits["cat"], variant, "tiny", tmp_path / "logs")
    assert made.environment is None and made.training_environment is None
