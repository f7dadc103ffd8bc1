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
        missing: metric → reason why there is no value, in one line; what to do may follow
            after a semicolon.
        picture: digest of the picture's file (``picture_digest``); "" if that was not recorded.
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

    def describes(self, picture: Path) -> bool:
        """Whether the results describe the picture's present content; True without a digest."""
        return not self.picture or self.picture == picture_digest(picture)

    def save(self, path: Path) -> None:
        """Write the file.

        JSON has no nan: it is written as null, and ``missing`` gets a line that begins with "nan".
        """
        known = {name: self.values.get(name, math.nan) for name in NAMES}
        empty = {
            name: "nan: the region that it measures is empty"
            for name, value in self.values.items()
            if math.isnan(value)
        }
        values = {name: None if math.isnan(value) else value for name, value in known.items()}
        identity = {"picture": self.picture, "drawn_with": self.drawn_with}
        identity = {key: value for key, value in identity.items() if value}
        write_json(path, {"values": values, "missing": {**self.missing, **empty}, **identity})

    @classmethod
    def load(cls, path: Path) -> MetricResults:
        """Read the file.

        Raises:
            UserError: if the file is missing or invalid.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            stored = {name: found["values"].get(name) for name in NAMES}
            missing = {str(name): str(line) for name, line in found["missing"].items()}
            values = {name: float(value) for name, value in stored.items() if value is not None}
            identity = (str(found.get("picture", "")), str(found.get("drawn_with", "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: is not a metrics file; delete it and run again") from None
        for name in [name for name, line in missing.items() if line.startswith("nan")]:
            values[name] = math.nan
            del missing[name]
        return cls(values, missing, *identity)


def picture_digest(picture: Path) -> str:
    """Return a digest of a picture's file; "" if it cannot be read."""
    try:
        with picture.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError:
        return ""
