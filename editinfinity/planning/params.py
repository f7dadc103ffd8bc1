"""Params of the rules as texts that carry their names: ``lora_dropout=0.3``.

Snakemake decides from the params of a job whether to run it again, and compares them as a set of
values without names (``persistence.params_changed``, 9.27). A bare 0.3 would pass for the 0.3 of
another param, and two values that trade places for no change at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from editinfinity.settings.setting import Setting
from editinfinity.settings.types import Numbers

Scalar = str | int | float | bool | None

_RECORDED_AS = {
    "embedding_learning_rate": "learning_rate",
    "lora_learning_rate": "learning_rate",
    "betas": "beta",
}
"""Setting → the name of its param where that is another: a name that changed would make all results
again."""


def params_of(setting: Setting) -> list[str]:
    """Names of the params of a setting: one, or one for each of several numbers."""
    name = _RECORDED_AS.get(setting.key, setting.key)
    if not isinstance(setting.type, Numbers):
        return [name]
    return [f"{name}_{number}" for number in range(1, setting.type.count + 1)]


def named(**values: Any) -> dict[str, Callable[[Any], str]]:
    """The params of a rule, for ``params: **named(...)``.

    Args:
        values: name → a scalar, or a function of the wildcards that returns one.

    Returns:
        Name → function of the wildcards that returns ``NAME=VALUE``.
    """
    return {name: _text_of(name, value) for name, value in values.items()}


def values_of(texts: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, Scalar]:
    """The values behind the texts that a job was given, by name."""
    return {name: _decode(text.removeprefix(f"{name}=")) for name, text in dict(texts).items()}


def _text_of(name: str, value: Any) -> Callable[[Any], str]:
    def text(wildcards: Any) -> str:
        return f"{name}={_encode(value(wildcards) if callable(value) else value)}"

    return text


def _encode(value: Scalar) -> str:
    """JSON, but for words, which stand without quotes where they cannot be taken for anything else.

    Raises:
        TypeError: it is no scalar. One value of a list or mapping must not rerun what only
            another one matters to.
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
