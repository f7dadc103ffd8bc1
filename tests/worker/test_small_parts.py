"""Calls, messages, cards and locks: what needs no worker."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from editinfinity.locks import Lock, is_locked
from editinfinity.settings.groups import LoraSettings, ModelSettings, TrainingSettings
from editinfinity.stages.calls import MODEL_STAGES, Call
from editinfinity.stages.host import PauseFile
from editinfinity.worker import client, leases, private, protocol, server
from editinfinity.worker.cards import Card, visible_cards
from editinfinity.worker.leases import Slot, lease, lease_folder, slots_of
from editinfinity.worker.private import private_folder, require_private
from editinfinity.worker.protocol import Connection, ProtocolError, connect
from tests.waiting import eventually

CALL = Call(
    "train_lora",
    {
        "image_features": Path(os.fsdecode(b"results/\xff {x}\n/image.safetensors")),
        "embedding": None,
        "iterations": 50,
        "model": ModelSettings("tiny", Path("weights"), threads=3),
        "training": TrainingSettings(betas=(0.8, 0.9), lora_learning_rate=4.69e-5),
        "lora": LoraSettings(),
        "pause": PauseFile(Path("p"), "x"),
    },
)


def test_a_call_comes_back_as_it_was_over_a_line() -> None:
    one, other = (Connection(end) for end in socket.socketpair(socket.AF_UNIX))
    one.send({"run": CALL.to_json()})
    assert Call.from_json((other.receive() or {})["run"]) == CALL
    for line in (one, other):
        line.close()


def test_what_is_sent_with_a_file_is_sent_though_the_other_end_hangs_up_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that refuses at once has answered and gone while the job's call returns."""
    one, other = (Connection(end) for end in socket.socketpair(socket.AF_UNIX))
    send_fds = socket.send_fds

    def quickly_refused(*arguments: object) -> int:
        sent = send_fds(*arguments)  # type: ignore[arg-type]
        assert other.receive(1) == {"run": 1}
        other.send({"refused": "no"})
        other.close()
        return sent

    monkeypatch.setattr(socket, "send_fds", quickly_refused)
    with Path(os.devnull).open() as file:
        one.send({"run": 1}, [file.fileno()])
    assert one.receive(1) == {"refused": "no"}
    one.close()


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"stage": "os.system", "arguments": {}},
        {"stage": "check", "arguments": {}},
        {"stage": "edit", "arguments": {"model": {"Popen": {"args": "true"}}}},
        {"stage": "edit", "arguments": {"model": {"ModelSettings": {"nonsense": 1}}}},
        {"stage": "edit", "arguments": [1]},
    ],
)
def test_only_named_stages_and_settings_are_understood(data: object) -> None:
    with pytest.raises(ValueError, match="not a call of a stage"):
        Call.from_json(data)
    assert "check" not in MODEL_STAGES


def test_messages_that_are_none(tmp_path: Path) -> None:
    for data in (b"\xff\xff\n", b"hi\n", b"[]\n", b"{}\n"):
        near, far = socket.socketpair(socket.AF_UNIX)
        near.sendall(data)
        with far, near, pytest.raises(ProtocolError):
            Connection(far).receive(1)
    near, far = socket.socketpair(socket.AF_UNIX)
    with far:
        near.sendall(b"{")
        with pytest.raises(TimeoutError):
            Connection(far).receive(0.01)
        near.close()
        assert Connection(far).receive(1) is None


def test_a_message_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MAX_MESSAGE_BYTES", 9)
    near, far = socket.socketpair(socket.AF_UNIX)
    near.sendall(b'{"log": 1}')
    with far, near, pytest.raises(ProtocolError, match="too long"):
        Connection(far).receive(1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_another_users_process_is_not_talked_to() -> None:
    code = (
        "import os, socket, sys\n"
        "with socket.socket(socket.AF_UNIX) as end:\n"
        "    end.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); os.setuid(65534)\n"
        "    end.listen(); print('ready', flush=True); end.accept()"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder, "s")
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "ready\n"
            # A socket carries who listened on it, here somebody else by then.
            with pytest.raises(PermissionError, match="uid 65534"):
                connect(path)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path, as sockets need."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_the_folder_is_ones_own(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = private_folder()
    assert folder == runtime / "editinfinity"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="0700"):
        require_private(folder)
    # Somebody else's trap in the place of ours: the next place is taken.
    assert private_folder() != folder
    folder.rmdir()
    (runtime / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(runtime / "elsewhere")
    with pytest.raises(PermissionError):
        require_private(folder)
    monkeypatch.setattr(private, "_candidates", lambda: [folder])
    with pytest.raises(OSError, match="only you can access"):
        private_folder()


UUIDS = [f"GPU-{digit * 8}-aaaa-bbbb-cccc-{digit * 12}" for digit in "0123"]


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """Four cards, as the driver lists them."""
    for number, uuid in enumerate(UUIDS):
        folder = tmp_path / f"0000:{number:02x}:00.0"
        folder.mkdir()
        (folder / "information").write_text(f"Model: \t Fake\nGPU UUID:\t {uuid}\nMinor: 0\n")
    return tmp_path


CARDS = {
    # environment → numbers of the cards a process may use, in order
    "unset": ({}, [0, 1, 2, 3]),
    "one": ({"CUDA_VISIBLE_DEVICES": "2"}, [2]),
    "several, in their order": ({"CUDA_VISIBLE_DEVICES": "3, 1"}, [3, 1]),
    "by UUID": ({"CUDA_VISIBLE_DEVICES": f"{UUIDS[1]},{UUIDS[0]}"}, [1, 0]),
    "by the beginning of one": ({"CUDA_VISIBLE_DEVICES": "GPU-2222"}, [2]),
    "empty": ({"CUDA_VISIBLE_DEVICES": ""}, []),
    "none": ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
    "SLURM's none": ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
    "up to nonsense": ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, [1]),
    "up to a card that is not there": ({"CUDA_VISIBLE_DEVICES": "1,4,2"}, [1]),
    "up to a UUID that nobody has": ({"CUDA_VISIBLE_DEVICES": "1,GPU-99,2"}, [1]),
    "up to a UUID that all have": ({"CUDA_VISIBLE_DEVICES": "GPU-,2"}, []),
    "twice the same": ({"CUDA_VISIBLE_DEVICES": f"1,{UUIDS[1]}"}, [1]),
    "SLURM's": ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,3"}, [0, 3]),
    "SLURM's, unset by a script": ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "1,2"}, [1, 2]),
}


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_those_left_to_the_process(name: str, driver: Path) -> None:
    environment, numbers = CARDS[name]
    cards = visible_cards(environment, driver)
    assert [card.identity for card in cards] == [f"0000:{number:02x}:00.0" for number in numbers]
    given = environment.get("CUDA_VISIBLE_DEVICES", "")
    if given:  # in the user's own words, which CUDA may count in another order
        assert all(card.entry in given for card in cards)
    else:
        assert [card.entry for card in cards] == [UUIDS[number] for number in numbers]


def test_a_card_keeps_its_name_when_it_is_first_used(driver: Path) -> None:
    used = visible_cards({}, driver)
    information = driver / "0000:01:00.0" / "information"
    information.write_text("Model: \t Fake\nGPU UUID:\t GPU-????????-????-????-????-????????????\n")
    before = visible_cards({}, driver)
    assert [card.identity for card in before] == [card.identity for card in used]
    assert [card.entry for card in before] == [UUIDS[0], "1", *UUIDS[2:]]
    # Whether a UUID is a card's cannot be told then.
    environment = {"CUDA_VISIBLE_DEVICES": f"{UUIDS[1]},GPU-2222"}
    assert [card.identity for card in visible_cards(environment, driver)] == [
        UUIDS[1].lower(),
        "0000:02:00.0",
    ]


def test_cards_without_a_drivers_list_and_slices(tmp_path: Path) -> None:
    assert visible_cards({}, tmp_path, tmp_path) == ()
    given = "0,MIG-GPU-1/2/0,MIG-aa-bb,GPU-77"
    cards = visible_cards({"CUDA_VISIBLE_DEVICES": given}, tmp_path, tmp_path)
    assert ",".join(card.entry for card in cards) == given
    names = ["card-0", "MIG-GPU-1-2-0", "MIG-aa-bb", "gpu-77"]
    assert [card.identity for card in cards] == names


def test_cards_that_are_only_files(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    cards = visible_cards({}, tmp_path / "none", tmp_path)
    assert cards == (Card("0", "card-0"), Card("1", "card-1"))
    environment = {"CUDA_VISIBLE_DEVICES": "1,2"}
    assert visible_cards(environment, tmp_path / "none", tmp_path) == (Card("1", "card-1"),)


def test_the_folder_of_a_login_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # It goes at logout; what goes on without the variable must find the same folder.
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    at_login = private._candidates()[0]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert at_login == private._candidates()[0] == Path(f"/tmp/editinfinity-{os.getuid()}")


def test_slots_of_a_device() -> None:
    cards = [Card("5", "a"), Card("6", "b")]
    assert [slot.name for slot in slots_of("auto", cards, 2)] == ["a", "b"]
    assert [slot.name for slot in slots_of("cuda", cards, 2)] == ["a", "b"]
    assert [slot.name for slot in slots_of("cuda:1", cards, 2)] == ["b"]
    assert [slot.name for slot in slots_of("cpu", cards, 2)] == ["cpu-0", "cpu-1"]
    for device, there in (("cuda:2", cards), ("auto", []), ("cuda:0", [])):
        assert [slot.name for slot in slots_of(device, there, 1)] == ["cpu-0"]


def test_slurm_jobs_of_a_node_do_not_share_their_card_numbers(tmp_path: Path) -> None:
    folders = {lease_folder(tmp_path, {"SLURM_JOB_ID": job}) for job in ("1", "2", "../x")}
    assert len(folders) == 3 and all(folder.parent == tmp_path for folder in folders)


def test_jobs_get_a_slot_in_the_order_in_which_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(leases, "_RETRY_PAUSE", 0.2)
    slot, order = Slot("one"), list[str]()

    def job(name: str) -> threading.Thread:
        def run() -> None:
            with lease([slot], tmp_path, prefer=lambda _: True):
                order.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with lease([slot], tmp_path, prefer=lambda _: True):
        first = job("first")
        assert eventually(lambda: bool(caplog.messages)), "it tells that it waits once it has tried"
    second = job("second")  # tries at once, while the first still pauses
    first.join()
    second.join()
    assert order == ["first", "second"]
    assert not is_locked(tmp_path / "one.next") and not is_locked(tmp_path / "one.lock")


WAITING = """
import sys
from pathlib import Path
from editinfinity.worker.leases import Slot, lease

with lease([Slot("one")], Path(sys.argv[1]), lambda _: True):
    print("its turn", flush=True)
"""


def test_a_suspended_job_loses_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_TURN_SECONDS", 1.0)
    turn, taken = tmp_path / "one.next", threading.Event()

    def take() -> None:
        with lease([Slot("one")], tmp_path, prefer=lambda _: True):
            taken.set()

    command = [sys.executable, "-c", WAITING, str(tmp_path)]
    with lease([Slot("one")], tmp_path, prefer=lambda _: True):
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert eventually(lambda: is_locked(turn)), "nobody is the next"
        time.sleep(1.5)
        assert time.time() - turn.stat().st_mtime < 1, "it does not show that it runs"
        waiting.send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    assert taken.wait(30)
    thread.join()
    waiting.send_signal(signal.SIGCONT)
    assert waiting.communicate(timeout=30)[0] == "its turn\n" and waiting.returncode == 0


def test_a_lock_lives_as_long_as_anybody_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock.take(path)
    assert lock is not None and is_locked(path) and Lock.take(path) is None
    code = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=[lock.handle]) as heir:
        assert heir.stdout is not None and heir.stdout.read(1) == b"."
        lock.release()
        assert is_locked(path) and Lock.take(path) is None
        heir.kill()
        heir.wait()
        with Lock.take(path) as mine:  # type: ignore[union-attr]
            assert mine is not None
            # A file that was removed and made anew has a lock of its own.
            path.unlink()
            again = Lock.take(path)
            assert again is not None
            again.release()


@contextmanager
def kept_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A worker in the folder of a warm process that runs, and the socket it listens on."""
    monkeypatch.setattr(server, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(server, "running_digests", lambda: {"text_features": "same"})
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="warm-") as name:
        folder = Path(name)
        alive = Lock.take(folder / "alive")
        assert alive is not None
        with alive, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "one.socket"))
            listener.listen()
            yield server.Worker(folder / "one.socket", tmp_path / "card.lock", 0.0), listener


def test_a_kept_worker_outlives_its_idle_time_but_not_a_job_of_another_run_on_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_worker(tmp_path, monkeypatch) as (worker, listener):
        thread = threading.Thread(target=worker.serve, args=(listener,), daemon=True)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "a worker of one run would have left"
        other = Lock.take(tmp_path / "card.lock")
        assert other is not None
        with other:
            thread.join(30)
            assert not thread.is_alive()


def test_a_worker_forgets_the_models_of_weights_that_were_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "transformer.safetensors").write_bytes(b"old")
    model = ModelSettings(model="tiny", device="cpu", model_dir=folder)
    call = Call("text_features", {"model": model})
    monkeypatch.chdir(tmp_path)
    with kept_worker(tmp_path, monkeypatch) as (worker, _):
        monkeypatch.setattr(worker, "_run_stage", lambda call, connection: {"done": None})

        def run_job() -> None:
            request = {
                "call": call.to_json(),
                "digest": "same",
                "folder": str(tmp_path),
                "weights": json.loads(json.dumps(client._weights(model))),
            }
            job, end = map(Connection, socket.socketpair())
            with closing(job), closing(end):
                worker._handle_run(end, request)
                assert "accepted" in (job.receive(5) or {})

        run_job()
        worker._models = models = object()
        run_job()
        assert worker._models is models
        (folder / "transformer.safetensors").write_bytes(b"new")
        run_job()
        assert worker._models is None
