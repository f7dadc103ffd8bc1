"""``editinfinity batch``: bad entries, masks, subfolders, and a folder that is watched."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import numpy as np
import psutil
import pytest
from PIL import Image

from editinfinity.cases.create import case_name
from editinfinity.cases.photo_folder import Found, Photograph, Unedited, find_photographs
from editinfinity.cli import progress
from editinfinity.cli.batch import _Editor, _result_paths
from editinfinity.cli.delivery import PhotographResult
from editinfinity.cli.everyday import EditOptions
from editinfinity.cli.one_edit import checked_settings
from editinfinity.cli.progress import Photographs, _failure_reasons, _report_jobs, _stop
from editinfinity.cli.watch import Arrivals
from editinfinity.environment import available_cores
from editinfinity.jobs.record import Iteration
from tests.command import UNTRAINED, run
from tests.command_output import parsed
from tests.jobs.records import done, write_record
from tests.waiting import eventually
from tests.workflow.project import ROOT, draw_image, draw_mask

LINE = ("--prompt", "a cat", *UNTRAINED)


def results(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
def test_no_bad_entry_stops_the_others_and_each_is_named_twice(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_image(photos / "1.png", 1, (80, 64))
    draw_image(photos / "2.png", 2, (80, 64))
    with Image.open(photos / "2.png") as image:
        image.convert("CMYK").save(photos / "2.jpg")
        image.save(photos / "2.jfif", "JPEG")
    (photos / "2.png").rename(photos / "._2.jpg")
    draw_image(photos / "wide.png", 3, (128, 64))
    draw_mask(tmp_path / "mask.png", 30, (80, 64))
    bad = {
        "broken.jpg": "is not a picture that can be read",
        "dead.jpg": "is a link to a missing file",
        "folder.jpg": "is a folder, not a file",
        "pipe.jpg": "is a pipe, not a file",
        "raw.nef": "is not a picture that can be read",
        "wide.png": "mask.png: is 80×64 pixels but the photograph, upright, is 128×64",
    }
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "raw.nef").write_bytes(b"no picture")
    (photos / "dead.jpg").symlink_to("nowhere")
    (photos / "folder.jpg").mkdir()
    os.mkfifo(photos / "pipe.jpg")
    done = run(tmp_path, "batch", "photos/", "--masks", "mask.png", "--json", *LINE)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    at_end = lines[-len(bad) - 2 :]
    for name, reason in bad.items():
        told = [line for line in lines if line.startswith(f"photos/{name}: ") and reason in line]
        # The workflow finds out about two of them.
        assert len(told) == (1 if name in ("broken.jpg", "wide.png") else 2), (name, lines)
        assert told[-1] in at_end
    assert lines[-1] == "editinfinity: 6 of 9 photographs could not be edited"
    assert at_end[0] == lines[0] == "photos: hidden files are not edited: ._2.jpg"
    assert re.search(r"^photos/2\.jpg: .*CMYK", done.stderr, re.MULTILINE)
    made = tmp_path / "photos_edited"
    assert results(made) == ["1.png", "2.jfif", "2.jpg"]
    told = {each["photograph"]: each for each in parsed(done.stdout, "batch")["photographs"]}
    for name in ("1.png", "2.jfif", "2.jpg"):
        edited = told.pop(f"photos/{name}")
        assert (edited["outcome"], edited["picture"]) == ("edited", f"photos_edited/{name}")
        assert edited["seconds"] > 0
    assert told.pop("photos")["outcome"] == "skipped"
    assert {path: each["outcome"] for path, each in told.items()} == {
        f"photos/{name}": "failed" for name in bad
    }
    assert all(reason in told[f"photos/{name}"]["reason"] for name, reason in bad.items())
    old, new = (np.asarray(Image.open(path)) for path in (photos / "1.png", made / "1.png"))
    changed = (old != new).any(axis=2)
    assert changed.any() and not changed.all()  # by the mask


@pytest.mark.slow
def test_the_current_folder_with_its_subfolders_and_masks(tmp_path: Path) -> None:
    photos = tmp_path / "my photos"
    draw_image(photos / "a.png", 1, (80, 64))
    draw_image(photos / "sub" / "a.png", 2, (80, 64))
    draw_mask(photos / "sub" / "a_mask.png", 30, (80, 64))
    done = run(photos, "batch", ".", "--recursive", "--output", "made", *LINE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["made/a.png", "made/sub/a.png"]
    assert "sub/a.png: is edited where a_mask.png allows it" in done.stderr
    assert "sub/a_mask.png: is not edited, as its name is that of a mask of a.png" in done.stderr
    content = {name: (photos / "made" / name).read_bytes() for name in results(photos / "made")}
    assert list(content) == ["a.png", "sub/a.png"]
    (log,) = photos.glob(".editinfinity/batch-*/.snakemake/log/*.log")
    cores = min(4, available_cores())
    assert re.search(rf"^Provided cores: {cores}\b", log.read_text("utf-8"), re.MULTILINE)

    # By another name of the folder, and beside it: the same results, and nothing is made again.
    done = run(photos / "sub", "batch", "..", "--recursive", "--output", "../made",
               "--work", "../.editinfinity", "--json", *LINE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (first, second, mask) = parsed(done.stdout, "batch")["photographs"]
    assert (first["picture"], second["picture"]) == ("../made/a.png", "../made/sub/a.png")
    assert mask["outcome"] == "skipped"
    assert not re.search(r"^\[\d+/\d+\] draw", done.stderr, re.MULTILINE)
    assert {name: (photos / "made" / name).read_bytes() for name in results(photos / "made")} == (
        content
    )


@pytest.mark.slow
def test_the_place_is_found_in_photographs_without_a_mask_beside_them(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_image(photos / "a.png", 1, (80, 64))
    draw_image(photos / "b.png", 2, (80, 64))
    draw_mask(photos / "b_mask.png", 30, (80, 64))
    done = run(tmp_path, "batch", "photos", "--source", "a dog", *LINE)
    assert done.returncode == 0, done.stderr
    assert "photographs without a mask (1): edited where --source and --prompt differ" in (
        done.stderr
    )
    shown = [json.loads(run(tmp_path, "show", f"photos_edited/{name}.png").stdout) for name in "ab"]
    settings = [each["settings"] for each in shown]
    assert [each["mask_source"] for each in settings] == ["both", "user"]
    assert [each["method"] for each in settings] == ["editmod", "inversion"]


def test_folders_without_photographs_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    done = run(tmp_path, "batch", "photos", *LINE)
    assert done.returncode == 1 and done.stderr == (
        "editinfinity: photos: contains no photograph to edit; add --recursive to search its "
        "subfolders\n"
    )
    draw_image(tmp_path / "photos" / "a.png", 1)
    (tmp_path / "masks").mkdir()
    done = run(tmp_path, "batch", "photos", "--masks", "masks", *LINE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "photos/a.png: is not edited, as it has no mask in masks"
    )
    assert done.stderr.splitlines()[1:] == [
        "editinfinity: photos: contains no photograph that can be edited, for the reasons above"
    ]
    # Another spelling of a folder is that folder, as for a photograph.
    (tmp_path / unicodedata.normalize("NFD", "caf\u00e9")).mkdir()
    done = run(tmp_path, "batch", "caf\u00e9", *LINE)
    assert "contains no photograph to edit; give the folder" in done.stderr


def test_no_two_photographs_have_the_same_result(tmp_path: Path) -> None:
    for name in ("a.bmp", "a.gif", "a.png", "a.jpg", "b.bmp", "sub/b.gif", "c"):
        draw_image(tmp_path / f"{name}.png", 1, (8, 8))
        (tmp_path / f"{name}.png").rename(tmp_path / name)
    targets = _result_paths(find_photographs(tmp_path, recursive=True).photographs)
    assert {str(path.relative_to(tmp_path)): str(target) for path, target in targets.items()} == {
        "a.bmp": "a.bmp.png", "a.gif": "a.gif.png", "a.jpg": "a.jpg", "a.png": "a.png",
        "b.bmp": "b.png", "sub/b.gif": "sub/b.png", "c": "c.png",
    }  # fmt: skip


_TWO_PHOTOGRAPHS = """
total                  5
Job 3: 1 of 9 steps-0a: check the image
Job 4: b: 1-0b: finish edit at the size of the photograph
Finished jobid: 3 (Rule: check)
1 of 5 steps (20%) done
Finished jobid: 4 (Rule: finish)
2 of 5 steps (40%) done
Job 5: b: 1-0b: draw the region of edit
"""


def test_a_line_of_progress_names_the_photograph_and_the_last_step_is_a_job() -> None:
    screen, made = io.StringIO(), list[str]()
    photographs = Photographs({"b: 1-0b": "b: 1.png"}, made.append)
    lines = _report_jobs(io.StringIO(_TWO_PHOTOGRAPHS), screen, photographs)
    assert screen.getvalue().splitlines() == [
        "[1/4] check the image",
        "[2/4] b: 1.png: finish edit at the size of the photograph",
        "[3/4] b: 1.png: draw the region of edit",
    ]
    assert made == ["b: 1-0b"] and len(lines) == len(_TWO_PHOTOGRAPHS.splitlines())


def test_a_batch_that_is_stopped_has_delivered_what_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos, project, made = tmp_path / "photos", tmp_path / "project", tmp_path / "made"
    for number, name in enumerate("ab"):
        draw_image(photos / f"{name}.png", number, (80, 64))

    def stopped(*_: object, photographs: Photographs) -> None:
        case = case_name(photos / "b.png")
        draw_image(project / "results" / case / "edit.png", 9, (80, 64))
        photographs.on_made(case)
        assert results(made) == ["b.png"]
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "run_workflow", stopped)
    options = EditOptions("a cat")
    settings = checked_settings(options.settings())
    editor = _Editor(options, photos, made, project, (), settings)
    found = find_photographs(photos, recursive=False)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        editor.edit(found.photographs, found)
    assert caplog.messages == [
        f"stopped: 1 of 2 photographs were edited now, see {made}; the same command continues"
    ]


def test_a_job_that_was_killed_is_a_failure_so_no_earlier_picture_is_its_result(
    tmp_path: Path,
) -> None:
    write_record(tmp_path, "check", *done())
    record = write_record(tmp_path, "edit/edit/seed42", Iteration("train_lora", 1, 9, 0.5, 2.0))
    (reason,) = _failure_reasons(tmp_path, since=0)
    assert reason == (f"its last job ended without an outcome; see {record.with_suffix('.log')}")
    assert _failure_reasons(tmp_path, since=record.stat().st_mtime + 1) == []


def test_the_reason_is_one_line_that_names_the_photograph() -> None:
    line = PhotographResult(Path("a\nb.jpg"), "failed", None, "mask.png: is too large").line
    assert line == "a\\nb.jpg: mask.png: is too large"
    line = PhotographResult(Path("b.jpg"), "failed", None, "b.jpg: is too large").line
    assert line == "b.jpg: is too large"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A folder, a clock, and what is found in the folder at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.arrivals = Arrivals(self.clock)

    def look(self, now: float) -> tuple[list[str], list[str], bool]:
        """Names of new photographs and of reported files, and whether some are pending."""
        self.clock.now = now
        new = self.arrivals.look(find_photographs(self.folder, recursive=False))
        photographs = [photograph.path.name for photograph in new.photographs]
        return photographs, [file.path.name for file in new.unedited], new.pending


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "hot").mkdir()
    return Watched(tmp_path / "hot")


def test_a_file_is_new_once_when_it_is_complete(watched: Watched) -> None:
    source, target = watched.folder.parent / "a.png", watched.folder / "a.png"
    draw_image(source, 1)
    content = source.read_bytes()
    assert watched.look(0) == ([], [], False)
    target.write_bytes(b"")
    for now, size in ((1, 100), (2, len(content) // 2)):
        assert watched.look(now) == ([], [], True)
        target.write_bytes(content[:size])
    assert watched.look(3) == ([], [], True)
    assert watched.look(4.5) == ([], [], True)  # it has not changed, but is incomplete
    target.write_bytes(content)
    assert watched.look(5) == ([], [], True)
    assert watched.look(5.5) == ([], [], True)
    assert watched.look(6.5) == (["a.png"], [], False)
    assert watched.look(7) == ([], [], False)

    os.utime(target, (1, 1))  # another time, the same content
    assert watched.look(8) == ([], [], True)
    assert watched.look(9.5) == ([], [], False)
    draw_image(target, 2)
    watched.look(10)
    assert watched.look(11.5) == (["a.png"], [], False)
    second = target.read_bytes()
    target.unlink()
    assert watched.look(12) == ([], [], False)
    target.write_bytes(second)
    watched.look(13)
    assert watched.look(14.5) == (["a.png"], [], False)


def test_a_file_that_stays_incomplete_is_new_in_the_end(watched: Watched) -> None:
    draw_image(watched.folder / "a.png", 1)
    content = (watched.folder / "a.png").read_bytes()
    (watched.folder / "a.png").write_bytes(content[: len(content) // 2])
    watched.look(0)
    assert watched.look(4.9) == ([], [], True)
    assert watched.look(5.1) == (["a.png"], [], False)  # editing it reports what is wrong
    assert watched.look(60) == ([], [], False)
    (watched.folder / "a.png").write_bytes(content)
    watched.look(61)
    assert watched.look(62.1) == (["a.png"], [], False)


def test_files_that_are_not_edited_are_reported_once(watched: Watched) -> None:
    draw_image(watched.folder / "mask.png", 1)
    (watched.folder / "b.jpg").mkdir()
    assert watched.look(0) == ([], [], True)
    assert watched.look(1.1) == ([], ["b.jpg", "mask.png"], False)
    assert watched.look(2.2) == ([], [], False)
    (watched.folder / "mask.png").rename(watched.folder / "photo.png")
    watched.look(3)
    assert watched.look(4.1) == (["photo.png"], [], False)


def test_a_mask_that_arrives_later_or_changes_makes_its_photograph_new(watched: Watched) -> None:
    draw_image(watched.folder / "a.png", 1)
    mask = watched.folder.parent / "a.png"

    def look(now: float, with_mask: bool) -> list[Path | None]:
        watched.clock.now = now
        path = watched.folder / "a.png"
        found = Found([Photograph(path, Path(), mask)] if with_mask else [])
        if not with_mask:
            found.unedited.append(Unedited(path, f"{path}: has no mask", is_fault=False))
        return [photograph.mask for photograph in watched.arrivals.look(found).photographs]

    assert [look(now, False) for now in (0, 1.1)] == [[], []]
    draw_mask(mask, 8)
    assert [look(now, True) for now in (2, 3.1, 4.2)] == [[], [mask], []]
    draw_mask(mask, 9)
    assert [look(now, True) for now in (5, 6.1, 7.2)] == [[], [mask], []]
    mask = watched.folder.parent / "a.xml"  # no picture, which would be waited for longer
    mask.write_text("<annotations/>")
    assert [look(now, True) for now in (8, 9.1)] == [[], [mask]]


@contextmanager
def watching(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, Callable[[], str]]]:
    """The command with --watch as a process, and what returns the next line of its output."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "editinfinity", "batch", "hot", "--watch", *arguments, *LINE],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    lines = Queue[str]()

    def pass_on(stream: Iterator[str]) -> None:
        for line in stream:
            if not re.match(r"\[\d+/\d+\]", line):
                lines.put(line.rstrip("\n"))
        lines.put("")

    for stream in (process.stdout, process.stderr):
        assert stream is not None
        threading.Thread(target=pass_on, args=(stream,), daemon=True).start()
    try:
        yield process, lambda: lines.get(timeout=240)
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_a_watched_folder(tmp_path: Path) -> None:
    hot, source = tmp_path / "hot", tmp_path / "source.png"
    draw_image(hot / "a.png", 1, (80, 64))
    draw_image(source, 2, (80, 64))
    content = source.read_bytes()
    draw_mask(tmp_path / "mask.png", 30, (80, 64))
    with watching(tmp_path, "--masks", "mask.png") as (process, next_line):
        assert next_line() == "hot: is watched until Ctrl-C"
        assert next_line() == "hot_edited/a.png"  # was there before

        (hot / "b.png").write_bytes(content[:100])  # a copy that takes time
        (hot / "c.png.part").write_bytes(content)
        (hot / "c.png.part").rename(hot / "c.png")
        with (hot / "b.png").open("ab") as file:
            file.write(content[100:])
        (hot / "broken.jpg").write_bytes(b"no picture")
        told = {next_line() for _ in range(3)}
        broken = "hot/broken.jpg: is not a picture that can be read; save it as JPEG, PNG or WebP"
        assert told == {"hot_edited/b.png", "hot_edited/c.png", broken}

        shutil.copy(source, hot / "a.png")  # other content
        assert next_line() == "hot_edited/a_2.png"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        rest = [*iter(next_line, ""), *iter(next_line, "")]
        assert rest == ["hot: is no longer watched", broken, "3 of 4 photographs were edited"]
    assert results(tmp_path / "hot_edited") == ["a.png", "a_2.png", "b.png", "c.png"]


def test_the_jobs_of_a_run_are_stopped_with_it() -> None:
    """Snakemake itself waits for its jobs, also for one that waits for another."""
    command = "import signal, subprocess, sys; signal.signal(signal.SIGTERM, lambda *_: None); "
    command += "print(subprocess.Popen(['sleep', '60']).wait())"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert eventually(lambda: bool(psutil.Process(process.pid).children()), 10)
        _stop(process)
        assert process.communicate(timeout=10)[0].strip() == str(-signal.SIGTERM)


@pytest.mark.slow
def test_a_signal_ends_what_is_being_edited(tmp_path: Path) -> None:
    draw_image(tmp_path / "hot" / "a.png", 1, (80, 64))
    draw_image(tmp_path / "hot" / "sub" / "b.png", 2, (80, 64))
    with watching(tmp_path, "--recursive") as (process, next_line):
        assert next_line() == "hot: is watched until Ctrl-C"
        project = tmp_path / ".editinfinity"
        while not list(project.glob("*/results/*/logs/check.log")):
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        rest = [*iter(next_line, ""), *iter(next_line, "")]
        assert "Traceback" not in "".join(rest)
        assert rest[-1] == "0 of 0 photographs were edited"
    done = run(tmp_path, "batch", "hot", "--recursive", *LINE)  # nothing holds its lock any more
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "hot_edited") == ["a.png", "sub/b.png"]


def test_watching_needs_a_package_that_the_message_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editinfinity.cli import watch
    from editinfinity.errors import UserError

    monkeypatch.setattr(watch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"--watch needs watchdog; pip install 'editinfinity\[watch"
    ):
        watch.require_watchdog()
