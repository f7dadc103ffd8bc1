"""Jobs and workers as real processes, on the random model ``tiny``."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editinfinity.errors import MemoryFault, UserError
from editinfinity.files.tensors import load_tensors
from editinfinity.locks import held
from editinfinity.stages.calls import Call
from editinfinity.stages.host import ALONE
from editinfinity.stages.settings import ModelSettings, Pause, TrainingSettings
from editinfinity.stopping import Stopper
from editinfinity.worker import client, server
from editinfinity.worker.dispatch import dispatch
from editinfinity.worker.leases import Slot
from editinfinity.worker.protocol import connect
from editinfinity.worker.session import SESSION, OpenSession, open_session
from editinfinity.workflow.stage_version import running_digests
from tests.stages.conftest import draw_photograph

pytestmark = pytest.mark.slow

TINY = ModelSettings(preset="tiny", device="cpu", threads=1)

JOB = """
import json, logging, sys
from editinfinity.stages.calls import Call
from editinfinity.stopping import Stopped, Stopper
from editinfinity.worker.dispatch import dispatch
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
stopper = Stopper()
with stopper.listening(), stopper.working():
    try:
        dispatch(Call.from_json(json.loads(sys.argv[1])), sys.argv[2], sys.argv[3] == "on", stopper)
    except Stopped as stopped:
        print("STOPPED", stopped)
print("TORCH" if "torch" in sys.modules else "NO TORCH")
print("END")
"""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenSession]:
    """A run of the workflow in an empty folder."""
    # Sockets need a short path.
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        monkeypatch.setenv(SESSION, "")
        for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "EDITINFINITY_JOBS_AT_ONCE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(tmp_path)
        opened = open_session()
        assert opened is not None
        try:
            yield opened
        finally:
            opened.close()
            assert not list(Path(runtime, "editinfinity").glob("run-*"))


def text(output: str, prompt: str = "a dog", **settings: Any) -> Call:
    model = replace(TINY, **settings)
    return Call("text_features", {"prompt": prompt, "output": Path(output), "model": model})


def training(output: str, iterations: int, pause: Pause | None = None) -> Call:
    """A training of vectors; ``prepare`` makes its inputs."""
    arguments = {
        "image_features": Path("image"),
        "text_features": Path("text"),
        "output": Path(output),
        "state": Path(f"{output}.state"),
        "losses": Path(f"{output}.losses"),
        "iterations": iterations,
        "model": TINY,
        "training": TrainingSettings(learning_rate=1e-3, batch_size=1),
        "pause": pause,
    }
    return Call("train_textembedding", arguments)


def assert_same(one: str, other: str, endings: Sequence[str] = ("", ".state", ".losses")) -> None:
    for ending in endings:
        assert Path(one + ending).read_bytes() == Path(other + ending).read_bytes()


def prepare() -> None:
    draw_photograph(Path("photo.jpg"))
    arguments = {"image": Path("photo.jpg"), "output": Path("image"), "model": TINY}
    Call("image_features", arguments).run(ALONE)
    text("text").run(ALONE)


def run(call: Call, digest: str | None = None, worker: bool = True) -> None:
    dispatch(call, digest or running_digests()[call.stage], worker, Stopper())


def job(call: Call, worker: bool = True) -> subprocess.Popen[str]:
    """A job as a process of its own."""
    words = [json.dumps(call.to_json()), running_digests()[call.stage], "on" if worker else "off"]
    command = [sys.executable, "-c", JOB, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def follow(process: subprocess.Popen[str], words: str) -> str:
    """What a job says until it says some words."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was never said: {said}")


def worker_of(session: OpenSession) -> int:
    """Process of the one worker there is."""
    (socket,) = session.folder.glob("*.socket")
    line = connect(socket)
    try:
        data = line.socket.getsockopt(1, 17, 12)  # SOL_SOCKET, SO_PEERCRED
        return int.from_bytes(data[:4], sys.byteorder)
    finally:
        line.close()


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_gives_the_same_bytes_and_reads_models_once(
    session: OpenSession, caplog: pytest.LogCaptureFixture
) -> None:
    prepare()
    training("alone", 2).run(ALONE)
    training("alone3", 3).run(ALONE)
    with caplog.at_level(logging.INFO):
        run(text("text2"))
        run(training("warm", 2))
        run(training("warm3", 3))
        run(text("text3"))
    assert caplog.text.count(": read,") == 2  # a text encoder and a transformer
    assert "runs by itself" not in caplog.text
    assert "iteration 2 of 2, loss" in caplog.text  # the stage's own words reach the job's log
    for one, other in (
        ("text", "text2"),
        ("text", "text3"),
        ("alone", "warm"),
        ("alone3", "warm3"),
    ):
        for ending in ("", ".state", ".losses") if "a" in one else ("",):
            assert Path(one + ending).read_bytes() == Path(other + ending).read_bytes()
    # Nobody else may enter, and the log of a job without fault says no more than that.
    assert session.folder.stat().st_mode & 0o777 == 0o700
    (socket,) = session.folder.glob("*.socket")
    assert socket.stat().st_mode & 0o777 == 0o600


def test_faults_reach_the_job(session: OpenSession) -> None:
    arguments = {"image": Path("none.jpg"), "output": Path("o"), "model": TINY}
    with pytest.raises(UserError, match="none.jpg"):
        run(Call("image_features", arguments))
    first = worker_of(session)
    run(text("after"))
    assert worker_of(session) == first
    with pytest.raises(client.UnexpectedFault, match="TypeError"):
        run(Call("image_features", {**arguments, "nonsense": 1}))
    # A worker that met what it does not understand is not trusted further.
    assert eventually(lambda: not running(first))
    run(text("again"))


def test_other_code_is_refused_and_the_job_runs_by_itself(
    session: OpenSession, caplog: pytest.LogCaptureFixture
) -> None:
    run(text("warm"))
    run(text("other"), digest="0123456789abcdef")
    assert "other code than the worker; this job runs by itself" in caplog.text
    assert Path("warm").read_bytes() == Path("other").read_bytes()
    run(text("off"), worker=False)
    assert len(list(session.folder.glob("*.socket"))) == 1


def test_two_jobs_at_once_start_one_worker(session: OpenSession) -> None:
    path, workers = session.folder / "x.socket", []

    def reach() -> None:
        line = client._reach(path, Slot("cpu-0"))
        workers.append(worker_of(session))
        line.close()

    threads = [threading.Thread(target=reach) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workers) == 4 and len(set(workers)) == 1


def test_a_killed_job_stops_its_work_and_not_the_worker(session: OpenSession) -> None:
    prepare()
    pause = Pause(Path("paused"), "this one")
    said, _ = job(text("before")).communicate()
    assert "NO TORCH" in said, "a job whose worker does the work imports nothing large"
    killed = job(training("out", 100000, pause))
    follow(killed, "iteration 3 of")
    worker = worker_of(session)
    slot = session.folder / "cpu-0.lock"
    os.kill(worker, signal.SIGSTOP)  # the worker is in the middle of it …
    killed.kill()
    killed.wait()
    assert held(slot), "a slot is not free while the worker of a dead job works on it"
    os.kill(worker, signal.SIGCONT)
    assert eventually(lambda: not held(slot))
    assert Path("paused").exists() and not Path("out").exists()
    assert not list(Path().glob(".tmp-*"))
    run(text("next"))
    assert worker_of(session) == worker


def test_a_killed_worker_leaves_its_job_to_the_job(session: OpenSession) -> None:
    prepare()
    training("alone", 60).run(ALONE)
    process = job(training("out", 60))
    follow(process, "iteration 3 of")
    os.kill(worker_of(session), signal.SIGKILL)
    said, _ = process.communicate()
    assert "the worker died" in said and "this job runs by itself" in said
    assert Path("alone").read_bytes() == Path("out").read_bytes()
    # The next one starts another, past what the first left behind.
    run(text("next"))
    assert running(worker_of(session))


@pytest.mark.parametrize("worker", [True, False])
def test_a_training_told_to_stop_goes_on_to_the_same_bytes(
    session: OpenSession, worker: bool
) -> None:
    prepare()
    training("alone", 60).run(ALONE)
    call = training("out", 60, Pause(Path("paused"), "this one"))
    for number, words in ((signal.SIGTERM, "iteration 7 of"), (signal.SIGINT, "iteration 20 of")):
        process = job(call, worker)
        follow(process, words)
        process.send_signal(number)
        said, _ = process.communicate()
        assert f"({number.name}); run again, and it goes on from there" in said
        assert process.returncode == 0
        assert Path("paused").exists() and not Path("out").exists()
    last = job(call, worker)
    said, _ = last.communicate()
    assert "goes on after iteration" in said and "iteration 7 of" not in said
    assert not Path("paused").exists()
    assert_same("alone", "out")


def test_what_another_training_left_is_not_gone_on_from(session: OpenSession) -> None:
    prepare()
    pause = Pause(Path("paused"), "this one")
    process = job(training("out", 1000, pause), worker=False)
    follow(process, "iteration 3 of")
    process.terminate()
    process.communicate()
    assert load_tensors(pause.path, "paused_training")[1]["iteration"] >= 3
    for other in (pause.path.read_bytes(), b"half a file"):
        pause.path.write_bytes(other)
        training("new", 2, replace(pause, identity="another")).run(ALONE)
        assert not pause.path.exists()


def test_workers_leave_with_their_run(session: OpenSession) -> None:
    run(text("a"))
    worker = worker_of(session)
    session.close()
    assert eventually(lambda: not running(worker), 10)
    assert not session.folder.exists()
    assert SESSION not in os.environ


def test_workers_leave_when_snakemake_was_killed(session: OpenSession) -> None:
    code = (
        "import sys; from editinfinity.worker.session import open_session\n"
        "print(open_session().folder, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as main:
        assert main.stdout is not None
        folder = Path(main.stdout.readline().strip())
        os.environ[SESSION] = str(folder)
        run(text("a"))
        assert list(folder.glob("*.socket"))
        main.kill()
    assert eventually(lambda: not folder.exists()), "the worker removes the folder as the last"


def test_an_idle_worker_leaves(session: OpenSession) -> None:
    path = session.folder / "idle.socket"
    code = "import sys; from pathlib import Path; from editinfinity.worker import server\n"
    code += "server.main(Path(sys.argv[1]), idle=1)"
    process = subprocess.run([sys.executable, "-c", code, str(path)], timeout=30, check=True)
    assert process.returncode == 0 and not path.exists()


def test_sigterm_sends_an_idle_worker_away(session: OpenSession) -> None:
    run(text("a"))
    worker = worker_of(session)
    os.kill(worker, signal.SIGTERM)
    assert eventually(lambda: not running(worker), 10)
    assert not list(session.folder.glob("*.socket"))


def test_a_job_short_of_memory_gets_the_card_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ran, parked = [], []

    class Models:
        def finish_job(self) -> None:
            parked.append("finished")

        def park_all(self) -> None:
            parked.append("parked")

    def short_once(call: Call, host: object) -> None:
        ran.append(call)
        if len(ran) == 1:
            raise MemoryFault("GPU: out of memory")

    monkeypatch.setattr(Call, "run", short_once)
    monkeypatch.setattr(server, "_warm_models", lambda device: Models())
    server.Worker(Path("folder/socket"))._run_with_models(text("a"))
    assert len(ran) == 2 and parked == ["finished", "parked", "finished"]
