"""Tries of an edit: a picture with the prompts, settings and mask that it was made with."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editinfinity.files.atomic import write_json

QUEUED, LEARNING, DRAWING, SAVING = "queued", "learning", "drawing", "saving"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
"""States of a try in which nothing more happens to it."""


@dataclass
class Try:
    """A try; its files are beside each other in the folder of its photograph.

    Attributes:
        folder: the folder.
        number: number of the try, from 1.
        prompt, source: the prompts that it was made with.
        settings: settings that differ from the project's.
        state: ``queued``, ``learning``, ``drawing``, ``saving``, ``done``, ``failed`` or
            ``cancelled``. There is the view while it is ``saving`` and when it is ``done``.
        seconds: how long it took; None until it is done.
        line: why it failed, or what to know about it; may be empty.
    """

    folder: Path
    number: int
    prompt: str
    source: str
    settings: dict[str, Any] = field(default_factory=dict)
    state: str = QUEUED
    seconds: float | None = None
    line: str = ""

    @property
    def picture_path(self) -> Path:
        """The edited picture, a PNG with its settings and the photograph's metadata."""
        return self.folder / f"try-{self.number:04}.png"

    @property
    def view_path(self) -> Path:
        """The edited picture as it is seen on a screen, a small JPEG that is written first."""
        return self.folder / f"try-{self.number:04}-view.jpg"

    @property
    def mask_path(self) -> Path:
        """The mask that it was made with, black where it is edited; missing if it had none."""
        return self.folder / f"try-{self.number:04}-mask.png"

    def delete_view(self) -> None:
        """Delete the view of a try that has no picture; if that fails, it stays, of no use."""
        with suppress(OSError):
            self.view_path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the try's JSON file.

        Raises:
            UserError: the disk is full.
        """
        write_json(self.folder / f"try-{self.number:04}.json", self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the try as the page reads it."""
        return {
            "n": self.number,
            "state": self.state,
            "prompt": self.prompt,
            "source": self.source,
            "settings": self.settings,
            "mask": self.mask_path.exists(),
            "seconds": self.seconds,
            "line": self.line,
        }


def read_tries(folder: Path) -> dict[int, Try]:
    """Return the tries in a folder by their numbers.

    Tries that had not ended when the app did are cancelled; damaged files are left out.
    """
    tries = {}
    for path in sorted(folder.glob("try-*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(path.read_bytes())
            made = Try(
                folder,
                int(content["n"]),
                str(content["prompt"]),
                str(content["source"]),
                dict(content["settings"]),
                str(content["state"]),
                content["seconds"],
                str(content["line"]),
            )
            json.dumps(content, ensure_ascii=False, allow_nan=False).encode()  # or not to be sent
            if made.state not in ENDED:
                made.state, made.line = CANCELLED, "the app was closed before it was drawn"
                made.delete_view()
            elif made.state == DONE and not made.picture_path.is_file():
                made.delete_view()
                continue
            tries[made.number] = made
    return tries
