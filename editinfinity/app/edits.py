"""Draws tries and finds masks, one after the other, in the model's process."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editinfinity.app.conversation import Cancelled, Task
from editinfinity.app.events import Events
from editinfinity.app.model import Model
from editinfinity.app.project import Photograph, Project
from editinfinity.app.tries import CANCELLED, DONE, DRAWING, FAILED, LEARNING, SAVING, Try
from editinfinity.config.load import load_config
from editinfinity.errors import UserError
from editinfinity.method.prompt_changes import require_comparable
from editinfinity.prompts import find_word
from editinfinity.settings.groups import FOUND, NEED_SOURCE_PROMPT

log = logging.getLogger(__name__)

_STATES = {
    "learning": LEARNING,
    "words": LEARNING,
    "style": LEARNING,
    "drawing": DRAWING,
    "saving": SAVING,
}
"""Stage that the model's process tells → state of the try."""


@dataclass
class _Job:
    """A task that waits or runs.

    Attributes:
        number: number of the job, from 1.
        photograph: the photograph.
        task: what the model's process is told.
        made: the try; None to find a mask.
        cancelled: whether it was cancelled before it began.
    """

    number: int
    photograph: Photograph
    task: Task
    made: Try | None
    cancelled: bool = False


class Edits:
    """Queues the tasks of all pages and runs them in a thread.

    Args:
        project: the project folder.
        events: told to all open pages.
    """

    def __init__(self, project: Project, events: Events) -> None:
        self.project, self.events = project, events
        self._state, self._line = "loading", ""
        self._loaded: float | None = None
        self._numbers = itertools.count(1)
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._jobs: list[_Job] = []
        self._lock = threading.Lock()
        self.model = Model(self._settings({}), self._on_model_state)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def model_state(self) -> dict[str, Any]:
        """Return the state of the model as the page reads it."""
        busy = self._state == "ready" and bool(self._jobs)
        state = "busy" if busy else self._state
        return {"state": state, "line": self._line, "loaded": self._loaded}

    def has_learned(self, photograph: Photograph) -> bool:
        """Whether anything was learned from a photograph."""
        return any(self._learned(photograph).glob("[!.]*"))

    def found_path(self, photograph: Photograph) -> Path:
        """Return the path of the mask that was found last, white where edited."""
        return self.project.page_folder(photograph) / "found.png"

    def draw(self, photograph: Photograph, settings: Mapping[str, Any]) -> Try:
        """Queue a try of the prompts and mask that a photograph has now.

        Raises:
            UserError: there is no prompt, or the method needs a source prompt.
        """
        if not photograph.prompt.strip():
            raise UserError("write what the edited picture shows, then draw")
        chosen = self._settings({**photograph.settings, **settings})
        if chosen["method"] in NEED_SOURCE_PROMPT and not photograph.source.strip():
            raise UserError(f"{chosen['method']}: write what the photograph shows, then draw")
        made = self.project.new_try(photograph, settings)
        mask = made.mask_path if made.mask_path.exists() else None
        task = self._task(
            photograph, made.picture_path, chosen, mask=mask and str(mask), view=str(made.view_path)
        )
        self._put(_Job(next(self._numbers), photograph, task, made))
        return made

    def find_mask(self, photograph: Photograph, how: str, word: str) -> int:
        """Queue a search for the mask of a word, or of what differs between the prompts.

        Returns:
            Number of the task.

        Raises:
            UserError: the word is not in the source prompt, or the prompts cannot be compared.
        """
        if how == "word":
            find_word(photograph.source, word.strip(), "word")
        elif how in FOUND:
            require_comparable(photograph.source, photograph.prompt, "the place")
        else:
            raise UserError(f"how: {how!r} is not one of word, {', '.join(FOUND)}")
        settings = self._settings(photograph.settings)
        output = self.found_path(photograph)
        task = self._task(photograph, output, settings, how=how, word=word.strip())
        job = _Job(next(self._numbers), photograph, task, None)
        self._put(job)
        return job.number

    def cancel(self, photograph: str | None = None, number: int | None = None) -> None:
        """Cancel what waits or runs.

        Args:
            photograph: id of the photograph whose task is cancelled; None for everything.
            number: number of the try; None for the search for a mask.
        """
        with self._lock:
            jobs = list(self._jobs)
        for position, job in enumerate(jobs):
            of_job = job.photograph.id, None if job.made is None else job.made.number
            if photograph is None or of_job == (photograph, number):
                job.cancelled = True
                if position == 0:
                    self.model.cancel()

    def make_room(self) -> None:
        """Free the GPU, if the model is on one and idle; the next task loads it again."""
        if "cuda" in self._line and not self._jobs:
            self.model.release()
            self._on_model_state("ready", "the model is loaded again for the next edit", None)

    def close(self) -> None:
        """End the model's process."""
        self._queue.put(None)
        self.model.close()

    def _settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        merged: dict[Any, Any] = {**self.project.base, **settings}
        return dict(load_config(merged, source="settings").settings)

    def _learned(self, photograph: Photograph) -> Path:
        return self.project.page_folder(photograph) / "learned"

    def _task(
        self, photograph: Photograph, output: Path, settings: Mapping[str, Any], **other: Any
    ) -> Task:
        path, learned = str(photograph.path), str(self._learned(photograph))
        source, prompt = photograph.source, photograph.prompt
        return Task(path, learned, str(output), source, prompt, settings, **other)

    def _put(self, job: _Job) -> None:
        with self._lock:
            self._jobs.append(job)
        self._tell(job)
        self._queue.put(job)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._run(job)
            except Exception as error:  # the queue must go on
                log.exception("an edit failed")
                with suppress(UserError):
                    self._end(job, FAILED, f"this edit failed unexpectedly ({error})")
            finally:
                with self._lock:
                    self._jobs.remove(job)
                self.events.publish("model", **self.model_state())

    def _run(self, job: _Job) -> None:
        start = time.monotonic()
        self.events.publish("model", **self.model_state())
        try:
            if job.cancelled:
                raise Cancelled
            lines = self.model.run(job.task, lambda progress: self._on_progress(job, progress))
            if job.cancelled:
                raise Cancelled
        except Cancelled:
            Path(job.task.output).unlink(missing_ok=True)
            self._end(job, CANCELLED, "cancelled")
        except UserError as error:
            cancelled = job.cancelled  # its process was ended, as it did not react
            self._end(job, CANCELLED if cancelled else FAILED, str(error))
        else:
            self._end(job, DONE, "; ".join(lines), time.monotonic() - start)

    def _on_progress(self, job: _Job, progress: Mapping[str, Any]) -> None:
        state = _STATES.get(progress["stage"])
        if job.made is not None and state is not None and job.made.state != state:
            job.made.state = state
            self._tell(job)
        if job.cancelled:  # just before the process had the task
            self.model.cancel()
        number = None if job.made is None else job.made.number
        self.events.publish("progress", photograph=job.photograph.id, **{"try": number}, **progress)

    def _end(self, job: _Job, state: str, line: str, seconds: float | None = None) -> None:
        if job.made is not None:
            job.made.state, job.made.line, job.made.seconds = state, line, seconds
            if state != DONE:
                job.made.delete_view()
            try:
                job.made.write()
            except UserError as error:  # a full disk: the page knows it all the same
                job.made.line = job.made.line or str(error)
        self._tell(job, state, line)

    def _tell(self, job: _Job, state: str = "queued", line: str = "") -> None:
        id_ = job.photograph.id
        if job.made is not None:
            self.events.publish("try", photograph=id_, **{"try": job.made.as_json()})
        else:
            self.events.publish("mask", photograph=id_, task=job.number, state=state, line=line)

    def _on_model_state(self, state: str, line: str, loaded: float | None) -> None:
        self._state, self._line, self._loaded = state, line, loaded
        self.events.publish("model", **self.model_state())
