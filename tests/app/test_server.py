"""The app's server with a model of random weights: draw, find, run, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.app.running import QUICK, App, box_mask, path_of, png_of
from tests.waiting import eventually

pytestmark = pytest.mark.slow

SIZE = (96, 64)
BOX = (30, 20, 60, 45)


def photograph(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(SIZE, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "photos").mkdir()
    exif = Image.Exif()
    exif[0x010E] = "a harbour"  # ImageDescription
    photograph(1).save(folder / "photos" / "a.png", exif=exif)
    photograph(2).save(folder / "photos" / "b.png")
    (folder / "photos" / "b_mask.png").write_bytes(box_mask(SIZE, BOX))
    return folder


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[App]:
    """An app in which a first try of a.png has been drawn."""
    running = App.start("photos", *QUICK, cwd=folder)
    running.listen()
    id_ = id_of(running, "a.png")
    running.put(path_of(id_), {"source": "a tree", "prompt": "a house"})
    running.put(f"{path_of(id_)}/mask", box_mask(SIZE, BOX))
    first = running.draw(id_)
    assert first["state"] == "done", first
    yield running
    children = running.model_processes()
    status, errors = running.close()
    assert status == 0 and errors == "", errors
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def id_of(app: App, name: str) -> str:
    return str(app.photograph(name)["id"])


def stages(app: App, number: int) -> set[str]:
    return {e["stage"] for e in app.events if e["type"] == "progress" and e["try"] == number}


def test_a_photograph_is_learned_once_and_kept_outside_the_mask(app: App) -> None:
    id_ = id_of(app, "a.png")
    path = path_of(id_)
    assert {"words", "style", "drawing"} <= stages(app, 1)
    told = [e for e in app.events if e["type"] == "progress" and e["try"] == 1 and "loss" in e]
    assert len(told) == 3 and all(e["seconds_left"] >= 0 for e in told)
    app.put(path, {"source": "a tree", "prompt": "a ship", "settings": {"seed": 3}})
    second = app.draw(id_)
    number = second["n"]
    assert second["state"] == "done" and stages(app, number) == {"drawing", "saving"}
    assert second["prompt"] == "a ship" and second["mask"]
    picture = app.get(f"{path}/tries/{number}/picture").picture()
    before, after = np.asarray(photograph(1)), np.asarray(picture.convert("RGB"))
    assert picture.size == SIZE and (before != after).any()
    assert (before[:, :4] == after[:, :4]).all()
    download = app.get(f"{path}/tries/{number}/download")
    assert download.headers["content-disposition"].endswith(f"a_edited_{number}.png")
    saved = download.picture()
    assert saved.getexif()[0x010E] == "a harbour"
    assert '"prompt": "a ship"' in str(saved.info)
    assert app.get(f"{path}/tries/1/mask").picture().getbbox() == BOX


def test_a_large_edit_is_seen_before_it_is_saved(app: App) -> None:
    noise = Image.effect_noise((2400, 1600), 60).convert("RGB")
    answer = app.upload(png_of(noise), "large.png")
    id_ = answer.json["id"]
    path = path_of(id_)
    app.put(path, {"source": "a tree", "prompt": "a house"})
    app.put(f"{path}/mask", box_mask(noise.size, (300, 300, 800, 700)))
    number = app.post(f"{path}/tries", {"settings": {}}).json["try"]

    def told() -> list[str]:
        tries = [e["try"] for e in app.events if e["type"] == "try" and e["photograph"] == id_]
        return [made["state"] for made in tries if made["n"] == number]

    assert eventually(lambda: "saving" in told())
    assert app.get(f"{path}/tries/{number}/picture").status == 404
    view = app.get(f"{path}/tries/{number}/view").picture()
    assert (view.format, view.size) == ("JPEG", (2048, 1365))
    assert eventually(lambda: told()[-1] == "done")
    assert told()[-3:] == ["drawing", "saving", "done"]
    edited = app.get(f"{path}/tries/{number}/picture").picture().convert("RGB")
    assert edited.size == noise.size and edited.tobytes() != noise.tobytes()
    seen = np.asarray(edited.resize(view.size, Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(seen - np.asarray(view)).mean() < 5
    assert app.get(f"{path}/tries/{number}/picture?size=256").picture().size == (256, 171)


def test_loading_the_model_is_told_part_by_part(app: App) -> None:
    told = [event for event in app.events if event["type"] == "model"]
    loading = [(e["line"], e["loaded"]) for e in told if e["loaded"] is not None]
    assert list(dict.fromkeys(loading)) == [
        ("loading the model tiny: libraries", 0),
        ("loading the model tiny: transformer", 0.25),
        ("loading the model tiny: tokenizer", 0.5),
        ("loading the model tiny: text encoder", 0.75),
    ]
    assert {e["state"] for e in told if e["loaded"] is not None} == {"loading"}
    assert app.state()["model"]["loaded"] is None


def test_a_try_needs_a_prompt(app: App) -> None:
    answer = app.post(f"{path_of(id_of(app, 'b.png'))}/tries", {"settings": {}})
    assert answer.status == 422 and "write what" in answer.json["error"]


def test_a_word_and_what_differs_between_the_prompts_are_found(app: App) -> None:
    id_ = id_of(app, "a.png")
    for how, word in (("word", "tree"), ("both", "")):
        answer = app.post(f"{path_of(id_)}/find_mask", {"how": how, "word": word})
        task = answer.json["task"]
        assert eventually(
            lambda task=task: any(
                e.get("task") == task and e["state"] == "done" for e in app.events
            )
        )
        found = app.get(f"{path_of(id_)}/found").picture()
        assert found.mode == "L" and found.size == SIZE and found.getextrema()[1] == 255
    for content in ({"how": "word", "word": "cow"}, {"how": "other"}):
        assert app.post(f"{path_of(id_)}/find_mask", content).status == 422


def test_a_cancelled_try_ends_within_an_iteration_and_the_next_goes_on(app: App) -> None:
    id_ = id_of(app, "a.png")
    path = path_of(id_)
    long = app.post(f"{path}/tries", {"settings": {"train_lora_iter": 300}}).json["try"]
    following = app.post(f"{path}/tries", {"settings": {}}).json["try"]
    assert eventually(lambda: "style" in stages(app, long))
    app.post("/api/cancel", {"photograph": id_, "try": long})
    assert app.ended(id_, long)["state"] == "cancelled"
    assert app.ended(id_, following)["state"] == "done"
    done = max(
        e["iteration"] for e in app.events if e.get("try") == long and e.get("stage") == "style"
    )
    assert done < 300


def test_a_killed_model_process_costs_one_edit(app: App) -> None:
    id_ = id_of(app, "a.png")
    number = app.post(f"{path_of(id_)}/tries", {"settings": {"train_lora_iter": 299}}).json["try"]
    assert eventually(lambda: "style" in stages(app, number))
    (process,) = app.model_processes()
    os.kill(process, signal.SIGKILL)
    lost = app.ended(id_, number)
    assert lost["state"] == "failed" and "was killed" in lost["line"]
    assert app.draw(id_)["state"] == "done"
    assert not stages(app, number + 1) & {"words", "style"}  # what was learned is on the disk


def test_every_page_hears_what_another_one_does(app: App) -> None:
    other = App(app.process, app.port, app.token)
    other.listen()
    time.sleep(0.5)
    id_ = id_of(app, "a.png")
    app.put(path_of(id_), {"source": "a tree", "prompt": "a cloud"})
    assert eventually(
        lambda: any(
            e["type"] == "photograph" and e["photograph"]["prompt"] == "a cloud"
            for e in other.events
        )
    )


def test_a_result_is_edited_further_and_saved_as_a_case(app: App, folder: Path) -> None:
    id_ = id_of(app, "a.png")
    further = app.post(f"{path_of(id_)}/tries/1/continue")
    assert further.status == 201
    copy = next(p for p in app.state()["photographs"] if p["id"] == further.json["id"])
    assert copy["source"] == "a house" and copy["prompt"] == ""
    assert app.post(f"{path_of(id_)}/tries/1/case", {"name": "a/b"}).status == 422
    assert app.post(f"{path_of(id_)}/tries/1/case", {"name": "harbour"}).status == 201
    assert app.post(f"{path_of(id_)}/tries/1/case", {"name": "harbour"}).status == 422
    case = folder / "photos_project" / "data" / "harbour"
    assert (case / "prompt" / "edit_image_prompt.txt").read_text() == "a house\n"
    assert (case / "image" / "mask.png").is_file()


def test_a_second_app_of_the_same_folder_is_refused(app: App, folder: Path) -> None:
    command = [sys.executable, "-m", "editinfinity", "app", "photos", "--no-open"]
    run = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("editinfinity: ") and "open in another app" in run.stderr


def test_a_killed_app_loses_nothing(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "photos", tmp_path / "photos")
    app = App.start("photos", *QUICK, cwd=tmp_path)
    id_ = id_of(app, "b.png")
    app.put(path_of(id_), {"source": "a tree", "prompt": "a house", "settings": {"seed": 7}})
    assert app.draw(id_)["state"] == "done"
    number = app.post(f"{path_of(id_)}/tries", {"settings": {"train_lora_iter": 300}}).json["try"]
    assert eventually(lambda: app.tries(id_)[number - 1]["state"] == "learning")
    children = app.model_processes()
    before = app.state()["photographs"]
    app.kill()
    assert eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    app = App.start("photos", *QUICK, cwd=tmp_path)
    app.listen()
    try:
        assert app.state()["photographs"] == before
        first, second = app.tries(id_)
        assert first["state"] == "done" and second["state"] == "cancelled"
        assert app.get(f"{path_of(id_)}/mask").picture().getbbox() is not None
        assert app.draw(id_)["state"] == "done" and stages(app, 3) == {"drawing", "saving"}
    finally:
        app.close()


def test_the_run_makes_what_the_tries_show(folder: Path, tmp_path: Path) -> None:
    """Of two photographs: one as its try, byte for byte; the other is damaged and named."""
    photos = tmp_path / "photos"
    photos.mkdir()
    photograph(1).save(photos / "a.png")
    content = png_of(photograph(2).resize((300, 200)), compress_level=0)
    (photos / "b.png").write_bytes(content[: len(content) // 2])
    app = App.start("photos", *QUICK, cwd=tmp_path)
    try:
        a, b = id_of(app, "a.png"), id_of(app, "b.png")
        assert app.post("/api/run").status == 422
        app.put(path_of(a), {"source": "a tree", "prompt": "a house", "settings": {"cfg": 3}})
        app.put(f"{path_of(a)}/mask", box_mask(SIZE, BOX))
        app.put(path_of(b), {"source": "a tree", "prompt": "a house"})
        drawn = app.draw(a)
        assert drawn["state"] == "done", drawn
        assert app.post("/api/run").status == 202
        assert app.post("/api/run").status == 422
        assert eventually(lambda: app.state()["run"]["state"] != "running")
        run = app.state()["run"]
        assert run["state"] == "failed" and run["report"]
        assert [fault["id"] for fault in run["failed"]] == [b]
        assert run["failed"][0]["line"].startswith("b.png: is damaged")
        results = tmp_path / "photos_project" / "results"
        made = np.asarray(Image.open(results / a / "edit.png").convert("RGB"))
        shown = app.get(f"{path_of(a)}/tries/1/picture").picture().convert("RGB")
        assert (made == np.asarray(shown)).all()
        assert app.get("/api/run/files/results/report.html").status == 200
        # Ctrl-C during a run leaves none of its processes.
        app.put(path_of(a), {"source": "a tree", "prompt": "a car", "settings": {"seed": 9}})
        app.post("/api/run")
        assert eventually(lambda: app.state()["run"]["done"] > 0)
        children = app.model_processes()
        assert children
    finally:
        status, _ = app.close()
    assert status == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.imports_itself
def test_a_run_that_is_cancelled_saves_what_is_being_trained(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photograph(1).save(tmp_path / "photos" / "a.png")
    long = ("--set", "train_textembedding_iter=2000", "--set", "checkpoint_every=2000")
    app = App.start("photos", *long, cwd=tmp_path)
    results = tmp_path / "photos_project" / "results"
    try:
        app.put(path_of(id_of(app, "a.png")), {"source": "a tree", "prompt": "a house"})
        assert app.post("/api/run").status == 202
        records = "*/logs/text_embedding/*.jsonl"
        assert eventually(
            lambda: any(b'"iteration"' in path.read_bytes() for path in results.glob(records))
        )
        assert app.post("/api/run/cancel").status == 204
        assert eventually(lambda: app.state()["run"]["state"] != "running")
        assert app.state()["run"]["state"] == "cancelled"
    finally:
        app.close()
    assert len(list(results.glob("*/text_embedding/*.paused.safetensors"))) == 1


def test_a_full_disk_is_told_and_keeps_what_was_there(tmp_path: Path) -> None:
    photograph(1).save(tmp_path / "a.png")
    (tmp_path / "a_project").mkdir()
    probe = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=200k tmpfs a_project"
    if subprocess.run([*probe, mount], cwd=tmp_path, check=False).returncode:
        pytest.skip("a disk cannot be made here")
    script = f"{mount} && exec '{sys.executable}' -um editinfinity app a.png --no-open --model tiny"
    app = App.start_command([*probe, script], cwd=tmp_path)
    try:
        id_ = id_of(app, "a.png")
        app.put(path_of(id_), {"source": "a tree", "prompt": "a house"})
        noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
        full = app.upload(png_of(Image.fromarray(noise)))
        assert full.status in (422, 507), full.body
        assert "space" in full.json["error"] and "make room" in full.json["error"]
        assert app.photograph("a.png")["prompt"] == "a house"
        assert app.put(path_of(id_), {"source": "a tree", "prompt": "a ship"}).status == 200
        assert app.photograph("a.png")["prompt"] == "a ship"
        assert len(app.state()["photographs"]) == 1
    finally:
        app.close()
