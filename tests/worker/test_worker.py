"""Jobs and workers as real processes, on the random model ``tiny``."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from PIL import Image

from editinfinity.cancellation import Cancellation
from editinfinity.environment import Environment
from editinfinity.errors import GpuMemoryError, UserError
from editinfinity.files.tensors import load_tensors
from editinfinity.jobs.record import (
    Event,
    Iteration,
    JobWarning,
    RecordHandler,
    ResourceUsage,
    read_record,
)
from editinfinity.jobs.stage_version import running_digests
from editinfinity.locks import is_locked
from editinfinity.settings.groups import ModelSettings, TrainingSettings
from editinfinity.stages.calls import Call
from editinfinity.stages.host import ALONE, PauseFile
from editinfinity.worker import client, server
from editinfinity.worker.dispatch import dispatch
from editinfinity.worker.leases import Lease, Slot
from editinfinity.worker.protocol import connect
from editinfinity.worker.session import SESSION, Session, open_session
from tests.jobs.test_record import require_schema
from tests.stages.conftest import draw_photograph
from tests.waiting import eventually

pytestmark = pytest.mark.slow

LONG = 60
"""Iterations of a training that is stopped on the way."""

TINY = ModelSettings(model="tiny", device="cpu", threads=1)

JOB = """
import json, logging, sys
from editinfinity.stages.calls import Call
from editinfinity.cancellation import Stopped, Cancellation
from editinfinity.worker.dispatch import dispatch
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
cancellation = Cancellation()
with cancellation.handling_signals(), cancellation.interruptible():
    try:
        call = Call.from_json(json.loads(sys.argv[1]))
        dispatch(call, sys.argv[2], sys.argv[3] == "on", cancellation)
    except Stopped as stopped:
        print("STOPPED", stopped)
print("TORCH" if "torch" in sys.modules else "NO TORCH")
print("END")
"""


@contextmanager
def opened_session(folder: Path) -> Iterator[Session]:
    """A run of the workflow in a folder."""
    # Sockets need a short path.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        patch.setenv("XDG_RUNTIME_DIR", runtime)
        patch.setenv(SESSION, "")
        for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "EDITINFINITY_JOBS_AT_ONCE"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        opened = open_session()
        assert opened is not None
        try:
            yield opened
        finally:
            opened.close()
            assert not list(Path(runtime, "editinfinity").glob("run-*"))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A run of the workflow in an empty folder."""
    with opened_session(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    """A run that goes on from test to test, with its worker, and its folder."""
    folder = tmp_path_factory.mktemp("long_run")
    with opened_session(folder) as opened:
        prepare()
        training("alone", LONG).run(ALONE)
        run(text("first"))
        yield opened, folder
        process = worker_of(opened)
    assert eventually(lambda: not running(process), 10), "workers leave with their run"


@pytest.fixture
def going_on(long_run: tuple[Session, Path], monkeypatch: pytest.MonkeyPatch) -> Session:
    """The long run, in whose folder are the inputs and ``alone``, a training of ``LONG``."""
    session, folder = long_run
    monkeypatch.chdir(folder)
    run(text("before"))  # some tests leave it without a worker
    return session


def text(output: str, prompt: str = "a dog", **settings: Any) -> Call:
    model = replace(TINY, **settings)
    return Call("text_features", {"prompt": prompt, "output": Path(output), "model": model})


def training(output: str, iterations: int, pause: PauseFile | None = None) -> Call:
    """A training of vectors; ``prepare`` makes its inputs."""
    arguments = {
        "image_features": Path("image"),
        "text_features": Path("text"),
        "output": Path(output),
        "state": Path(f"{output}.state"),
        "losses": Path(f"{output}.losses"),
        "iterations": iterations,
        "model": TINY,
        "training": TrainingSettings(
            embedding_learning_rate=1e-3, lora_learning_rate=1e-3, batch_size=1
        ),
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
    dispatch(call, digest or running_digests()[call.stage], worker, Cancellation())


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


def worker_of(session: Session) -> int:
    """Process of the one worker there is."""
    (socket,) = session.folder.glob("*.socket")
    line = connect(socket)
    try:
        data = line.socket.getsockopt(1, 17, 12)  # SOL_SOCKET, SO_PEERCRED
        return int.from_bytes(data[:4], sys.byteorder)
    finally:
        line.close()


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_gives_the_same_bytes_and_reads_models_once(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    prepare()
    training("alone", 2).run(ALONE)
    training("alone3", 3).run(ALONE)
    with caplog.at_level(logging.INFO):
        run(text("text2"))
        run(training("warm", 2))
        run(training("warm3", 3))
        run(text("text3"))
    assert caplog.text.count(": read ") == 2  # a text encoder and a transformer
    assert "runs in the job's own process" not in caplog.text
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


def recorded(call: Call, worker: bool) -> list[Event]:
    """The events of a call as its job records them, without what differs from time to time."""
    handler, root = RecordHandler(Path("events.jsonl")), logging.getLogger()
    root.addHandler(handler)
    try:
        run(call, worker=worker)
    finally:
        root.removeHandler(handler)
        handler.close()
    require_schema(Path("events.jsonl"))
    record = read_record(Path(), "events")
    assert record is not None
    zeros = {Iteration: {"rate": 0.0}, ResourceUsage: {"seconds": 0.0, "memory": 0}}
    return [replace(event, **zeros.get(type(event), {})) for event in record.events]


def test_events_are_recorded_alike_with_a_worker_and_without(
    going_on: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with Image.open("photo.jpg") as photograph:
        photograph.save("broken.png", exif=b"no EXIF")
    arguments = {"image": Path("broken.png"), "output": Path("o"), "model": TINY}
    with caplog.at_level(logging.INFO):
        for call, kinds in (
            (training("recorded", 3), [Environment, *[Iteration] * 3, ResourceUsage]),
            (Call("image_features", arguments), [JobWarning, ResourceUsage]),
        ):
            cold, warm = recorded(call, worker=False), recorded(call, worker=True)
            assert cold == warm
            assert [type(event) for event in cold] == kinds
    assert "EXIF" in str(cold[0])


def test_faults_reach_the_job(going_on: Session) -> None:
    arguments = {"image": Path("none.jpg"), "output": Path("o"), "model": TINY}
    first = worker_of(going_on)
    with pytest.raises(UserError, match="none.jpg"):
        run(Call("image_features", arguments))
    run(text("after"))
    assert worker_of(going_on) == first
    with pytest.raises(client.UnexpectedError, match="TypeError"):
        run(Call("image_features", {**arguments, "nonsense": 1}))
    # A worker that met what it does not understand is not trusted further.
    assert eventually(lambda: not running(first))
    run(text("again"))
    assert running(worker_of(going_on))


def test_other_code_is_refused_and_the_job_runs_by_itself(
    going_on: Session, caplog: pytest.LogCaptureFixture
) -> None:
    run(text("other"), digest="0123456789abcdef")
    assert "; the stage runs in the job's own process" in caplog.text
    assert Path("first").read_bytes() == Path("other").read_bytes()
    run(text("off"), worker=False)
    assert len(list(going_on.folder.glob("*.socket"))) == 1


def reach(session: Session) -> int:
    """A worker that serves a run, started where there is none: its process."""
    lease = Mock(spec=Lease, slot=Slot("cpu-0"), path=session.folder / "cpu-0.lock")
    line = client._connect_or_start(session.folder / "x.socket", lease)
    try:
        line.send({"run": {"nothing": "to do"}})
        assert "refused" in (line.receive(20) or {})
        return worker_of(session)
    finally:
        line.close()


def test_two_jobs_at_once_start_one_worker(session: Session) -> None:
    with ThreadPoolExecutor(4) as pool:
        workers = list(pool.map(reach, [session] * 4))
    assert len(workers) == 4 and len(set(workers)) == 1


def test_a_killed_job_stops_its_work_and_not_the_worker(going_on: Session) -> None:
    pause = PauseFile(Path("paused by death"), "this one")
    said, _ = job(text("a job's")).communicate()
    assert "NO TORCH" in said, "a job whose worker does the work imports nothing large"
    killed = job(training("killed", 100000, pause))
    follow(killed, "iteration 3 of")
    worker = worker_of(going_on)
    slot = going_on.folder / "cpu-0.lock"
    os.kill(worker, signal.SIGSTOP)  # the worker is in the middle of it …
    killed.kill()
    killed.wait()
    assert is_locked(slot), "a slot is not free while the worker of a dead job works on it"
    os.kill(worker, signal.SIGCONT)
    assert eventually(lambda: not is_locked(slot))
    assert pause.path.exists() and not Path("killed").exists()
    assert not list(Path().glob(".tmp-*"))
    run(text("next"))
    assert worker_of(going_on) == worker


def test_a_killed_worker_leaves_its_job_to_the_job(going_on: Session) -> None:
    process = job(training("orphan", LONG))
    follow(process, "iteration 3 of")
    killed = worker_of(going_on)
    os.kill(killed, signal.SIGKILL)
    said, _ = process.communicate()
    assert "the worker died" in said and "the stage runs in the job's own process" in said
    assert Path("alone").read_bytes() == Path("orphan").read_bytes()
    # The next one starts another, past what the first left behind.
    run(text("next"))
    assert running(worker_of(going_on)) and worker_of(going_on) != killed


@pytest.mark.parametrize("worker", [True, False])
def test_a_training_told_to_stop_goes_on_to_the_same_bytes(
    going_on: Session, worker: bool, caplog: pytest.LogCaptureFixture
) -> None:
    output, pause = f"stopped {worker}", PauseFile(Path(f"paused {worker}"), "this one")
    call = training(output, LONG, pause)
    for number, words in ((signal.SIGTERM, "iteration 7 of"), (signal.SIGINT, "iteration 20 of")):
        process = job(call, worker)
        follow(process, words)
        process.send_signal(number)
        said, _ = process.communicate()
        assert f"({number.name}); run again to continue from there" in said
        assert process.returncode == 0
        assert pause.path.exists() and not Path(output).exists()
    left = pause.path.read_bytes()
    with caplog.at_level(logging.INFO):
        run(call, worker=worker)
    assert "resumes after iteration" in caplog.text and "iteration 7 of" not in caplog.text
    assert not pause.path.exists()
    assert_same("alone", output)

    # What another training left is not gone on from, nor what is no more than half a file.
    pause.path.write_bytes(left)
    assert load_tensors(pause.path, "paused_training")[1]["iteration"] >= 20
    for other in (left, b"half a file"):
        pause.path.write_bytes(other)
        caplog.clear()
        training("new", 2, replace(pause, identity="another")).run(ALONE)
        assert not pause.path.exists()
        assert "resumes after" not in caplog.text


def test_workers_leave_with_their_run(session: Session) -> None:
    worker = reach(session)
    session.close()
    assert eventually(lambda: not running(worker), 10)
    assert not session.folder.exists()
    assert SESSION not in os.environ


def test_workers_leave_when_snakemake_was_killed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from editinfinity.worker.session import open_session\n"
        "print(open_session().folder, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as main:
        assert main.stdout is not None
        folder = Path(main.stdout.readline().strip())
        monkeypatch.setenv(SESSION, str(folder))
        worker = reach(Session(folder))
        main.kill()
    assert eventually(lambda: not folder.exists()), "the worker removes the folder as the last"
    assert eventually(lambda: not running(worker), 10)


def test_an_idle_worker_leaves(session: Session) -> None:
    path = session.folder / "idle.socket"
    code = "import sys; from pathlib import Path; from editinfinity.worker import server\n"
    code += "server.main(Path(sys.argv[1]), Path(sys.argv[1]), idle=1)"
    process = subprocess.run([sys.executable, "-c", code, str(path)], timeout=30, check=True)
    assert process.returncode == 0 and not path.exists()


def test_sigterm_sends_an_idle_worker_away(session: Session) -> None:
    worker = reach(session)
    os.kill(worker, signal.SIGTERM)
    assert eventually(lambda: not running(worker), 10)
    assert not list(session.folder.glob("*.socket"))


def test_a_job_short_of_memory_gets_the_card_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ran, parked = [], []

    class Models:
        def finish_job(self, stage: str) -> None:
            parked.append("finished")

        def park_all(self) -> None:
            parked.append("parked")

    def short_once(call: Call, host: object) -> None:
        ran.append(call)
        if len(ran) == 1:
            raise GpuMemoryError("GPU: out of memory")

    monkeypatch.setattr(Call, "run", short_once)
    monkeypatch.setattr(server, "_warm_models", lambda device: Models())
    server.Worker(Path("folder/socket"), Path("folder/lease"))._run_with_models(text("a"))
    assert len(ran) == 2 and parked == ["finished", "parked", "finished"]
