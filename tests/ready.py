"""Python processes that need not import torch, PEFT and Snakemake: forks of one that has.

Where a test starts dozens of processes that do little, nearly all they do is import. With
``variables_for`` in its environment a process of Snakemake, a job or a worker runs the same code
with the same arguments, environment, folder and open files as ever, but in a fork of a process that
has imported the libraries (nothing of this project's). It stands for the fork until that ends, and
passes signals on; where it is killed, so is the fork. Tests whose processes need a terminal, are
stopped (SIGSTOP), or tell what is imported ask for ``imports_itself``.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET = "EDITINFINITY_TESTS_READY"
"""Environment variable: where the process with the libraries listens."""

LIBRARIES = (
    "numpy", "PIL.Image", "yaml", "pandas", "jinja2", "safetensors.torch", "torch", "torch._dynamo",
    "torch.optim", "peft", "snakemake.cli", "snakemake.api", "snakemake.script",
    "snakemake_executor_plugin_slurm", "snakemake_executor_plugin_slurm_jobstep",
    # What some of these, and nearly every process of ours, import when they need it.
    "nbformat", "smart_open", "snakemake.benchmark", "snakemake.profiles",
    "snakemake.report.html_reporter", "snakemake.storage", "rich.live", "rich.spinner",
    "rich.table", "xml.dom.minidom", "xml.sax.saxutils", "PIL.ImageCms", "PIL.ImageDraw",
    "PIL.ImageSequence", "safetensors.numpy",
)  # fmt: skip

HAND_OVER = f"""
import os, sys
if {SOCKET!r} in os.environ:
    def _hand_over():
        words = sys.orig_argv[1:]
        safe = words[:1] == ["-P"]
        words = words[safe:]
        match words:
            case ["-m", "snakemake" | "editinfinity" | "editinfinity.worker.server" as name, *_]:
                what, words = dict(module=name), words[1:]
            case ["-c", code, *_] if "from editinfinity import" in code:
                what, words = dict(code=code), ["-c", *words[2:]]
            case [file, *_] if file.endswith(("/bin/snakemake", "/bin/editinfinity")) or (
                "/.snakemake/scripts/" in file
            ):
                what = dict(file=file)
            case _:
                return
        job = "/.snakemake/" in words[0] or "--mode" in words
        if not job and (os.isatty(0) or os.isatty(1)):  # a terminal is that of its own processes
            return
        import json, signal, socket
        signals = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
        ignored = [number for number in signals if signal.getsignal(number) == signal.SIG_IGN]
        files = []
        for number in map(int, os.listdir("/dev/fd")):
            try:
                os.fstat(number)
            except OSError:
                continue
            files.append(number)
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(os.environ[{SOCKET!r}])
        except OSError:  # it is gone; this process can do all by itself
            return
        folder = [] if safe else [os.path.dirname(words[0]) if "file" in what else ""]
        what |= dict(argv=words, path=folder + sys.path, folder=os.getcwd(), site=__file__,
                     environment=dict(os.environ), files=files, umask=os.umask(0),
                     leads=os.getsid(0) == os.getpid(), ignored=ignored)
        os.umask(what["umask"])
        message = json.dumps(what).encode()
        socket.send_fds(line, [len(message).to_bytes(8, "big")], files)
        line.sendall(message)
        process = int.from_bytes(line.recv(8), "big")
        for number in signals:
            signal.signal(number, lambda number, _: os.kill(process, number))
        status = int.from_bytes(line.recv(2), "big", signed=True)
        if status < 0:  # of a signal
            if -status != signal.SIGKILL:
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        os._exit(status)
    _hand_over()
"""
"""Of a ``sitecustomize``: hands the process over before it has begun."""


@contextmanager
def ready_processes() -> Iterator[dict[str, str]]:
    """A process with the libraries, as long as the context lasts.

    Yields:
        variables of the environment that have processes handed over to it.
    """
    with tempfile.TemporaryDirectory(prefix="ready-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(HAND_OVER)
        address = folder / "socket"
        with subprocess.Popen(
            [sys.executable, __file__, str(address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == b"ready\n"
            paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
            yield {SOCKET: str(address), "PYTHONPATH": os.pathsep.join(paths)}
            process.stdin.close()


def serve(address: str) -> None:
    """Fork for whoever asks, until standard input ends."""
    for library in LIBRARIES:
        importlib.import_module(library)
    importlib.import_module("snakemake.cli").get_argument_parser()  # looks for plugins, once
    assert "editinfinity" not in sys.modules, "every process imports that by itself"
    # Libraries tidy up at the end of a process, which takes longer than most forks work.
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno())
    print("ready", flush=True)
    waiting: dict[int, socket.socket] = {}
    while True:
        seen = select.select([listener, ended, 0, *waiting.values()], [], [])[0]
        if ended in seen:
            ended.recv(4096)
        for process, status in iter(ended_child, None):
            if line := waiting.pop(process, None):
                tell(line, os.waitstatus_to_exitcode(status).to_bytes(2, "big", signed=True))
                line.close()
        for process, line in [*waiting.items()]:
            if line in seen:  # who stands for it was killed
                os.kill(process, signal.SIGKILL)
                waiting.pop(process).close()
        if listener in seen:
            line = listener.accept()[0]
            head, files, _, _ = socket.recv_fds(line, 8, 64)
            message = line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            process = os.fork()
            if not process:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (listener, ended, wake, line, *waiting.values()):
                    other.close()
                become(json.loads(message), files)
            for file in files:
                os.close(file)
            tell(line, process.to_bytes(8, "big"))
            waiting[process] = line
        if 0 in seen:
            return


def ended_child() -> tuple[int, int] | None:
    """(process, status) of a fork that has ended, if there is one."""
    try:
        process, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (process, status) if process else None


def tell(line: socket.socket, what: bytes) -> None:
    """Send, unless nobody listens any more."""
    try:
        line.sendall(what)
    except OSError:
        return


def become(what: dict, files: list[int]) -> None:
    """Be the process that was to be started; does not return."""
    if what["leads"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which this one may ignore
    for number in what["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 500) for file in files]
    for file in files:
        os.close(file)
    for number, file in zip(what["files"], aside, strict=True):
        os.dup2(file, number)
        os.close(file)
    of_hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    os.environ.clear()
    os.environ.update(what["environment"])
    if of_hub != {name: value for name, value in os.environ.items() if name.startswith("HF_")}:
        importlib.reload(importlib.import_module("huggingface_hub.constants"))
    os.chdir(what["folder"])
    os.umask(what["umask"])
    sys.argv, sys.path[:] = what["argv"], what["path"]
    importlib.invalidate_caches()
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    code = 0
    try:
        runpy.run_path(what["site"])
        if "module" in what:
            runpy.run_module(what["module"], run_name="__main__", alter_sys=True)
        elif "file" in what:
            runpy.run_path(what["file"], run_name="__main__")
        else:
            exec(compile(what["code"], "<string>", "exec"), vars(main))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        finish(code)


def finish(code: int) -> None:
    """End as Python does: what is registered with atexit runs, and what is written is written."""
    import atexit
    import threading

    for thread in threading.enumerate():
        # Snakemake's scheduler wakes itself a second after each job, and so even after the last.
        if isinstance(thread, threading.Timer):
            thread.cancel()
    threading._shutdown()  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255)


if __name__ == "__main__":
    serve(sys.argv[1])
