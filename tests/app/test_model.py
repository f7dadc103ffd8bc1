"""When the process of the page's model is started, with a process that loads nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from editinfinity.app import model as model_module
from editinfinity.app.conversation import Cancelled, Task
from editinfinity.app.model import Model
from editinfinity.errors import UserError
from tests.waiting import eventually

SETTINGS = dict.fromkeys(
    ("model_dir", "device", "attention_bias", "threads", "text_encoder_dtype"), None
)
TASK = Task("photo.png", "learned", "try.png", "a cat", "a dog", {})
NO_WEIGHTS = """print('{"kind": "failed", "line": "weights: do not exist; fetch them"}')"""
LOADED = """
import sys
print('{"kind": "ready", "device": "cuda:0", "seconds": 1}', flush=True)
for line in sys.stdin:
    if "task" in line:
        print('{"kind": "done", "lines": []}', flush=True)
"""


class Started:
    """A model whose process is a script, and the states it was in."""

    def __init__(self, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: list[tuple[str, str]] = []
        self.model = Model(
            {"model": "tiny", **SETTINGS}, lambda state, line, _: self.states.append((state, line))
        )
        popen = subprocess.Popen

        def start(command: list[str], **options: Any) -> subprocess.Popen[str]:
            assert command[-1] == "editinfinity.app.model_process"
            return popen([sys.executable, "-c", script], **options)

        monkeypatch.setattr(model_module.subprocess, "Popen", start)

    @property
    def times(self) -> int:
        return sum(state == "loading" for state, _ in self.states)

    def is_in(self, state: str) -> Callable[[], bool]:
        return lambda: bool(self.states) and self.states[-1][0] == state


def test_a_model_that_cannot_be_loaded_is_tried_again_for_a_task_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = Started(NO_WEIGHTS, monkeypatch)
    started.model.preload()
    assert eventually(started.is_in("failed"))
    line = "weights: do not exist; fetch them; the next edit loads the model again"
    assert started.states[-1][1] == line
    for _ in range(3):
        started.model.preload()
    assert started.times == 1 and started.is_in("failed")()
    with pytest.raises(UserError, match="^weights: do not exist"):
        started.model.run(TASK, lambda _: None)
    assert started.times == 2


def test_a_model_that_made_room_is_loaded_again_for_a_task_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = Started(LOADED, monkeypatch)
    started.model.preload()
    assert eventually(started.is_in("ready"))
    started.model.release()
    started.model.preload()
    assert started.times == 1
    assert started.model.run(TASK, lambda _: None) == []
    assert started.times == 2
    started.model.close()


def test_a_task_that_the_end_of_the_app_ends_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begins = LOADED.replace('"done", "lines": []', '"progress"')
    model = Started(begins, monkeypatch).model
    with pytest.raises(Cancelled):
        model.run(TASK, lambda _: threading.Thread(target=model.close).start())
