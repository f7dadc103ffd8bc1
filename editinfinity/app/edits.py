"""Draws tries and finds masks, one after the other, in the model's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editinfinity.app.events import Events
from editinfinity.app.project import Photograph, Project
from editinfinity.app.tries import Try
from editinfinity.errors import UserError


class Edits:
    def __init__(self, project: Project, events: Events) -> None:
        self.project, self.events = project, events

    def model_state(self) -> dict[str, Any]:
        return {"state": "loading", "line": ""}

    def has_learned(self, photograph: Photograph) -> bool:
        return False

    def found_path(self, photograph: Photograph) -> Path:
        return self.project.page_folder(photograph) / "found.png"

    def find_mask(self, photograph: Photograph, how: str, word: str) -> int:
        raise UserError("not yet")

    def draw(self, photograph: Photograph, settings: dict[str, Any]) -> Try:
        raise UserError("not yet")

    def cancel(self) -> None:
        pass
