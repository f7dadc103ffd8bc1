"""The sheet of a sweep: one place for every variant, labelled axes, the chosen one framed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from editinfinity.cases.case import Edit
from editinfinity.cases.load import load_cases
from editinfinity.config.load import load_config
from editinfinity.evaluation.record import MetricResults
from editinfinity.planning.targets import Layout, layout
from editinfinity.planning.variants import variants_of
from editinfinity.results.sweep_sheet import COLUMNS, _rows, axes_of, sweep_sheet
from editinfinity.results.thumbnails import SIDE
from tests.cases.test_cases import make_case
from tests.workflow.project import draw_image


def swept(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Edit, Layout]:
    monkeypatch.chdir(folder)
    make_case(Path("data", "a"))
    draw_image(Path("data", "a", "image", "original_image.jpg"), seed=1)
    config = load_config(settings)
    case = load_cases(config).by_name["a"]
    edit, where = case.edits["edit"], layout(config, "a")
    for index, variant in enumerate(variants_of(edit.settings)):
        draw_image(Path(where.picture("edit", variant)), seed=index, size=(64, 64))
        measured = MetricResults({"background_psnr": 30.0 + index, "alignment": 0.5})
        measured.save(Path(where.metrics("edit", variant)))
    draw_image(Path(where.result("edit")), seed=2)
    return edit, where


def test_axes_are_what_differs_the_longest_across(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, where = swept(
        tmp_path, monkeypatch, cfg=[4, 3], use_lora_iter=[50, 30, 10], smoothing=["linear", "hard"]
    )
    variants = variants_of(edit.settings)
    assert [axis.key for axis in axes_of(variants)] == ["lora", "cfg", "smoothing"]
    rows = list(_rows(edit, where, variants))
    assert len(rows) == 4
    assert list(rows[0].headings) == [f"LoRA: {n} iterations" for n in (50, 30, 10)]
    assert [list(row.label) for row in rows] == [
        ["guidance 4", "kernel linear"],
        ["guidance 4", "kernel hard"],
        ["guidance 3", "kernel linear"],
        ["guidance 3", "kernel hard"],
    ]
    shown = [cell.path for row in rows for cell in row.cells if cell]
    assert len(shown) == len(set(shown)) == len(variants) == 12
    assert [cell.chosen for row in rows for cell in row.cells if cell] == [True] + [False] * 11
    assert rows[0].cells[0].caption == "30.0 dB background, alignment 0.50"


def test_none_of_something_is_a_value_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, where = swept(tmp_path, monkeypatch, use_lora_iter=[0, 50], use_embedding_iter=[10, 0])
    rows = list(_rows(edit, where, variants_of(edit.settings)))
    labels = {label for row in rows for label in (*row.label, *row.headings)}
    assert {"no LoRA", "no text embedding", "LoRA: 50 iterations"} <= labels
    # What a LoRA was trained over says nothing where there is none, so that it is no axis.
    assert [len(row.cells) for row in rows] == [2, 2]
    assert all(cell for row in rows for cell in row.cells)


def test_a_long_axis_goes_on_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit, where = swept(tmp_path, monkeypatch, seed=list(range(COLUMNS + 3)))
    rows = list(_rows(edit, where, variants_of(edit.settings)))
    assert [len(row.cells) for row in rows] == [COLUMNS, 3]
    case = load_cases(load_config({"seed": list(range(COLUMNS + 3))})).by_name["a"]
    sheet = sweep_sheet(case, edit, where)
    with Image.open(sheet) as picture:
        assert COLUMNS * SIDE < picture.width < (COLUMNS + 1) * SIDE
        assert 3 * SIDE < picture.height < 4 * SIDE


def test_the_frame_follows_the_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit, where = swept(tmp_path, monkeypatch, cfg=[4, 3], select="best")
    first, second = variants_of(edit.settings)

    def framed() -> list[bool]:
        return [c.chosen for row in _rows(edit, where, [first, second]) for c in row.cells if c]

    assert framed() == [False, False]  # not chosen yet
    Path(where.selection("edit")).write_text(json.dumps({"chosen": second.name}))
    assert framed() == [False, True]


def test_a_single_variant_has_no_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit, where = swept(tmp_path, monkeypatch)
    case = load_cases(load_config({})).by_name["a"]
    assert sweep_sheet(case, edit, where) is None
