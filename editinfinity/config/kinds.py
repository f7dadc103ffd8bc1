"""Kinds of configuration values: what is accepted, its one canonical form, and how to say so.

Snakemake compares params as text, so 50, 50.0 and "50.0" would be three values; every kind folds
what it accepts into one form. YAML 1.1 reads ``1e-4`` as text; numbers accept that too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Unfit(ValueError):
    """The value is not of the kind; the message is the kind's wording."""


class Kind(Protocol):
    """What a setting accepts."""

    @property
    def wording(self) -> str:
        """Completes "must be …"."""

    def parse(self, value: object) -> object:
        """The canonical form of ``value``; raises ``Unfit``."""

    def schema(self) -> dict[str, object]:
        """The same rule as JSON schema, for editors."""


@dataclass(frozen=True)
class Flag:
    """The original guide's switches: 0/1, or true/false."""

    wording: str = "0 or 1 (or false or true)"

    def parse(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        raise Unfit(self.wording)

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
        if isinstance(value, bool) or not isinstance(value, int) or value < self.low:
            raise Unfit(self.wording)
        if self.high is not None and value > self.high:
            raise Unfit(self.wording)
        return value

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
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unfit(self.wording)
        try:
            number = float(value)
        except OverflowError:  # a whole number of more than 308 digits
            raise Unfit(self.wording) from None
        fits = (
            math.isfinite(number)
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.high is None or number <= self.high)
            and (self.below is None or number < self.below)
        )
        if not fits:
            raise Unfit(self.wording)
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
            raise Unfit(self.wording)
        try:
            return tuple(self.item.parse(element) for element in value)
        except Unfit:
            raise Unfit(self.wording) from None

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
        # True == 1 in Python, but `infer_function: true` is a slip of the pen.
        if isinstance(value, bool) or value not in self.options:
            raise Unfit(self.wording)
        return next(option for option in self.options if option == value)

    def schema(self) -> dict[str, object]:
        return {"enum": list(self.options)}


@dataclass(frozen=True)
class AutoOrOff:
    """``auto`` or ``off``, which YAML 1.1 reads as false."""

    wording: str = "auto or off"

    def parse(self, value: object) -> str:
        if value is False:
            return "off"
        if value not in ("auto", "off"):
            raise Unfit(self.wording)
        return str(value)

    def schema(self) -> dict[str, object]:
        return {"enum": ["auto", "off", False]}


@dataclass(frozen=True)
class Text:
    """Words; ``pattern`` (with its own ``wording``) narrows them."""

    wording: str = "text"
    pattern: str = r"[^\x00-\x1f\x7f]+"

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise Unfit(self.wording)
        return value

    def schema(self) -> dict[str, object]:
        return {"type": "string"}


@dataclass(frozen=True)
class FilePath(Text):
    """A file or folder; ``~`` at its start is a home, which no shell has put in its place."""

    def parse(self, value: object) -> str:
        text = super().parse(value)
        if not text.startswith("~"):
            return text
        try:
            return super().parse(str(Path(text).expanduser()))
        except RuntimeError:  # no user's home, so a folder of that name
            return text


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
        try:
            return self.other.parse(value)
        except Unfit:
            raise Unfit(self.wording) from None

    def schema(self) -> dict[str, object]:
        return {"anyOf": [{"const": self.word}, self.other.schema()]}


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


def unique(values: Sequence[object]) -> tuple[object, ...]:
    """The values in order, each once."""
    return tuple(dict.fromkeys(values))
