"""Params of the rules as texts that include their names: ``lora_dropout=0.3``.

Snakemake decides from the params of a job whether to rerun it, and compares them as a set of values
without names (``persistence.params_changed``, 9.27). Without the name, 0.3 could be mistaken for
the 0.3 of another param, and two values that are swapped would not count as a change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from editinfinity.settings.setting import Setting
from editinfinity.settings.types import Numbers

Scalar = str | int | float | bool | None

_PARAM_NAMES = {
    "embedding_learning_rate": "learning_rate",
    "lora_learning_rate": "learning_rate",
    "betas": "beta",
}
"""Setting → name of its param, if they differ. These param names must not change, since that would
rerun all jobs."""


def params_of(setting: Setting) -> list[str]:
    """Return the param names of a setting: one, or one for each element of a list of numbers."""
    name = _PARAM_NAMES.get(setting.key, setting.key)
    if not isinstance(setting.type, Numbers):
        return [name]
    return [f"{name}_{number}" for number in range(1, setting.type.count + 1)]


def named(**values: Any) -> dict[str, Callable[[Any], str]]:
    """Return the params of a rule, for ``params: **named(...)``.

    Args:
        values: name → a scalar, or a function of the wildcards that returns one.

    Returns:
        Name → function of the wildcards that returns ``NAME=VALUE``.
    """
    return {name: _text_of(name, value) for name, value in values.items()}


def values_of(texts: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, Scalar]:
    """Return name → value, parsed from the param texts of a job."""
    return {name: _decode(text.removeprefix(f"{name}=")) for name, text in dict(texts).items()}


def _text_of(name: str, value: Any) -> Callable[[Any], str]:
    def text(wildcards: Any) -> str:
        return f"{name}={_encode(value(wildcards) if callable(value) else value)}"

    return text


def _encode(value: Scalar) -> str:
    """Encode a scalar as JSON; text is left unquoted if it cannot be mistaken for another value.

    Raises:
        TypeError: the value is not a scalar. With a list or mapping, a change of one element would
            rerun jobs that depend only on another element.
    """
    if value is not None and not isinstance(value, str | int | float | bool):
        raise TypeError(f"a param is one scalar, not {type(value).__name__}")
    if isinstance(value, str) and _decode(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _decode(text: str) -> Scalar:
    try:
        return json.loads(text)
    except ValueError:
        return text
