"""``select: best``: the stated rule, told in words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from editinfinity.evaluation.record import MetricResults
from editinfinity.stages.select import choose, select_variant


def of(psnr: float, **more: float) -> MetricResults:
    return MetricResults({"background_psnr": psnr, **more})


def test_the_most_aligned_whose_background_is_kept() -> None:
    found = choose(
        {"a": of(30, alignment=0.7), "b": of(20, alignment=0.99), "c": of(26, alignment=0.9)}, 25
    )
    assert found.chosen == "c"
    assert "alignment 0.9, the highest of 2 variants that reach 25 dB (3 in total)" in found.why
    assert found.table["b"]["keeps_enough"] is False


def test_clip_decides_where_every_variant_has_it() -> None:
    both = {"a": of(30, alignment=0.9, clip_edited=20.0), "b": of(30, alignment=0.1)}
    assert choose(both, 25).chosen == "a"
    assert choose(both, 25).measure == "alignment"
    both["b"] = of(30, alignment=0.1, clip_edited=24.0)
    assert choose(both, 25).chosen == "b"
    assert choose(both, 25).measure == "clip_edited"


def test_equals_go_to_the_better_background_and_then_to_the_earlier() -> None:
    found = choose({"a": of(30, alignment=0.99941), "b": of(33, alignment=0.99938)}, 25)
    assert found.chosen == "b"
    assert "2 variants with equal" in found.why
    assert choose({"a": of(30, alignment=1.0), "b": of(30, alignment=1.0)}, 25).chosen == "a"


def test_where_none_keeps_enough_the_one_that_keeps_most() -> None:
    found = choose({"a": of(20, alignment=0.9), "b": of(22, alignment=0.1)}, 25)
    assert found.chosen == "b"
    assert "no variant has a background PSNR of 25 dB" in found.why


def test_nothing_to_keep_is_kept() -> None:
    found = choose({"a": of(math.nan, alignment=0.2), "b": of(math.nan, alignment=0.8)}, 25)
    assert found.chosen == "b"
    assert "nothing is background" in found.why


def test_without_any_alignment_the_background_decides_and_it_is_said() -> None:
    found = choose({"a": of(28), "b": of(31)}, 25)
    assert found.chosen == "b"
    assert "no alignment is known" in found.why


@pytest.mark.parametrize("psnr", [24.996, 25.0])
def test_the_floor_is_compared_as_tables_round(psnr: float) -> None:
    assert choose({"a": of(psnr)}, 25).table["a"]["keeps_enough"]


def test_what_is_written_says_what_and_why(tmp_path: Path) -> None:
    files = {}
    for name, measured in (("a", of(30, alignment=0.25)), ("b", of(29, alignment=0.75))):
        files[name] = tmp_path / f"{name}.metrics.json"
        measured.save(files[name])
    select_variant(metrics=files, output=tmp_path / "s.json", floor=25.0)
    found = json.loads((tmp_path / "s.json").read_text("utf-8"))
    assert found["chosen"] == "b"
    assert found["rule"] == "best alignment with background PSNR ≥ 25 dB"
    assert [row["variant"] for row in found["variants"]] == ["a", "b"]
