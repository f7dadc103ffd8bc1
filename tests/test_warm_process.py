"""The warm process and its children, with a Snakemake that only says what it was given."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from editinfinity.cli import warm
from editinfinity.cli.warm import (
    KeepWarm,
    WarmProcessKilledError,
    WarmRun,
    identity,
    keep_warm_for,
    run_warm,
)
from editinfinity.locks import Lock
from editinfinity.worker.protocol import connect
from editinfinity.worker.warm_process import end_warm_process, socket_of, warm_processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as --keep-warm")

SERVER = """
import os, sys, time, types
from pathlib import Path
from editinfinity.cli import warm_server

def snakemake():
    what, *rest = sys.argv[1:]
    if what == "descriptors":
        held = {int(name) for name in os.listdir("/proc/self/fd")}
        held = sorted(n for n in held if os.path.exists(f"/proc/self/fd/{n}") and n < 64)
        sys.stderr.write(f"{held} {os.getcwd()}\\n")
        for number in map(int, rest):
            os.write(number, b"drawn")
    elif what == "wait":
        sys.stderr.write("waiting\\n")
        sys.stderr.flush()
        time.sleep(60)
    sys.exit(3)

sys.modules["snakemake"] = types.SimpleNamespace(__file__="snakemake")
sys.modules["snakemake.cli"] = types.SimpleNamespace(main=snakemake)
warm_server._IMPORTED = ()
warm_server.main(Path(sys.argv[1]))
"""
KEEP = KeepWarm(1, "tiny")


@pytest.fixture(autouse=True)
def _own_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:  # sockets need a short path
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        started = []

        def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
            log = (folder / "log").open("wb")
            command = [sys.executable, "-P", "-c", SERVER, str(folder)]
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            return started[-1]

        monkeypatch.setattr(warm, "_start", start)
        yield
        for process in warm_processes():
            end_warm_process(process.folder)
        for server in started:
            server.wait(20)
        assert not list(Path(runtime, "editinfinity").glob("warm-*"))


def begin(folder: Path, *command: str, descriptors: tuple[int, ...] = ()) -> WarmRun:
    run = run_warm(KEEP, command, folder, os.environ, descriptors)
    assert run is not None
    return run


def test_a_child_has_only_the_descriptors_of_its_edit_whatever_their_numbers(
    tmp_path: Path,
) -> None:
    with begin(tmp_path, "descriptors") as run:
        run.wait()
    (process,) = warm_processes()
    for wanted in range(3, 16):  # those of the warm process itself among them
        read_end, write_end = os.pipe()
        edit = {
            "command": ["descriptors", str(wanted)], "folder": str(tmp_path),
            "environment": dict(os.environ), "descriptors": [2, wanted],
        }  # fmt: skip
        with closing(connect(socket_of(process.folder))) as connection:
            request = {"run": edit, "model": "tiny", "minutes": 1}
            connection.send({"edit": request}, [write_end, write_end])
            os.close(write_end)
            with os.fdopen(read_end) as pipe:
                assert pipe.read() == f"[0, 1, 2, {wanted}] {tmp_path}\ndrawn"
            assert set(connection.receive(10) or {}) == {"accepted"}
            assert connection.receive(10) == {"ended": 3}


def test_an_edit_that_is_stopped_at_once_does_not_run(tmp_path: Path) -> None:
    for _ in range(5):
        with begin(tmp_path, "wait") as run:
            run.terminate()
            run.communicate()
        assert run.returncode in (-signal.SIGTERM, -signal.SIGINT, 1, 130)
    assert [process.editing for process in warm_processes()] == [0]


def test_an_edit_can_be_stopped_after_the_warm_process_was_killed(tmp_path: Path) -> None:
    with begin(tmp_path, "wait") as run:
        assert run.stderr.readline() == "waiting\n"
        (process,) = warm_processes()
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        stopped = time.monotonic()
        run.terminate()
        run.communicate()
        assert time.monotonic() - stopped < 30  # of 60
        with pytest.raises(WarmProcessKilledError):
            run.wait()
    shutil.rmtree(process.folder)


def test_a_process_that_is_ending_takes_no_edit_but_says_what_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with begin(tmp_path, "wait") as run:
        assert run.stderr.readline() == "waiting\n"
        (process,) = warm_processes()
        end_warm_process(process.folder, wait=False)
        assert run_warm(KEEP, ["descriptors"], tmp_path, os.environ, ()) is None
        assert caplog.messages == [
            "--keep-warm: this edit runs without a warm process (the one that is kept is ending)"
        ]
        assert [(p.pid, p.editing) for p in warm_processes()] == [(process.pid, 1)]
        run.terminate()
        run.communicate()


def test_a_process_is_told_to_have_ended_once_it_has(tmp_path: Path) -> None:
    with begin(tmp_path, "descriptors") as run:
        run.wait()
    (process,) = warm_processes()
    # A worker that takes a moment to exit: the folder is not removed before.
    busy = Lock.take(process.folder / "worker.serving")
    assert busy is not None
    with closing(connect(socket_of(process.folder))) as connection, busy:
        connection.send({"leave": None})
        with pytest.raises(TimeoutError):
            connection.receive(1)
        busy.release()
        assert connection.receive(10) is None
    assert not process.folder.exists()


def test_a_process_keeps_no_folder_of_the_user_busy(tmp_path: Path) -> None:
    with begin(tmp_path, "descriptors") as run:
        run.wait()
    (process,) = warm_processes()
    assert Path(f"/proc/{process.pid}/cwd").readlink() == Path("/")


def test_a_process_with_other_cores_or_variables_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = identity(os.environ)
    assert identity({**os.environ, "COLUMNS": "7"}) == expected
    assert identity({**os.environ, "OMP_NUM_THREADS": "7"}) != expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {99})
    assert identity(os.environ) != expected


def test_elsewhere_than_on_linux_nothing_is_kept_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert (keep_warm_for(3, "tiny"), keep_warm_for(0, "tiny")) == (KeepWarm(3, "tiny"), None)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert [keep_warm_for(minutes, "tiny") for minutes in (None, 0, 3)] == [None] * 3
    assert caplog.messages == ["--keep-warm: works on Linux only; nothing is kept loaded"]


def test_a_bad_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    with begin(tmp_path, "descriptors") as run:
        run.wait()
    (process,) = warm_processes()
    other = process.folder.with_name("warm-")  # before it in the alphabet
    other.mkdir(mode=0o755)
    assert len(warm_processes()) == 1
    other.rmdir()
