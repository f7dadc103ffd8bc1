"""Types of settings: the values that each accepts, their canonical form, and a description.

A type is the metadata of an annotation, ``Annotated[int, Whole(1, 4096)]``. Snakemake compares
params as text, so 50, 50.0 and "50.0" would be three values. Every type therefore converts the
values that it accepts to one canonical form. YAML 1.1 parses ``1e-4`` as text; ``Number`` accepts
that too.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class InvalidValue(ValueError):
    """A value that a type does not accept; the message describes the accepted values."""


@dataclass(frozen=True)
class Flag:
    """A switch, as in the original guide: 0/1, or true/false."""

    wording: str = "0 or 1 (or false or true)"

    def parse(self, value: object) -> bool:
        if isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        raise InvalidValue(self.wording)

    def schema(self) -> dict[str, object]:
        return {"enum": [0, 1, False, True]}


@dataclass(frozen=True)
class Whole:
    """A whole number that is at least ``low`` and, unless it is None, at most ``high``."""

    low: int = 0
    high: int | None = None

    @property
    def wording(self) -> str:
        if self.high is None:
            return f"a whole number ≥ {self.low}"
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise InvalidValue(self.wording)
        number = int(value)
        if number < self.low or (self.high is not None and number > self.high):
            raise InvalidValue(self.wording)
        return number

    def schema(self) -> dict[str, object]:
        bounds = {"minimum": self.low} | ({} if self.high is None else {"maximum": self.high})
        return {"type": "integer", **bounds}


@dataclass(frozen=True)
class Number:
    """A finite number within bounds; ``low`` and ``high`` are inclusive, the others exclusive."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def wording(self) -> str:
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in (
                ("≥", self.low),
                (">", self.above),
                ("≤", self.high),
                ("<", self.below),
            )
            if bound is not None
        ]
        return " ".join(["a number", " and ".join(bounds)]).strip()

    def parse(self, value: object) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InvalidValue(self.wording)
        try:
            number = float(value)
        except OverflowError:  # an int of more than 308 digits
            raise InvalidValue(self.wording) from None
        fits = (
            math.isfinite(number)
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.high is None or number <= self.high)
            and (self.below is None or number < self.below)
        )
        if not fits:
            raise InvalidValue(self.wording)
        return number

    def schema(self) -> dict[str, object]:
        keys = {
            "minimum": self.low,
            "exclusiveMinimum": self.above,
            "maximum": self.high,
            "exclusiveMaximum": self.below,
        }
        return {"type": "number", **{key: b for key, b in keys.items() if b is not None}}


@dataclass(frozen=True)
class Numbers:
    """A list of ``count`` numbers, each valid for ``item`` (``betas``)."""

    item: Number
    count: int

    @property
    def wording(self) -> str:
        return f"a list of {self.count} numbers, each {self.item.wording.removeprefix('a number ')}"

    def parse(self, value: object) -> tuple[float, ...]:
        if not isinstance(value, list | tuple) or len(value) != self.count:
            raise InvalidValue(self.wording)
        try:
            return tuple(self.item.parse(element) for element in value)
        except InvalidValue:
            raise InvalidValue(self.wording) from None

    def schema(self) -> dict[str, object]:
        return {
            "type": "array",
            "items": self.item.schema(),
            "minItems": self.count,
            "maxItems": self.count,
        }


@dataclass(frozen=True)
class Choice:
    """One of a few words or numbers."""

    options: tuple[str | int, ...]

    @property
    def wording(self) -> str:
        return f"one of {', '.join(map(str, self.options))}"

    def parse(self, value: object) -> str | int:
        if value is False and "off" in self.options:  # YAML 1.1 parses off as false
            return "off"
        # True == 1 in Python, but `infer_function: true` is a mistake.
        if isinstance(value, bool) or value not in self.options:
            raise InvalidValue(self.wording)
        return next(option for option in self.options if option == value)

    def schema(self) -> dict[str, object]:
        return {"enum": [*self.options, *([False] if "off" in self.options else [])]}


@dataclass(frozen=True)
class Text:
    """Text that matches ``pattern``; a narrower pattern needs its own ``wording``."""

    wording: str = "text"
    pattern: str = r"[^\x00-\x1f\x7f]+"

    def parse(self, value: object) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise InvalidValue(self.wording)
        return value

    def schema(self) -> dict[str, object]:
        return {"type": "string"}


@dataclass(frozen=True)
class FilePath(Text):
    """Path of a file or folder; a leading ``~`` is expanded, as no shell has done so."""

    def parse(self, value: object) -> Path:
        path = Path(super().parse(str(value) if isinstance(value, Path) else value))
        with suppress(RuntimeError):  # no such home: a folder named ~…
            path = Path(super().parse(str(path.expanduser())))
        return path


@dataclass(frozen=True)
class Either:
    """A fixed word, or a whole number (``threads: auto`` or 4)."""

    word: str
    other: Whole

    @property
    def wording(self) -> str:
        return f"{self.word} or {self.other.wording}"

    def parse(self, value: object) -> str | int:
        if value == self.word:
            return self.word
        if isinstance(value, str) and value.isdecimal():  # from a command line
            value = int(value)
        try:
            return self.other.parse(value)
        except InvalidValue:
            raise InvalidValue(self.wording) from None

    def schema(self) -> dict[str, object]:
        return {"anyOf": [{"const": self.word}, self.other.schema()]}


SettingType = Flag | Whole | Number | Numbers | Choice | Text | Either
"""Each type has ``wording``, which completes "must be …"; ``parse``, which returns the canonical
form of a value or raises ``InvalidValue``; and ``schema``, the same constraint as JSON schema."""


def format_value(value: object, limit: int = 60) -> str:
    """Return a value as a user would write it, shortened: ``"fifty"``, ``null``, ``[1, 2]``."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = _as_text(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _as_text(value: object) -> str:
    """Convert a value that JSON cannot represent to text.

    Python refuses to convert whole numbers of thousands of digits to decimal text.
    """
    try:
        return str(value)
    except ValueError:
        return "a number of thousands of digits"
