"""What the app and the model's process say to each other, as JSON, one object a line.

The app's first line has the settings of the model; the others are ``{"task": {…}}`` with the fields
of :class:`Task`, and ``{"cancel": true}``. The process answers with ``loading`` before each of
``LOADED_PARTS``, and with ``ready`` or ``failed`` once; then for each task any number of
``progress`` and one of ``done``, ``fault`` and ``cancelled``.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

LOADED_PARTS = ("libraries", "transformer", "tokenizer", "text encoder")
"""What is loaded before the first task, in order."""


class Cancelled(BaseException):
    """Raised where a task stops because it was cancelled; no ``except Exception`` catches it."""


@dataclass(frozen=True)
class Task:
    """A try to draw or a mask to find; the paths are of files in the project folder.

    Attributes:
        photograph: the photograph.
        learned: folder of what was learned from the photograph earlier.
        output: the picture to write.
        source: description of the photograph.
        prompt: description of the edited picture.
        settings: all settings, in canonical form.
        mask: mask to edit under; None to edit the whole picture.
        view: the picture as it is seen on a screen, a small JPEG to write before ``output``.
        how: ``word``, or what is compared to find a mask; None to draw.
        word: the word to find.
    """

    photograph: str
    learned: str
    output: str
    source: str
    prompt: str
    settings: Mapping[str, Any]
    mask: str | None = None
    view: str | None = None
    how: str | None = None
    word: str = ""


class Conversation:
    """The connection to the app.

    Args:
        requests: stream of requests.
        answers: stream of answers.
    """

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests, self._answers = requests, answers
        self._tasks: queue.Queue[Task] = queue.Queue()
        self._cancelled = threading.Event()

    def first(self) -> dict[str, Any]:
        """Return the first request."""
        return json.loads(self._requests.readline() or "{}")

    def tasks(self) -> Iterator[Task]:
        """Yield tasks as they arrive, until the app is gone."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            task = self._tasks.get()
            self._cancelled.clear()
            yield task

    def _read(self) -> None:
        for line in self._requests:
            request = json.loads(line)
            if "task" in request:
                self._tasks.put(Task(**request["task"]))
            else:
                self._cancelled.set()
        os._exit(0)  # the app is gone; what is being computed is of no use

    def tell(self, kind: str, **content: Any) -> None:
        """Send an answer."""
        self._answers.write(json.dumps({"kind": kind, **content}) + "\n")
        self._answers.flush()

    def require_wanted(self) -> None:
        """Raise ``Cancelled`` if the running task was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled
