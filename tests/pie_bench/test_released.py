"""The released layout is read as meant; what cannot be used is told and left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editinfinity.cases.pie_bench import (
    FOUND,
    GIVEN,
    case_of_entry,
    cases_of_benchmark,
    sample,
    selected_entries,
)
from editinfinity.cases.pie_bench_layout import TYPES, decode_mask, read_benchmark, target_word
from editinfinity.config.load import Config, ConfigError, load_config
from editinfinity.editing.blend_mask import make_blend_mask
from editinfinity.errors import UserError
from editinfinity.evaluation.canvas import mask_on_canvas
from editinfinity.evaluation.names import NAMES
from editinfinity.evaluation.record import MetricResults
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.files.masks import read_mask
from editinfinity.planning.model import drawing_identity, model_identity
from editinfinity.planning.targets import check_plan, layout
from editinfinity.planning.variants import variants_of
from editinfinity.results.pie_bench import PUBLISHED, PUBLISHED_FOUND, write_tables
from tests.pie_bench import made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.make_benchmark(tmp_path_factory.mktemp("pie") / "bench", 24)


def slow_decoding(runs: list[int]) -> np.ndarray:
    """The definition, pixel by pixel."""
    flat = np.zeros(512 * 512, dtype=bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for pixel in range(start, min(start + length, flat.size)):
            flat[pixel] = True
    return flat.reshape(512, 512)


@pytest.mark.parametrize("name", made.ODD_MASKS)
def test_masks_are_decoded_as_specified(name: str) -> None:
    runs = made.ODD_MASKS[name]
    assert np.array_equal(decode_mask(tuple(runs)), slow_decoding(runs))


def test_extremes_of_masks() -> None:
    assert not decode_mask(()).any()
    assert decode_mask((0, 512 * 512)).all()
    assert not decode_mask((10**30, 10**30)).any()
    box = decode_mask(tuple(made.box_runs(100, 50, 30, 20)))
    assert box[50:70, 100:130].all()
    assert box.sum() == 600


def test_only_the_judge_counts_the_border_lines_as_edited(folder: Path, tmp_path: Path) -> None:
    """Two lines of 8 pixels are 23 % of a corner cell, which would be edited."""
    config = load_config({"pie_bench": str(folder), "results": str(tmp_path)})
    entry = read_benchmark(folder).entries[7]
    mask = case_of_entry(entry, config).edits[GIVEN].mask
    assert mask is not None
    edited = read_mask(mask, (512, 512))
    assert np.array_equal(edited, slow_decoding(list(entry.runs)))

    kept = make_blend_mask(edited, (64, 64), "linear")
    assert (kept[[0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()
    canvas = np.zeros((512, 512, 3), np.uint8)
    judged = EditedPicture(canvas, canvas, mask_on_canvas(edited, (512, 512)), "").region
    border = np.ones((512, 512), bool)
    border[1:-1, 1:-1] = False
    assert np.array_equal(judged, edited | border)
    assert make_blend_mask(judged, (64, 64), "linear")[0, 0] == 0  # what the editor must not get


def test_a_mask_with_border_of_an_older_run_is_not_used_again(folder: Path, tmp_path: Path) -> None:
    config = load_config({"pie_bench": str(folder), "results": str(tmp_path)})
    entry = read_benchmark(folder).entries[7]
    digest = hashlib.sha256(repr(entry.runs).encode()).hexdigest()[:12]  # as 0.1.0 named it
    older = Path(config.results, "masks", f"{entry.name}-{digest}.png")
    older.parent.mkdir(parents=True)
    older.write_bytes(b"with border")
    assert case_of_entry(entry, config).edits[GIVEN].mask != older


def test_lora_learns_twenty_iterations_unless_the_benchmark_says_otherwise(
    folder: Path, tmp_path: Path
) -> None:
    raw = {"pie_bench": str(folder), "results": str(tmp_path)}
    for given, iterations, told in (
        ({}, 20, False),
        ({"train_lora_iter": 50}, 20, False),  # the default of other cases, in config.yaml
        ({"pie_bench_lora_iter": 50}, 50, False),
        ({"train_lora_iter": 30}, 20, True),
    ):
        config = load_config({**raw, **given})
        cases = cases_of_benchmark(selected_entries(config), config)
        for case in cases.by_name.values():
            variants = [v for edit in case.edits.values() for v in variants_of(edit.settings)]
            assert {variant.lora for variant in variants} == {iterations}
            assert case.settings["train_lora_iter"] == iterations
        line = "train_lora_iter: 30 has no effect on PIE-Bench; set pie_bench_lora_iter: 30"
        assert (line in cases.notices) == told
    with pytest.raises(ConfigError, match="30 is more than pie_bench_lora_iter: 20") as fault:
        config = load_config({**raw, "use_lora_iter": [10, 30]})
        check_plan(config, cases_of_benchmark(selected_entries(config), config))
    assert "; set pie_bench_lora_iter: 30, or" in str(fault.value)


def test_entries_are_as_released(folder: Path) -> None:
    entries = read_benchmark(folder).entries
    assert len(entries) == 24
    assert {entry.type for entry in entries} == set(range(len(TYPES)))
    assert entries[1].source_prompt == "a green box on a table"
    assert entries[1].prompt == "a purple box on a table"
    assert entries[1].word == "box"
    assert entries[3].word == ""


def test_hostile_entries_are_told_and_left_out(folder: Path) -> None:
    notices = read_benchmark(folder).notices
    assert len(notices) == len(made.HOSTILE)
    assert all("left out" in line and "\n" not in line for line in notices)
    for part in ("is outside of", "there is no picture", "has no length", "0 to 9"):
        assert sum(part in line for line in notices) == 1, part


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "valid JSON"), ("[1]", "must map ids"), ("[" * 99999, "valid JSON"), ("{}", "must map")],
)
def test_broken_mappings_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mapping_file.json").write_text(text)
    with pytest.raises(UserError, match=said):
        read_benchmark(tmp_path)


def test_a_folder_without_a_mapping_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mapping_file.json: there is no such file") as told:
        selected_entries(load_config({"pie_bench": str(tmp_path / "nowhere")}))
    assert len(str(told.value).splitlines()) == 1


def test_the_word_is_one_of_the_source_prompt() -> None:
    assert target_word("cat dog", "a cat on a hill") == "cat"
    assert target_word("sports car truck", "a red sports car") == "sports car"
    assert target_word("dog", "a hotdog") == ""
    assert target_word("", "a cat") == ""


def test_samples_hold_every_type_and_grow(folder: Path) -> None:
    entries = read_benchmark(folder).entries
    assert sample(entries, None) == list(entries)
    ten, twelve = sample(entries, 10), sample(entries, 12)
    assert sorted(entry.type for entry in ten) == list(range(10))
    assert {e.name for e in ten} < {e.name for e in twelve}
    shares = Counter(entry.type for entry in sample(entries * 1, 20))
    assert max(shares.values()) - min(shares.values()) <= 1
    assert len(sample(entries, 3)) == 3
    assert sample(entries, 10) == ten


def test_cases_edit_with_and_without_the_mask(folder: Path, tmp_path: Path) -> None:
    raw = {
        "pie_bench": str(folder), "results": str(tmp_path), "slice": "1/2", "background": "exact",
    }  # fmt: skip
    config = load_config(raw)
    cases = cases_of_benchmark(selected_entries(config), config)
    assert len(cases.by_name) == 12
    assert len(cases.notices) == len(made.HOSTILE)
    one, three = cases.by_name["000000000001"], cases.by_name["000000000003"]
    assert not one.all_faults() and not three.all_faults()
    assert (one.edits[GIVEN].mask_source, one.edits[FOUND].mask_source) == ("user", "attention")
    assert three.edits[FOUND].mask_source == "none"
    assert {edit.judged_mask for edit in (*one.edits.values(), *three.edits.values())} == {"user"}
    assert one.edits[GIVEN].settings["background"] == "decoded"
    assert one.edits[GIVEN].mask is not None and one.edits[GIVEN].mask.exists()


def test_the_benchmark_decides_how_its_edits_are_drawn(folder: Path, tmp_path: Path) -> None:
    raw = {"pie_bench": str(folder), "results": str(tmp_path)}
    for function in (None, 0, 1, 2):
        config = load_config({**raw, "infer_function": function})
        cases = cases_of_benchmark(selected_entries(config), config)
        assert {case.edits[GIVEN].infer_function for case in cases.by_name.values()} == {2}
        assert {case.edits[FOUND].infer_function for case in cases.by_name.values()} == {0, 2}
        assert not any(case.all_faults() for case in cases.by_name.values())


def test_the_table_takes_means_of_what_there_is(folder: Path, tmp_path: Path) -> None:
    config = load_config({"pie_bench": str(folder), "results": str(tmp_path)})
    assert write_tables(config) == []
    why = "CLIP's weights are not there; fetch them"
    for name, decibels in (("000000000005", 20.0), ("000000000015", 30.0)):
        values = {"background_psnr": decibels, "background_mse": 0.001}
        _measured(config, name, MetricResults(values, {"clip_whole": why}))
    _measured(config, "000000000001", MetricResults(dict.fromkeys(NAMES[:3], float("nan"))))
    found, text = _tables(config)
    pose = found["given", TYPES[5]]
    assert (pose["measured"], pose["entries"], pose["with_background"]) == ("2", "2", "2")
    assert (pose["background_psnr"], pose["background_mse"]) == ("25.00", "10.00")
    assert pose["clip_whole"] == "CLIP's weights are not there"
    assert found["given", TYPES[1]]["background_psnr"] == "nan"
    assert found["given", "all"]["background_psnr"] == "25.00"
    assert found["not given", "all"]["background_psnr"] == "not measured"
    assert "| EditInfinity |" in text and "27.95" in text and "1 of 3" in text
    assert "CLIP's weights are not there" in text and "Left out" not in text


def test_a_mean_of_fewer_says_of_how_many(folder: Path, tmp_path: Path) -> None:
    config = load_config({"pie_bench": str(folder), "results": str(tmp_path)})
    _measured(config, "000000000005", MetricResults({"background_psnr": 20.0, "clip_whole": 21.0}))
    _measured(
        config, "000000000015", MetricResults({"background_psnr": 30.0}, {"clip_whole": "none"})
    )
    found, text = _tables(config)
    row = found["given", TYPES[5]]
    assert (row["clip_whole"], row["clip_whole_pictures"]) == ("21.00", "1")
    assert (row["background_psnr"], row["background_psnr_pictures"]) == ("25.00", "2")
    assert "| 21.00 (1) |" in text and "| 25.00 |" in text


def test_numbers_of_other_settings_are_left_out(folder: Path, tmp_path: Path) -> None:
    raw = {"pie_bench": str(folder), "results": str(tmp_path)}
    before, now = load_config(raw), load_config({**raw, "lock_scales": 3})
    _measured(before, "000000000005", MetricResults({"background_psnr": 20.0}))
    _measured(now, "000000000015", MetricResults({"background_psnr": 30.0}))
    found, text = _tables(now)
    row = found["given", TYPES[5]]
    assert (row["measured"], row["background_psnr"]) == ("1", "30.00")
    assert "Left out: 1 picture" in text
    for unchanged in ({"select_floor": 3}, {"mask_feather": 5}):
        assert _tables(load_config({**raw, **unchanged}))[0]["given", TYPES[5]]["measured"] == "1"
    assert write_tables(load_config({**raw, "model": "tiny"})) == []


def _tables(config: Config) -> tuple[dict[tuple[str, str], dict[str, str]], str]:
    """Rows of the table for programs by mask and type, and the text for people."""
    for_people, for_programs = write_tables(config)
    rows = [line.split("\t") for line in for_programs.read_text().splitlines()]
    found = {(row[0], row[2]): dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    return found, for_people.read_text()


def _measured(config: Config, name: str, measured: MetricResults) -> None:
    """What a run under a configuration leaves of an entry edited under its mask."""
    entry = next(entry for entry in selected_entries(config).entries if entry.name == name)
    settings = case_of_entry(entry, config).edits[GIVEN].settings
    variant = variants_of(settings)[0]
    identity = drawing_identity(settings, variant, model_identity(config.settings))
    path = Path(layout(config, name).metrics(GIVEN, variant))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(measured, drawn_with=identity).save(path)


def test_published_numbers_are_of_known_metrics() -> None:
    heading, first, *_ = (line.split("\t") for line in PUBLISHED.read_text("utf-8").splitlines())
    assert heading[:2] == ["method", "seconds"] and set(heading[2:]) <= set(NAMES)
    assert dict(zip(heading, first, strict=True))["background_psnr"] == "27.95"


def test_an_edit_can_be_found_from_the_prompts_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for chosen, expected in (("auto", "attention"), ("none", "none")):
        config = load_config({"pie_bench": str(folder), "mask_source": chosen, "method": "editmod"})
        entries = [entry for entry in selected_entries(config).entries if entry.word]
        case = case_of_entry(entries[0], config)
        assert case.edits[FOUND].mask_source == expected
        assert case.edits[GIVEN].mask_source == "user"


def test_published_numbers_without_a_mask_are_a_table() -> None:
    heading, *rows = PUBLISHED_FOUND.read_text("utf-8").splitlines()
    names = heading.split("\t")
    by_method = {row.split("\t")[0]: dict(zip(names, row.split("\t"), strict=True)) for row in rows}
    assert by_method["EditMod, preserve"]["LPIPS ↓"] == "0.2212"
    assert by_method["AREdit"]["DINO ↑"] == "0.8440" and len(by_method) == 5
