"""Names of variants: written, read back, and what a sweep makes."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from editinfinity.config.load import load_config
from editinfinity.errors import UserError
from editinfinity.planning.variants import (
    NAMED_IF_SWEPT,
    VARIANT_PATTERN,
    Variant,
    parse_variant,
    variants_of,
)


def names(**settings: Any) -> list[str]:
    return [variant.name for variant in variants_of(load_config(settings).settings)]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "embedding10-lora50-cfg4-tau0.5-seed42"),
        ({"cfg": 4.5, "seed": 123456789}, "embedding10-lora50-cfg4.5-tau0.5-seed123456789"),
        ({"use_lora": 0}, "embedding10-lora0-cfg4-tau0.5-seed42"),
        ({"use_concat_embedding": 0}, "embedding0-lora50on10-cfg4-tau0.5-seed42"),
        ({"use_textembedding": 0}, "embedding10-lora50on0-cfg4-tau0.5-seed42"),
        (
            {"use_textembedding": 0, "use_concat_embedding": 0},
            "embedding0-lora50-cfg4-tau0.5-seed42",
        ),
        ({"use_lora": 0, "use_concat_embedding": 0}, "embedding0-lora0-cfg4-tau0.5-seed42"),
        ({"train_lora_iter": 30}, "embedding10-lora30-cfg4-tau0.5-seed42"),
        ({"use_lora_iter": 20}, "embedding10-lora20-cfg4-tau0.5-seed42"),
        ({"smoothing": "hard", "top_k": 5}, "embedding10-lora50-cfg4-tau0.5-seed42"),
        ({"method": "editmod"}, "embedding0-lora0-cfg4-tau0.5-seed42"),
        ({"method": "aredit"}, "embedding0-lora0-cfg3-tau1-seed42"),
        ({"method": "bitresedit"}, "embedding0-lora0-cfg4.0392-tau1-seed42"),
        ({"method": "bitresedit", "cfg": 5}, "embedding0-lora0-cfg5-tau1-seed42"),
        ({"guidance": "aredit"}, "embedding10-lora50-cfg3-tau1-seed42"),
        ({"tau": 1e-5}, "embedding10-lora50-cfg4-tau1e-05-seed42"),
    ],
)
def test_names(settings: dict[str, Any], name: str) -> None:
    assert names(**settings) == [name]


def test_lists_make_every_combination_once_and_the_first_is_chosen() -> None:
    made = names(use_lora_iter=[50, 0], cfg=[4.5, 3], smoothing=["hard", "linear"])
    assert made[0] == "embedding10-lora50-cfg4.5-tau0.5-seed42-smoothing=hard"
    assert len(made) == len(set(made)) == 8
    # Without LoRA it does not matter what a LoRA would have been trained over.
    made = names(use_lora_iter=0, use_textembedding_iter=[5, 10])
    assert made == ["embedding10-lora0-cfg4-tau0.5-seed42"]


def test_the_numbers_of_a_method_can_be_swept() -> None:
    made = names(method="editmod", editmod_preset=["preserve", "target"], editmod_confidence=[0.8])
    assert made == [
        f"embedding0-lora0-cfg4-tau0.5-seed42-editmod_preset={each}"
        for each in ("preserve", "target")
    ]
    made = names(method="editmod", editmod_copy=[1, 2], editmod_confidence=[0.8, 0.9])
    assert made[0].endswith("seed42-editmod_confidence=0.8-editmod_copy=1") and len(made) == 4
    assert len(names(method="aredit", aredit_threshold=[0.1, 0.2])) == 2
    for name in made:
        assert parse_variant(name).name == name
    # Another guidance does not use them, so that the pictures would be equal.
    lists: dict[str, Any] = {"editmod_preset": ["preserve", "target"], "top_k": [1, 900]}
    assert len(names(method="aredit", **lists)) == len(names(**lists)) == 2
    assert len(names(guidance="editmod", **lists)) == 4


@pytest.mark.parametrize("key", [*NAMED_IF_SWEPT, "cfg", "tau"])
def test_no_number_that_can_be_swept_is_negative(key: str) -> None:
    """A name separates its parts by "-"."""
    with pytest.raises(UserError):
        load_config({key: [-0.1, 0.2]})


def test_a_null_is_the_guidances_own_default() -> None:
    def smoothing(**settings: Any) -> Any:
        loaded = load_config(settings).settings
        return variants_of(loaded)[0].setting("smoothing", loaded)

    assert smoothing() == smoothing(method="editmod") == "linear"
    assert smoothing(guidance="bitresedit") == "bitresedit"
    assert smoothing(method="bitresedit", smoothing="hard") == "hard"


def test_a_name_reads_back_as_the_variant_it_was_written_for() -> None:
    further = [(), (("smoothing", "none"),), (("top_k", 2), ("top_p", 1e-5))]
    points = itertools.product([0, 10], [0, 7], [0, 10], [4.5, 1e-7, 3.0], [0.5], [0, 42], further)
    for embedding, lora, base, cfg, tau, seed, more in points:
        variant = Variant(embedding, lora, base if lora else 0, cfg, tau, seed, more)
        assert parse_variant(variant.name) == variant
        assert re.fullmatch(VARIANT_PATTERN, variant.name)


@pytest.mark.parametrize(
    "name",
    [
        "embedding10-lora50",
        "embedding10-lora50-cfg4.0-tau0.5-seed42",
        "embedding010-lora50-cfg4-tau0.5-seed42",
        "embedding10-lora50on10-cfg4-tau0.5-seed42",
        "embedding10-lora0on10-cfg4-tau0.5-seed42",
        "embedding10-lora50-cfg4-tau0.5-seed42-smoothing=soft",
        "embedding10-lora50-cfg4-tau0.5-seed42-device=cpu",
        "embedding10-lora50-cfg4-tau0.5-seed42-",
    ],
)
def test_other_spellings_are_refused(name: str) -> None:
    with pytest.raises(UserError):
        parse_variant(name)


def test_numbers_a_name_cannot_show_are_refused() -> None:
    with pytest.raises(UserError, match="round it to 4.12346"):
        names(cfg=4.123456789)
