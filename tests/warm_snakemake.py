"""Snakemake without the seconds it takes to import: a server that has it imported, and forks.

Each call is a process of its own, which begins as ``python -m snakemake`` does: in its own folder,
with its own environment, arguments and outputs, and nothing of the project imported.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn


def call(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Call Snakemake in a folder, and wait for its end.

    Args:
        arguments: of the command line.
        folder: to run in.
        env: the whole environment.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(_server())
            request = {"arguments": [*arguments], "folder": str(folder), "env": dict(env)}
            socket.send_fds(line, [b"."], [out.fileno(), err.fileno()])
            line.sendall(json.dumps(request).encode() + b"\n")
            status = int(line.makefile().readline() or 1)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(["snakemake", *arguments], status, *texts)


@cache
def _server() -> str:
    """The address of this process's server, which lives as long as this process."""
    folder = tempfile.TemporaryDirectory(dir="/tmp", prefix="ei-")  # sockets need a short path
    address = f"{folder.name}/snakemake"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return address


def _serve(listener: socket.socket) -> None:
    """Answer calls until whoever started this process is gone."""
    import select
    import signal

    import pandas  # noqa: F401  # Snakemake looks for it when it keeps params
    import snakemake.cli  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        line, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _answer(line)
        line.close()


def _answer(line: socket.socket) -> NoReturn:
    _, outputs, _, _ = socket.recv_fds(line, 1, 2)
    request = json.loads(line.makefile().readline())
    if (child := os.fork()) == 0:
        line.close()
        _run(request, *outputs)
    _, status = os.waitpid(child, 0)
    line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request: dict, out: int, err: int) -> NoReturn:
    status: object = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.path[0] = request["folder"]
        sys.argv = ["snakemake", *request["arguments"]]
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    import atexit
    import threading

    code = status if isinstance(status, int) else 0 if status is None else 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    # As an interpreter ends: threads, then what is registered, then what is buffered.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
