"""Types of settings: which values one accepts, their one canonical form, and how to say so.

A type is the metadata of an annotation, ``Annotated[int, Whole(1, 4096)]``. Snakemake compares
params as text, so 50, 50.0 and "50.0" would be three values; every type turns what it accepts into
one form. YAML 1.1 reads ``1e-4`` as text; numbers accept that too.
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
    """A value that a type does not accept; the message is the type's wording."""


@dataclass(frozen=True)
class Flag:
    """The original guide's switches: 0/1, or true/false."""

    wording: str = "0 or 1 (or false or true)"

    def parse(self, value: object) -> bool:
        if isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        raise InvalidValue(self.wording)

    def schema(self) -> dict[str, object]:
        return {"enum": [0, 1, False, True]}


@dataclass(frozen=True)
class Whole:
    """A whole number not below ``low`` and, if given, not above ``high``."""

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
    """A finite number between two bounds; ``above`` and ``below`` are themselves left out."""

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
        except OverflowError:  # a whole number of more than 308 digits
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
    """A fixed count of numbers of one kind, as a list (``betas``)."""

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
        if value is False and "off" in self.options:  # as YAML 1.1 reads it
            return "off"
        # True == 1 in Python, but `infer_function: true` is a slip of the pen.
        if isinstance(value, bool) or value not in self.options:
            raise InvalidValue(self.wording)
        return next(option for option in self.options if option == value)

    def schema(self) -> dict[str, object]:
        return {"enum": [*self.options, *([False] if "off" in self.options else [])]}


@dataclass(frozen=True)
class Text:
    """Words; ``pattern`` (with its own ``wording``) narrows them."""

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
    """A file or folder; ``~`` at its start is a home, which no shell has put in its place."""

    def parse(self, value: object) -> Path:
        path = Path(super().parse(str(value) if isinstance(value, Path) else value))
        with suppress(RuntimeError):  # there is no such home: a folder of that name
            path = Path(super().parse(str(path.expanduser())))
        return path


@dataclass(frozen=True)
class Either:
    """A word, or else a value of another kind (``threads: auto`` or 4)."""

    word: str
    other: Whole

    @property
    def wording(self) -> str:
        return f"{self.word} or {self.other.wording}"

    def parse(self, value: object) -> str | int:
        if value == self.word:
            return self.word
        if isinstance(value, str) and value.isdecimal():  # as a command gives it
            value = int(value)
        try:
            return self.other.parse(value)
        except InvalidValue:
            raise InvalidValue(self.wording) from None

    def schema(self) -> dict[str, object]:
        return {"anyOf": [{"const": self.word}, self.other.schema()]}


SettingType = Flag | Whole | Number | Numbers | Choice | Text | Either
"""Each has ``wording``, which completes "must be …"; ``parse``, which returns the canonical form of
a value or raises ``InvalidValue``; and ``schema``, the same rule as JSON schema."""


def shown(value: object, limit: int = 60) -> str:
    """A value as a user would write it, shortened: ``"fifty"``, ``null``, ``[1, 2]``."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = _text_of(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text_of(value: object) -> str:
    """What JSON cannot hold; of whole numbers of thousands of digits Python writes no decimals."""
    try:
        return str(value)
    except ValueError:
        return "a number of thousands of digits"
