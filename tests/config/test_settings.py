"""Groups of settings: values are checked together, and earlier names still work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from editinfinity.errors import UserError
from editinfinity.settings.groups import (
    GROUPS,
    LoraSettings,
    ModelSettings,
    SamplingSettings,
    TrainingSettings,
)
from editinfinity.settings.setting import as_yaml, make_groups


def test_all_faults_are_told_at_once_with_the_cure_of_each() -> None:
    with pytest.raises(UserError) as fault:
        TrainingSettings(noise_strength=2, betas=(0.9, 1.0), train_seed=-1)
    assert str(fault.value) == (
        "train_seed: must be a whole number from 0 to 9223372036854775807, got -1; write e.g. "
        "train_seed: 42; betas: must be a list of 2 numbers, each ≥ 0 and < 1, got [0.9, 1.0]; "
        "write e.g. betas: [0.9, 0.97]; noise_strength: must be a number ≥ 0 and < 1, got 2; "
        "write e.g. noise_strength: 0.3"
    )


def test_values_come_to_one_form() -> None:
    settings = SamplingSettings(seed=np.int64(3), cfg=3, top_k=5.0)
    assert [type(value) for value in vars(settings).values()] == [int, float, float, int, float]
    assert ModelSettings(model_dir="weights", threads="2") == ModelSettings(
        model_dir=Path("weights"), threads=2
    )


@pytest.mark.parametrize(
    ("made", "said", "expected"),
    [
        (lambda: TrainingSettings(seed=7), "seed is now train_seed", {"train_seed": 7}),
        (lambda: TrainingSettings(gradient_clip=2.0), "now grad_clip", {"grad_clip": 2.0}),
        (lambda: TrainingSettings(condition_dropout=0.0), "now cond_drop", {"cond_drop": 0.0}),
        (
            lambda: TrainingSettings(learning_rate=0.1),
            "now embedding_learning_rate and lora_learning_rate",
            {"embedding_learning_rate": 0.1, "lora_learning_rate": 0.1},
        ),
        (
            lambda: LoraSettings(rank=2, alpha=8, dropout=0),
            "now lora_rank",
            {"lora_rank": 2, "lora_alpha": 8.0, "lora_dropout": 0.0},
        ),
        (lambda: ModelSettings(preset="tiny"), "preset is now model", {"model": "tiny"}),
    ],
)
def test_earlier_names_work_and_warn(made, said: str, expected: dict[str, object]) -> None:
    with pytest.warns(DeprecationWarning, match=said):
        settings = made()
    assert {key: getattr(settings, key) for key in expected} == expected


def test_every_setting_says_what_it_does() -> None:
    for group in GROUPS:
        for setting in group.settings().values():
            assert len(setting.help) > 4 and not setting.help.endswith("."), setting.key


def test_numbers_are_written_short_and_as_yaml_reads_them() -> None:
    assert [as_yaml(value) for value in (True, 4.0, 2e-7, 1e16, (0.9, 0.97), None, "auto")] == [
        "1", "4", "2.0e-7", "1.0e16", "[0.9, 0.97]", "null", "auto",
    ]  # fmt: skip


def test_a_key_of_no_group_is_refused() -> None:
    with pytest.raises(UserError, match="taus: is not a setting accepted here; did you mean tau?"):
        make_groups({"taus": 1}, SamplingSettings, LoraSettings)


def test_paths_of_before_are_importable() -> None:
    from editinfinity.files import api_inputs, handed_in
    from editinfinity.stages import settings

    assert settings.ModelSettings is ModelSettings and handed_in.MaskLike is api_inputs.MaskLike
