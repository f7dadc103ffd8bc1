"""``editinfinity edit --keep-warm``: the process that stays between edits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from editinfinity.locks import is_locked
from editinfinity.worker.warm_process import WarmProcess, end_warm_process, warm_processes
from tests.command import TINY, run
from tests.waiting import eventually
from tests.workflow.project import ROOT, draw_image, draw_mask

pytestmark = pytest.mark.slow

LINE = ("edit", "photo.png", "--mask", "mask.png", *TINY)
WARM = ("--keep-warm", "5")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a photograph and a mask; warm processes of the test end with it."""
    draw_image(tmp_path / "photo.png", 1, (160, 128))
    draw_mask(tmp_path / "mask.png", 40, (160, 128))
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:  # sockets need a short path
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        monkeypatch.delenv("EDITINFINITY_KEEP_WARM", raising=False)
        yield tmp_path
        for process in warm_processes():
            end_warm_process(process.folder)
        assert eventually(lambda: not list(Path(runtime, "editinfinity").glob("warm-*")))


def kept() -> WarmProcess:
    (process,) = warm_processes()
    return process


def steps(stderr: str) -> list[str]:
    """What was said, without the numbers of steps, as their order is Snakemake's choice."""
    return sorted(line.partition("] ")[2] or line for line in stderr.splitlines())


@contextmanager
def begun(folder: Path, step: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A warm edit that has said that it does a step."""
    with subprocess.Popen(
        [sys.executable, "-m", "editinfinity", *LINE, "--prompt", "a cat", *options, *WARM],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if step in line:
                break
        yield process


def worker_of(process: WarmProcess) -> int:
    (serving,) = process.folder.glob("*.serving")
    assert is_locked(serving)
    return int(serving.read_text())


def made(folder: Path) -> dict[str, bytes]:
    """The pictures and all checkpoints of the project."""
    files = [*folder.glob("photo_edited*"), *folder.glob(".editinfinity/*/results/**/*")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.suffix in (".png", ".safetensors") and "sheet" not in path.name
    }


def test_a_second_edit_is_run_by_what_the_first_has_loaded_with_the_same_bytes(
    folder: Path,
) -> None:
    cold = [run(folder, *LINE, "--prompt", prompt) for prompt in ("a cat", "a dog")]
    assert not warm_processes(), "without a terminal, nothing is kept unless asked for"
    expected, told = made(folder), [steps(done.stderr) for done in cold]
    assert len(expected) > 8
    for path in [*folder.glob(".editinfinity/**/*"), *folder.glob("photo_edited*")]:
        if path.is_file():
            path.unlink()

    first = run(folder, *LINE, *WARM, "--prompt", "a cat")
    process = kept()
    worker = worker_of(process)
    second = run(folder, *LINE, "--prompt", "a dog", *WARM)
    assert [steps(first.stderr), steps(second.stderr)] == told
    assert second.stdout.strip() == "photo_edited_2.png"
    assert made(folder) == expected
    assert kept().pid == process.pid and worker_of(kept()) == worker
    logs = "".join(
        p.read_text() for p in folder.glob(".editinfinity/*/results/*/logs/edit/**/*.log")
    )
    assert "own process" not in logs and ": read " not in logs, "the models are loaded"

    wrong = run(folder, *LINE, "--prompt", "a dog", "--set", "seed=-1", *WARM)
    assert wrong.returncode == 1 and wrong.stderr.startswith("editinfinity: ")
    doctor = " ".join(run(folder, "doctor").stdout.split())
    assert re.search(rf"kept warm process {process.pid} keeps tiny warm, \d+ MB", doctor)

    os.kill(process.pid, signal.SIGKILL)
    while warm_processes():  # it has not been killed yet, and would still be connected to
        time.sleep(0.01)
    third = run(folder, *LINE, "--prompt", "a fox", *WARM)
    assert third.returncode == 0 and third.stdout.strip() == "photo_edited_3.png"
    assert kept().pid != process.pid, third.stderr
    stopped = run(folder, "stop")
    assert stopped.stdout.strip() == f"process {kept_pid(stopped)}, which kept tiny warm, has ended"
    assert not warm_processes()
    assert run(folder, "stop").stdout.strip() == "nothing is kept warm"


def kept_pid(stopped: subprocess.CompletedProcess[str]) -> str:
    found = re.search(r"process (\d+)", stopped.stdout)
    assert found is not None, stopped.stdout
    return found[1]


def test_a_warm_edit_is_interrupted_as_another(folder: Path) -> None:
    many = ("--set", "train_lora_iter=2000", "--set", "checkpoint_every=2000")

    def logs() -> list[Path]:
        return list(folder.glob(".editinfinity/*/results/*/logs/lora/**/*.log"))

    with begun(folder, "train LoRA", *many) as process:
        # Snakemake names a job before it starts it.
        assert eventually(lambda: any(" of 2000, loss" in log.read_text() for log in logs()))
        assert kept().editing == 1
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in errors
    assert eventually(lambda: kept().editing == 0)
    assert list(folder.glob(".editinfinity/*/results/*/lora/**/*paused*")), "what was trained stays"


def test_an_edit_goes_on_where_the_process_that_is_kept_is_killed(folder: Path) -> None:
    with begun(folder, "check the image") as process:
        os.kill(kept().pid, signal.SIGKILL)
        output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert output.strip() == "photo_edited.png" and (folder / "photo_edited.png").exists()
    assert errors.count("--keep-warm: the process that is kept was killed; the edit goes on") == 1
    assert not warm_processes()


def test_a_folder_that_others_can_read_is_not_used(folder: Path) -> None:
    assert run(folder, *LINE, *WARM, "--prompt", "a cat").returncode == 0
    private = kept().folder
    end_warm_process(private)
    assert eventually(lambda: not private.exists())
    private.mkdir(mode=0o755)
    done = run(folder, *LINE, *WARM, "--prompt", "a dog")
    assert done.returncode == 0 and done.stdout.strip() == "photo_edited_2.png"
    told = [line for line in done.stderr.splitlines() if line.startswith("--keep-warm: ")]
    assert len(told) == 1 and "mode 0700" in told[0]
    private.rmdir()
