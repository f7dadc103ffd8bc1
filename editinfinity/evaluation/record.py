"""The metrics of one picture, as a JSON file and as table cells. Does not import torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.evaluation.names import NAMES
from editinfinity.files.atomic import write_json


@dataclass(frozen=True)
class MetricResults:
    """The metrics of one picture.

    Attributes:
        values: metric → value; nan if the region that it measures is empty.
        missing: metric → one line with the reason why there is no value; what to do may follow
            after a semicolon.
        picture: digest of the picture's file (``content_of``); "" if that was not recorded.
        drawn_with: identity of the settings that drew the picture, if the run records it, else "".
    """

    values: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    picture: str = ""
    drawn_with: str = ""

    def number(self, name: str) -> float | None:
        """Return a metric's value if it is finite, else None."""
        value = self.values.get(name)
        return value if value is not None and math.isfinite(value) else None

    def cell(self, name: str) -> str:
        """Return the text of a table cell: value, ``nan``, or the reason up to the semicolon."""
        value = self.values.get(name)
        if value is not None:
            return "nan" if math.isnan(value) else f"{value:.6g}"
        return self.missing.get(name, "not measured").partition(";")[0]

    def is_of(self, picture: Path) -> bool:
        """Whether the results are of the file's present content. True if no digest was recorded."""
        return not self.picture or self.picture == content_of(picture)

    def save(self, path: Path) -> None:
        """Write the file.

        JSON has no nan: it is written as null, and ``missing`` gets a line that begins with "nan".
        """
        known = {name: self.values.get(name, math.nan) for name in NAMES}
        empty = {
            name: "nan: the region it is about is empty"
            for name, value in self.values.items()
            if math.isnan(value)
        }
        values = {name: None if math.isnan(value) else value for name, value in known.items()}
        of = {"picture": self.picture, "drawn_with": self.drawn_with}
        of = {key: value for key, value in of.items() if value}
        write_json(path, {"values": values, "missing": {**self.missing, **empty}, **of})

    @classmethod
    def load(cls, path: Path) -> MetricResults:
        """Read the file.

        Raises:
            UserError: if the file is missing or invalid.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            given = {name: found["values"].get(name) for name in NAMES}
            said = {str(name): str(line) for name, line in found["missing"].items()}
            values = {name: float(value) for name, value in given.items() if value is not None}
            of = (str(found.get("picture", "")), str(found.get("drawn_with", "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: holds no metrics; delete it and run again") from None
        for name in [name for name, line in said.items() if line.startswith("nan")]:
            values[name] = math.nan
            del said[name]
        return cls(values, said, *of)


def content_of(picture: Path) -> str:
    """Return a digest of a picture's file; "" if it cannot be read."""
    try:
        with picture.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError:
        return ""
