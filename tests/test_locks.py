"""Commands that are refused change nothing that others read: locks come before the first write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from editinfinity.cases.create import case_name
from editinfinity.errors import UserError
from editinfinity.locks import Lock, is_locked
from editinfinity.planning.in_use import locked_for_change, paths_of_case, paths_of_output
from tests.command import TINY, run
from tests.waiting import eventually
from tests.workflow.project import ROOT, Project, draw_image, draw_mask

pytestmark = pytest.mark.slow

PROMPT = ("--prompt", "a cat")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody keeps photographs, and cases ``a`` and ``b``; the current folder."""
    draw_image(tmp_path / "photos" / "photo.jpg", 1)
    draw_image(tmp_path / "photos" / "second.jpg", 2)
    draw_mask(tmp_path / "mask.png", 40, (80, 64))
    for name in ("a", "b"):
        draw_image(tmp_path / "data" / name / "image" / "original_image.jpg", 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All that lies below a folder: when it was changed, and what it holds."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def refused(folder: Path, *arguments: str) -> str:
    """The one line of a command that is refused and has changed nothing."""
    before = tree(folder)
    done = run(folder, *arguments)
    assert done.returncode == 1 and done.stdout == "", done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    after = tree(folder)
    assert {path for path in before | after if before.get(path) != after.get(path)} == set()
    return done.stderr


def change(paths: list[Path]) -> None:
    """Take the locks of a command, and give them back."""
    with locked_for_change(paths):
        pass


@contextmanager
def held_by_a_run(*paths: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds paths, as Snakemake's does."""
    code = f"from editinfinity.planning import in_use; in_use._TIMEOUT = 0.2; paths = {paths!r}"
    code += """
import sys; from pathlib import Path
try:
    in_use.lock_until_exit(map(Path, paths))
except Exception as fault:
    sys.exit(f"{type(fault).__name__}: {fault}")
print("held", flush=True)
input()"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_edit_and_batch_are_refused_before_they_write(folder: Path) -> None:
    place = case_name(folder / "photos")[-8:]
    (folder / "masks").mkdir()
    draw_mask(folder / "masks" / "photo.png", 9)  # the second photograph has none
    for project, line in (
        (case_name(folder / "photos" / "photo.jpg"), ("edit", "photos/photo.jpg")),
        (f"batch-{place}", ("batch", "photos", "--masks", "masks")),
    ):
        work = folder / ".editinfinity" / project
        work.mkdir(parents=True)
        lock = Lock.take(work / ".running")
        assert lock is not None
        with lock:
            said = refused(folder, *line, *PROMPT, *TINY)
        assert "another edit of this is running; wait for it to end" in said


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("edit", "photos/photo.jpg", "--set", "cgf=3"), "cgf: is not a setting"),
        (("edit", "photos/photo.jpg", "--mask", "none.png"), "none.png: there is no such file"),
        (("edit", "photos/photo.jpg", "--work", "mask.png/w"), "--work: mask.png/w/"),
        (("batch", "photos", "--set", "cgf=3"), "cgf: is not a setting"),
        (("batch", "photos", "--masks", "none"), "none: there is no such file"),
        (("import", "t.tsv", "--data", "cases"), "none.jpg: there is no such file"),
    ],
)
def test_of_bad_input_nothing_is_begun(
    folder: Path, arguments: tuple[str, ...], fault: str
) -> None:
    (folder / "masks").mkdir()
    draw_mask(folder / "masks" / "photo.png", 9)
    (folder / "masks" / "second.json").write_text("{")
    rows = ["case\timage\tedit_prompt", "one\tphotos/photo.jpg\ta cat", "two\tnone.jpg\ta cat"]
    (folder / "t.tsv").write_text("\n".join(rows) + "\n")
    prompt = () if arguments[0] == "import" else PROMPT
    assert fault in refused(folder, *arguments, *prompt)


def test_what_a_run_reads_is_left_alone_until_it_ends(folder: Path) -> None:
    (folder / "link").symlink_to("data")
    rows = ["case\timage\tedit_prompt", "c\tphotos/photo.jpg\tx", "a\tphotos/photo.jpg\tx"]
    (folder / "t.tsv").write_text("\n".join(rows) + "\n")
    preview = ("preview", "photos/photo.jpg", "--mask", "mask.png", "--output")
    with held_by_a_run("data/a"), held_by_a_run("data/a", "data/b") as other:
        other.kill()  # the kernel has given the lock on b back
        other.wait()
        for line in (
            ("new", "a", "photos/photo.jpg", *PROMPT),
            ("new", "a", "photos/photo.jpg", *PROMPT, "--data", "link"),
            ("import", "t.tsv"),
            (*preview, "data/a/image/mask.png"),
            ("edit", "photos/photo.jpg", *PROMPT, "--output", "data/a/image/mask.cat.png"),
        ):
            assert "is in use by a run or another command; wait" in refused(folder, *line), line
        assert run(folder, "new", "b", "photos/photo.jpg", *PROMPT).returncode == 0
        assert run(folder, *preview, "data/a/image/look.png").returncode == 0
    assert run(folder, "new", "a", "photos/photo.jpg", *PROMPT).returncode == 0


def test_a_run_of_a_table_holds_files_and_not_their_folders(folder: Path) -> None:
    with held_by_a_run("data/a/image/original_image.jpg", "mask.png"):
        for paths in (paths_of_case(Path("data/a")), paths_of_output(Path("mask.png"))):
            with pytest.raises(UserError, match=r"(original_image.jpg|mask.png): is in use by a"):
                change(paths)
        change(paths_of_case(Path("data/b")))
        change(paths_of_output(Path("photos/photo_edited.png")))


def test_an_output_is_part_of_a_case_from_wherever_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_by_a_run("data/a"):
        monkeypatch.chdir("data/a/image")
        for name in ("mask.png", "original_image.webp", "./mask.cat.png", "../image/mask.png"):
            with pytest.raises(UserError, match="data/a: is in use by a run"):
                change(paths_of_output(Path(name)))
        change(paths_of_output(Path("original_image_edited.jpg")))


def test_a_run_waits_for_a_case_that_is_being_written_but_not_forever(folder: Path) -> None:
    with locked_for_change([Path("data/a")]), held_by_a_run("data/b", "data/a") as run:
        assert run.stderr is not None
        assert run.wait() == 1 and run.stderr.read() == (
            "UserError: data/a: is in use by a run or another command; wait for it to end\n"
        )
    with held_by_a_run("data/b", "data/a") as run:
        assert run.poll() is None


def test_without_a_private_folder_all_goes_on(folder: Path) -> None:
    (folder / "r").mkdir()
    (folder / "r" / "editinfinity").write_text("")  # a file, where the folder should be
    code = (
        "from unittest.mock import patch; from editinfinity.worker import private\n"
        "patch.object(private, '_candidates', lambda: [private.Path('r/editinfinity')]).start()\n"
        "from editinfinity.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "new", "c", "photos/photo.jpg", *PROMPT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and "cannot protect cases" in done.stderr, done.stderr
    assert (folder / "data" / "c" / "prompt" / "edit_image_prompt.txt").is_file()


@pytest.mark.imports_itself  # else processes elsewhere start its jobs, which stop() cannot see
def test_new_beside_a_workflow(tmp_path: Path) -> None:
    """Of its cases none is changed, one that only a target names included; others are made."""
    project = Project.create(tmp_path / "project", cases=["one"])
    draw_image(project.folder / "photo.jpg", 1)
    for name in ("one", "two"):
        project.add_case(name)
    with (project.folder / "log").open("wb") as log:
        workflow = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "1", "results/two/check.json"],
            cwd=project.folder,
            stdout=log,
            stderr=log,
        )
    try:
        assert eventually(lambda: b"Execute" in (project.folder / "log").read_bytes())
        stop(project.folder)
        for name in ("one", "two"):
            said = refused(project.folder, "new", name, "photo.jpg", *PROMPT, "--name", "cat")
            assert said == (
                f"editinfinity: data/{name}: is in use by a run or another command; "
                "wait for it to end\n"
            )
        done = run(project.folder, "new", "three", "photo.jpg", *PROMPT)
        assert done.returncode == 0, done.stderr
        send(project.folder, signal.SIGCONT)
        assert workflow.wait() == 0
    finally:
        send(project.folder, signal.SIGKILL)
        workflow.wait()
    change(paths_of_case(project.folder / "data" / "one"))


@pytest.mark.imports_itself  # else processes elsewhere start its jobs, which stop() cannot see
def test_two_edits_of_one_photograph(folder: Path) -> None:
    """The second changes nothing, even where the first was killed and left its Snakemake."""
    project = folder / ".editinfinity" / case_name(folder / "photos" / "photo.jpg")
    line = ("edit", "photos/photo.jpg", *TINY, "--set", "train_lora=0",
            "--set", "use_lora=0", "--set", "worker=off")  # fmt: skip
    with (folder / "log").open("wb") as log:
        first = subprocess.Popen(
            [sys.executable, "-m", "editinfinity", *line, *PROMPT, "--mask", "mask.png"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        assert eventually(lambda: b"[1/" in (folder / "log").read_bytes())
        stop(project)
        second = (*line, "--prompt", "a dog", "--seed", "2", "--box", "1,2,30,30")
        assert "another edit of this is running" in refused(folder, *second)
        first.kill()
        first.wait()
        assert "another edit of this is running" in refused(folder, *second)
        send(project, signal.SIGKILL)
        assert eventually(lambda: not is_locked(project / ".running"))
    finally:
        first.kill()
        send(project, signal.SIGKILL)


def stop(folder: Path) -> None:
    """Have a workflow stand still: Snakemake, then the jobs that it will start no more of."""

    def stands_still() -> bool:
        send(folder, signal.SIGSTOP)
        return all(is_stopped(process) for process in processes(folder))

    # A signalled process first ends its system call, a write included.
    assert eventually(stands_still)


def is_stopped(process: Path) -> bool:
    """Whether all threads of a process have stopped, or ended."""
    with suppress(OSError):  # ended meanwhile
        states = [stat.read_text().rpartition(")")[2] for stat in process.glob("task/*/stat")]
        return all(state.split()[0] in "TtXZ" for state in states)
    return True


def send(folder: Path, number: signal.Signals) -> None:
    """Signal the processes that work in a folder."""
    for process in processes(folder):
        with suppress(OSError):
            os.kill(int(process.name), number)


def processes(folder: Path) -> Iterator[Path]:
    """The processes that work in a folder, by number: their folders below /proc."""
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda process: int(process.name)):
        with suppress(OSError):
            if (process / "cwd").resolve() == folder.resolve():
                yield process


def test_without_posix_locks_the_api_works_and_files_are_written(tmp_path: Path) -> None:
    """A stand-in for systems that are not POSIX: importing fcntl fails, as it does there."""
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from pathlib import Path\n"
        "import editinfinity.cli.main, editinfinity.pipeline\n"
        "from editinfinity.files.atomic import write_bytes\n"
        "from editinfinity.locks import NO_LOCKS, Lock\n"
        "from editinfinity.planning.in_use import locked_for_change\n"
        "write_bytes(Path('written'), b'1')\n"
        "with locked_for_change([Path('written')]): pass\n"
        "try: Lock.take(Path('lock'))\n"
        "except OSError as error: sys.exit(error.errno not in NO_LOCKS)\n"
        "sys.exit(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "written").read_bytes() == b"1"
