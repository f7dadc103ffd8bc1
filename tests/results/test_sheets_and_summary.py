"""What a run ends with: the table and the contact sheets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from editinfinity.cases.case import Cases
from editinfinity.cases.load import load_cases
from editinfinity.config.load import Config, load_config
from editinfinity.jobs.record import JobWarning
from editinfinity.planning.targets import layout
from editinfinity.planning.variants import variants_of
from editinfinity.results.sheets import make_sheets
from editinfinity.results.summary import end_of_run, summarise
from editinfinity.results.thumbnails import SIDE
from tests.cases.test_cases import make_case
from tests.jobs.records import done, failed, write_record
from tests.workflow.project import draw_image, draw_mask


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "犬"):
        make_case(Path("data", name), "image/mask.png")
        draw_image(Path("data", name, "image", "original_image.jpg"), seed=1)
    return tmp_path


def load(**settings: Any) -> tuple[Config, Cases]:
    config = load_config(settings)
    return config, load_cases(config)


def pretend(config: Config, cases: Cases) -> None:
    """Lay results where a run would."""
    for case in cases.by_name.values():
        where = layout(config, case.name)
        for edit in case.edits.values():
            for variant in variants_of(edit.settings):
                draw_image(Path(where.picture(edit.name, variant)), seed=2, size=(64, 64))
            draw_image(Path(where.result(edit.name)), seed=2)
            mask = Path(where.folder, "mask", edit.name, "mask.png")
            mask.parent.mkdir(parents=True)
            draw_mask(mask, side=20)


def test_sheets_show_every_edit_and_every_variant(here: Path) -> None:
    config, cases = load(cfg=[3, 4.5], smoothing=["linear", "hard"], use_lora_iter=[50, 10])
    assert make_sheets(config, cases) == []
    pretend(config, cases)
    sheet, *sweeps = make_sheets(config, cases)
    assert str(sheet) == "results/contact_sheet.png"
    assert [str(path) for path in sweeps] == [
        "results/a/edit/edit/sweep.png",
        "results/犬/edit/edit/sweep.png",
    ]
    with Image.open(sheet) as picture:
        assert 3 * SIDE < picture.width < 4 * SIDE
        assert 2 * SIDE < picture.height < 3 * SIDE
    # Two columns (an axis of two values) by four rows, below the original and its mask.
    with Image.open(sweeps[0]) as picture:
        assert 2 * SIDE < picture.width < 3 * SIDE
        assert 5 * SIDE < picture.height < 6 * SIDE


def test_a_sheet_is_made_anew_only_for_new_pictures_and_bears_broken_ones(here: Path) -> None:
    config, cases = load()
    pretend(config, cases)
    (sheet,) = make_sheets(config, cases)
    made = sheet.stat().st_mtime_ns
    make_sheets(config, cases)
    assert sheet.stat().st_mtime_ns == made
    chosen = Path("results/a/edit.png")
    chosen.write_bytes(b"no picture")
    os.utime(chosen, ns=(made + 10, made + 10))
    make_sheets(config, cases)
    assert sheet.stat().st_mtime_ns != made


def test_the_table_tells_outcomes_and_reasons(here: Path) -> None:
    config, cases = load(overrides={"犬": {"infer_function": 1}})
    pretend(config, cases)
    logs = Path("results/a/logs")
    record = write_record(logs, "edit/edit/finish", failed("a.png: is broken; mend it"))
    for job, seconds in (("image_features", 60), ("edit/edit/x", 12.3), ("edit/other/x", 7)):
        write_record(logs, job, *done(seconds))
    lines = summarise(config, cases, since=0).splitlines()
    assert lines[1:] == [
        "case  edit  outcome   time      open",
        "a     edit  failed    1:12 min  a.png: is broken; mend it",
        "犬    edit  not made",
        "1 of 2 edits without an error",
    ]
    # A record of an earlier run is no news.
    later = summarise(config, cases, since=record.stat().st_mtime + 1).splitlines()
    assert later[2] == "a     edit  edited          results/a/edit.png"


def test_a_job_that_was_killed_has_not_said_how_it_ended(here: Path) -> None:
    config, cases = load()
    record = write_record(Path("results/a/logs"), "image_features", JobWarning("odd"))
    row = summarise(config, cases, since=0).splitlines()[2]
    assert row.startswith("a     edit  not made        its last job ended without an outcome; see ")
    assert row.endswith(str(record.with_suffix(".log")))


def test_an_edit_that_nobody_asked_for_is_not_one_that_was_killed(here: Path) -> None:
    """As where a single target is named: its jobs went well, and more were not wanted."""
    config, cases = load()
    logs = Path("results/a/logs")
    write_record(logs, "image_features", *done(2.0))
    write_record(logs, "edit/other/finish", failed("a.png: is broken; mend it"))
    assert summarise(config, cases, since=0).splitlines()[2] == "a     edit  not made  2.0 s"


def test_a_run_ends_with_what_it_made_for_people_and_bears_what_cannot_be_made(here: Path) -> None:
    config, cases = load(metrics=0)
    pretend(config, cases)
    warned: list[str] = []
    lines = end_of_run(config, cases, 0, ["a notice"], warned.append).splitlines()
    assert lines[-3:] == [
        "a notice",
        "contact sheets: results/contact_sheet.png",
        "report: results/report.html",
    ]
    assert not warned
    Path("results/report.html").unlink()
    Path("results/report.html").mkdir()
    lines = end_of_run(config, cases, 0, [], warned.append).splitlines()
    assert lines[-1] == "contact sheets: results/contact_sheet.png"
    (line,) = warned
    assert line.startswith("report: ")
    # A slice leaves the page of all cases alone.
    half, some = load(metrics=0, slice="1/2")
    assert "browser" not in end_of_run(half, some, 0, [], warned.append)
    assert len(warned) == 1
