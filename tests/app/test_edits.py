"""The queue of edits, with a model that draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from editinfinity.app.conversation import Task
from editinfinity.app.edits import Edits
from editinfinity.app.events import Events
from editinfinity.app.project import Photograph, Project
from editinfinity.app.tries import Try
from editinfinity.errors import UserError
from tests.waiting import eventually


class Queue:
    """The edits of one photograph; what ``work`` does is done for each."""

    def __init__(self, folder: Path) -> None:
        Image.new("RGB", (32, 24), "tan").save(folder / "photo.png")
        self.project = Project(folder / "project", {"model": "tiny"})
        self.photograph: Photograph = self.project.add_file(folder / "photo.png")
        self.project.set_texts(self.photograph, "a tree", "a house", {})
        self.edits = Edits(self.project, Events())

    def drawn(self, work: Callable[[Task], None]) -> Try:
        """Return a try when it has ended."""

        def run(task: Task, on_progress: Callable[[dict[str, Any]], None]) -> list[str]:
            on_progress({"stage": "saving"})
            work(task)
            return []

        self.edits.model.run = run  # type: ignore[method-assign]
        made = self.edits.draw(self.photograph, {})
        assert eventually(lambda: not self.edits._jobs, 10), "the queue stands still"
        return made


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    yield queue
    queue.edits.close()
    assert queue.project._open is not None
    queue.project._open.release()


def test_a_try_that_cannot_be_saved_leaves_no_view(queue: Queue) -> None:
    def fill_disk(task: Task) -> None:
        Path(str(task.view)).write_bytes(b"a JPEG")
        raise UserError("the disk is full")

    made = queue.drawn(fill_disk)
    assert (made.state, made.line) == ("failed", "the disk is full")
    assert not made.view_path.exists()


def test_a_view_that_cannot_be_deleted_does_not_stop_the_queue(queue: Queue) -> None:
    def fail(task: Task) -> None:
        Path(str(task.view)).mkdir()  # as it cannot be deleted, even by root
        raise UserError("the disk is read-only")

    assert queue.drawn(fail).line == "the disk is read-only"
    assert queue.drawn(lambda _: None).state == "done"
