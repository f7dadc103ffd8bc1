"""The app's side of the model's process: start it, give it tasks, start it again if it dies."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import editinfinity
from editinfinity.app.conversation import LOADED_PARTS, Cancelled, Task
from editinfinity.errors import UserError

log = logging.getLogger(__name__)

_CANCEL_TIMEOUT = 10.0
"""Seconds after which a process that does not react to a cancelled task is ended."""

_EXIT_TIMEOUT = 3.0
"""Seconds within which the process must exit when the app does."""

_KEYS = ("model", "model_dir", "device", "attention_bias", "threads", "text_encoder_dtype")
"""Settings of ``EditInfinityPipeline.from_pretrained``."""


class Model:
    """The process of the model. One thread runs tasks; the other methods may be called by any.

    Args:
        settings: all settings of the project.
        on_state: called with a state (``loading``, ``ready``, ``busy`` or ``failed``), a line, and
            the share of the parts that are loaded, in [0, 1]; None unless parts are being loaded.
    """

    def __init__(
        self, settings: Mapping[str, Any], on_state: Callable[[str, str, float | None], None]
    ) -> None:
        self._settings = {key: settings[key] for key in _KEYS}
        self._on_state = on_state
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock = threading.RLock()
        self._running = threading.Event()
        self._started = self._closed = False
        self._fault = ""

    def preload(self) -> None:
        """Start the process before the first task. Once it has ended, only a task starts it again.

        It ends if it cannot load the model, which would fail again until the user has acted, and
        where ``release`` frees its memory for something else.
        """
        with self._lock:
            if not self._started:
                self._start()

    def _start(self) -> None:
        """Start the process unless it is running; it loads the model meanwhile."""
        with self._lock:
            self._started = True
            if self._closed or (self._process is not None and self._process.poll() is None):
                return
            parent = str(Path(editinfinity.__path__[0]).parent)
            paths = [parent, *filter(None, [os.environ.get("PYTHONPATH")])]
            self._on_state("loading", f"loading the model {self._settings['model']}", None)
            self._answers, self._fault = queue.Queue(), ""
            self._process = subprocess.Popen(
                # -P: modules in the working folder must not shadow the standard library.
                [sys.executable, "-P", "-m", "editinfinity.app.model_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # Ctrl-C is for the app, which then closes stdin
            )
            self._send(self._settings)
            reader = threading.Thread(
                target=self._read, args=(self._process, self._answers), daemon=True
            )
            reader.start()

    def run(self, task: Task, on_progress: Callable[[dict[str, Any]], None]) -> list[str]:
        """Run a task and wait until it ends.

        Args:
            task: the task.
            on_progress: called with the content of each ``progress``.

        Returns:
            Lines to know about the result.

        Raises:
            UserError: the task failed, the model cannot be loaded, or its process died.
            Cancelled: the task was cancelled, or ended by ``close``.
        """
        self._start()
        with self._lock:
            answers = self._answers
            self._running.set()
            self._send({"task": asdict(task)})
        try:
            while (answer := answers.get()) is not None:
                match answer.pop("kind"):
                    case "progress":
                        on_progress(answer)
                    case "done":
                        return list(answer["lines"])
                    case "fault":
                        raise UserError(answer["line"])
                    case "cancelled":
                        raise Cancelled
            if self._closed:
                raise Cancelled
            raise UserError(self._fault)
        finally:
            self._running.clear()

    def cancel(self) -> None:
        """Ask the process to end its task; end the process if it does not."""
        with self._lock:
            process = self._process
            if process is None or not self._running.is_set():
                return
            self._send({"cancel": True})

        def end() -> None:
            if self._running.is_set() and self._process is process:
                process.kill()

        timer = threading.Timer(_CANCEL_TIMEOUT, end)
        timer.daemon = True
        timer.start()

    def release(self) -> None:
        """End the process to free its memory, unless it runs a task; the next task starts it."""
        with self._lock:
            if not self._running.is_set():
                self._end()

    def close(self) -> None:
        """End the process for good."""
        with self._lock:
            self._closed = True
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._process
        assert process is not None and process.stdin is not None
        with suppress(OSError):  # it is gone, which the reader reports
            process.stdin.write(json.dumps(message, default=str) + "\n")
            process.stdin.flush()

    def _read(
        self, process: subprocess.Popen[str], answers: queue.Queue[dict[str, Any] | None]
    ) -> None:
        """Pass the answers of a process on, until it ends."""
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            if answer["kind"] == "loading":
                part = answer["part"]
                line = f"loading the model {self._settings['model']}: {part}"
                self._on_state("loading", line, LOADED_PARTS.index(part) / len(LOADED_PARTS))
            elif answer["kind"] == "ready":
                loaded = f"{self._settings['model']} on {answer['device']}"
                self._on_state("ready", f"{loaded}, loaded in {answer['seconds']:.1f} s", None)
            elif answer["kind"] == "failed":
                self._fault = answer["line"]
            else:
                answers.put(answer)
        code = process.wait()
        if process is self._process and not self._closed:
            died = f"the model's process ended unexpectedly (exit status {code})"
            if code == -9:
                died = "the model's process was killed, perhaps for lack of memory"
            self._fault = f"{self._fault or died}; the next edit loads the model again"
            self._on_state("failed", self._fault, None)
        answers.put(None)
