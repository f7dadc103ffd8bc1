"""Runs the workflow for the cases of the page."""

from __future__ import annotations

from typing import Any

from editinfinity.app.events import Events
from editinfinity.app.project import Project
from editinfinity.errors import UserError


class WorkflowRun:
    def __init__(self, project: Project, events: Events) -> None:
        self.project, self.events = project, events

    def state(self) -> dict[str, Any]:
        return {"state": "idle", "done": 0, "of": 0, "failed": [], "report": False}

    def start(self) -> None:
        raise UserError("not yet")

    def cancel(self) -> None:
        pass
