"""The page as a file: what it tells, how large it is, and that nothing on it can do harm."""

from __future__ import annotations

import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from editinfinity.cli import app
from editinfinity.errors import UserError
from editinfinity.results.report import make, pictures
from editinfinity.results.report.make import make_report
from editinfinity.results.report.pictures import thumbnails
from tests.jobs.records import done, failed, write_record
from tests.report.made import HOSTILE, load, make_data, make_results, scene


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told_by(page: Path) -> dict[str, Any]:
    text = page.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_it_tells_outcomes_prompts_times_losses_metrics_and_places(here: Path) -> None:
    make_data("a", mask=True)
    make_data("b", word="dog")
    make_data("broken")
    config, cases = load(cfg=[3, 4.5])
    make_results(config, cases, failed={"broken": "broken: is no picture; replace it"})
    told = told_by(make_report(config, cases))
    a, b, broken = told["cases"]
    (edit,) = a["edits"]
    assert (edit["outcome"], edit["prompt"], a["source"]) == (
        "edited",
        "a cat on a hill",
        "a dog on a hill",
    )
    assert edit["link"] == "a/edit.png"
    assert a["link"] == "../data/a/image/original_image.jpg"
    assert edit["box"] == [0.1, 0, 0.8, 1], "the square of a photograph of 160×128"
    assert [variant["label"] for variant in edit["variants"]] == ["cfg3", "cfg4.5"]
    assert [variant["chosen"] for variant in edit["variants"]] == [True, False]
    assert edit["variants"][0]["metrics"] == {"background_psnr": 20}
    assert "weights" in edit["variants"][0]["missing"]["clip_edited"]
    assert [metric["name"] for metric in told["metrics"]] == ["background_psnr", "clip_edited"]
    curves = {curve["name"]: curve["points"] for curve in a["curves"]}
    assert [n for n, _ in curves["LoRA"]] == list(range(1, 21)), "both checkpoints, joined"
    lora = next(stage for stage in a["stages"] if stage["name"] == "Train LoRA")
    assert (lora["seconds"], lora["memory"], lora["card"]) == (15.4, 912 * 10**6, 3456 * 10**6)
    assert b["edits"][0]["word"] == "dog"
    (fault,) = broken["edits"]
    assert (fault["outcome"], fault["reason"]) == ("failed", "broken: is no picture; replace it")
    assert fault["link"] is None


@pytest.mark.parametrize(("select", "why"), [("best", "most alignment"), ("first", "")])
def test_why_a_variant_was_chosen_is_told_where_metrics_choose(
    here: Path, select: str, why: str
) -> None:
    make_data("a")
    config, cases = load(cfg=[3, 4.5], select=select)
    make_results(config, cases)
    chosen = {"chosen": "cfg4.5", "why": "most alignment"}
    Path("results/a/edit.selection.json").write_text(json.dumps(chosen))  # with first: of before
    (edit,) = told_by(make_report(config, cases))["cases"][0]["edits"]
    assert edit["why"] == why


def test_settings_of_an_edit_are_its_own_where_rows_of_one_case_differ(here: Path) -> None:
    make_data("a")
    rows = [
        "case\timage\tedit_prompt\tedit\tcfg\ttau",
        "a\tdata/a/image/original_image.jpg\ta cat\tone\t3\t0.7",
        "a\tdata/a/image/original_image.jpg\ta cow\ttwo\t\t0.7",
    ]
    Path("cases.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    config, cases = load(cases="cases.tsv", cfg=[5])
    told = told_by(make_report(config, cases))
    (case,) = told["cases"]
    shown = [{**told["settings"], **case["settings"], **edit["settings"]} for edit in case["edits"]]
    assert [settings["cfg"] for settings in shown] == [[3], [5]]
    assert case["settings"].keys() == {"cfg", "tau"}
    assert case["edits"][0]["settings"] == {}, "as its case has them"
    assert case["edits"][1]["settings"].keys() == {"cfg"}, "the run's again, unlike its case's"


def test_stages_come_in_the_order_they_run(here: Path) -> None:
    make_data("a")
    config, cases = load()
    jobs = ("finish", "select", "embedding10-cfg3.metrics", "embedding10-cfg3", "text_features")
    for job in jobs:
        write_record(Path("results/a/logs"), f"edit/edit/{job}", *done(2.0))
    (edit,) = told_by(make_report(config, cases))["cases"][0]["edits"]
    names = ["Encode the prompts", "Draw", "Metrics", "Choose", "Finish"]
    assert [(stage["name"], stage["jobs"]) for stage in edit["stages"]] == [(n, 1) for n in names]


def test_a_fault_that_is_mended_is_not_told_and_a_new_one_is(here: Path) -> None:
    make_data("a")
    config, cases = load()
    make_results(config, cases)
    record = write_record(Path("results/a/logs"), "check", failed("once"))
    before = Path("results/a/edit.png").stat().st_mtime
    for age, outcome in ((-5, "edited"), (5, "failed")):
        os.utime(record, (before + age, before + age))
        told = told_by(make_report(config, cases))
        assert told["cases"][0]["edits"][0]["outcome"] == outcome


def test_hostile_names_and_prompts_stay_text(here: Path) -> None:
    name = "it's <B> & \u202e #? %2e"
    make_data(name, HOSTILE)
    config, cases = load()
    make_results(config, cases)
    text = make_report(config, cases).read_text("utf-8")
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "<img" not in outside
    assert "<B>" not in outside
    assert text.count("<script>") == 1
    told = told_by(Path("results/report.html"))
    assert told["cases"][0]["edits"][0]["prompt"] == HOSTILE
    assert told["cases"][0]["name"] == name


def test_all_modules_are_joined_into_one_script(here: Path) -> None:
    make_data("a")
    text = make_report(*load()).read_text("utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    modules = resources.files("editinfinity.results.report").iterdir()
    texts = [each.read_text("utf-8") for each in modules if each.name.endswith(".js")]
    for first_line in (text.partition("\n")[0] for text in texts):
        assert first_line in script


def test_cases_of_earlier_runs_stay_on_the_page(here: Path) -> None:
    make_data("a")
    make_data("b")
    config, cases = load(cases=["a"])
    make_results(*load())
    assert [case["name"] for case in told_by(make_report(config, cases))["cases"]] == ["a", "b"]


def test_a_page_of_nothing_and_of_damaged_files_is_a_page(here: Path) -> None:
    make_data("a", mask=True)
    config, cases = load()
    told = told_by(make_report(config, cases))
    assert told["cases"][0]["edits"][0]["outcome"] == "not made"
    make_results(config, cases)
    for path in Path("results").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff\x00 no such thing")
    told = told_by(make_report(config, cases))
    assert told["cases"][0]["curves"] == []
    assert told["cases"][0]["edits"][0]["variants"][0]["metrics"] == {}


def test_numbers_that_are_none_are_left_out(here: Path) -> None:
    make_data("a")
    config, cases = load()
    make_results(config, cases)
    losses = Path("results/a/text_embedding/iter10.losses.tsv")
    losses.write_text("iteration\tloss\n1\t0.5\n2\tnan\n3\tinf\n4\t1e308\n5\t0.25\n", "utf-8")
    (picture,) = Path("results/a/edit/edit").glob("*.png")
    facts = picture.with_suffix(".json")
    geometry = '{"image_size": [1e-300, 1], "crop": [1e300, 0, 1e999, 1]}'
    facts.write_text(f'{{"cfg": NaN, "tau": -Infinity, "seed": 1e999, "geometry": {geometry}}}')
    case = told_by(make_report(config, cases))["cases"][0]
    curve = next(curve for curve in case["curves"] if curve["name"] == "Text embedding")
    assert curve["points"] == [[1, 0.5], [4, 1e308], [5, 0.25]]
    (variant,) = case["edits"][0]["variants"]
    assert [variant["settings"][key] for key in ("cfg", "tau", "seed")] == [None] * 3
    assert variant["box"] == [0, 0, 1, 1]


def test_cases_of_a_table_are_read_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data("a")
    row = "a\tdata/a/image/original_image.jpg\ta cat\n"
    Path("cases.tsv").write_text(f"case\timage\tedit_prompt\n{row}", "utf-8")
    config, cases = load(cases="cases.tsv")
    for name in ("a", "b", "c"):
        Path("results", name, "logs").mkdir(parents=True)
    monkeypatch.setattr(make, "load_case", lambda *_: pytest.fail("read anew"))
    assert [case["name"] for case in told_by(make_report(config, cases))["cases"]] == ["a"]


def test_thumbnails_shrink_until_they_fit_and_are_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [here / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        scene((700, 500), number).save(path)
    shelf = pictures.ThumbnailCache(here / "kept")
    large = thumbnails(paths, shelf)
    assert all(name.endswith(f"-{pictures.SIDES[0]}.webp") for name in shelf.used)
    budget = sum(map(len, large.values())) // 2
    small = thumbnails([*paths, here / "none.png"], shelf, budget)
    assert not any(name.endswith(f"-{pictures.SIDES[0]}.webp") for name in shelf.used)
    assert small.keys() == set(paths)
    assert sum(map(len, small.values())) <= budget
    shelf.remove_unused()
    assert {path.name for path in shelf.folder.iterdir()} == shelf.used
    assert len(shelf.used) == 4, "those of the other size are gone"
    monkeypatch.setattr(pictures, "_webp", lambda *_: pytest.fail("made again"))
    assert thumbnails(paths, shelf, budget) == small


def test_thumbnails_are_upright_and_small_however_the_picture_lies(here: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    scene((300, 200), 1).save(here / "turned.jpg", exif=exif)
    scene((60, 40), 1).convert("P").save(here / "palette.png")
    shelf = pictures.ThumbnailCache(here / "kept")
    made = thumbnails([here / "turned.jpg", here / "palette.png"], shelf)
    sizes = []
    for path in sorted((here / "kept").iterdir(), key=lambda path: path.stat().st_size):
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes == [(60, 40), (200, 300)]
    assert len(made) == 2


def test_the_command_writes_the_page_of_a_project(here: Path) -> None:
    make_data("a")
    config, cases = load()
    asked = CliRunner().invoke(app, ["report"])
    assert isinstance(asked.exception, UserError)
    assert "has no results yet" in str(asked.exception)
    make_results(config, cases)
    Path("config.yaml").write_text("cases: [a]\nslice: 2/2\n", "utf-8")
    folder = here.parent
    os.chdir(folder)
    done = CliRunner().invoke(app, ["report", here.name])
    assert done.output.strip() == f"{here.name}/results/report.html"
    assert "a cat on a hill" in (folder / done.output.strip()).read_text("utf-8")
    assert Path.cwd() == folder
