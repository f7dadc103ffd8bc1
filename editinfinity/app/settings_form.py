"""The settings that the page offers: labels and help, with bounds from their declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editinfinity.config.load import load_config
from editinfinity.errors import UserError
from editinfinity.settings.groups import SETTINGS
from editinfinity.settings.types import Choice, Number, SettingType, Whole

_TEXTS = {
    "seed": ("Seed", "Another seed draws another picture."),
    "cfg": ("Strength of the prompt", "Higher follows the words more closely."),
    "method": ("Method", "Only inversion learns the photograph; the others take seconds."),
    "train_lora_iter": ("Learning iterations", "More keep more of the photograph."),
    "mask_grow": ("Grow the mask", "Pixels of the photograph to add around it."),
    "smoothing": ("Mask edge", "How the edit fades around the mask."),
    "lock_scales": ("Keep the layout", "First scales to copy; 3 for a very large mask."),
    "background": ("Background", "detail and exact keep the photograph's own pixels."),
}
"""Setting on the page → (label, help), in their order; docs/settings.md has the details."""

_RANGES = {"cfg": (0, 12, 0.5), "train_lora_iter": (0, 300, 10), "mask_grow": (0, 200, 1)}
"""Setting → (lowest, highest, step) of its control; every valid value can be typed."""


def form(base: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return the settings that the page shows, with the values that ``base`` gives them."""
    config = load_config(base, source="settings").settings
    return [
        {
            "name": key,
            "label": label,
            "help": help_,
            "value": _one(config[key], key),
            **_control(key, SETTINGS[key].type),
        }
        for key, (label, help_) in _TEXTS.items()
    ]


def checked(settings: Any, base: Mapping[Any, Any]) -> dict[str, Any]:
    """Check settings that the page sends.

    Returns:
        Those that differ from ``base``, in canonical form.

    Raises:
        UserError: a setting is unknown or its value invalid.
    """
    if not isinstance(settings, dict):
        raise UserError("settings: must be an object of names and values")
    for key in settings:
        if key not in _TEXTS:
            raise UserError(f"{key}: is not a setting of the page")
    before = load_config(base, source="settings").settings
    merged: dict[Any, Any] = {**base, **settings}
    after = load_config(merged, source="settings").settings
    return {
        key: _one(after[key], key)
        for key in _TEXTS
        if key in settings and after[key] != before[key]
    }


def _one(value: Any, key: str) -> Any:
    """Return the single value of a setting; for null, the one that it stands for."""
    if isinstance(value, tuple):
        value = value[0]
    return SETTINGS[key].default_with("") if value is None and SETTINGS[key].published else value


def _control(key: str, type_: SettingType) -> dict[str, Any]:
    if isinstance(type_, Choice):
        return {"kind": "choice", "choices": list(type_.options)}
    low, high, step = _RANGES.get(key, (None, None, None))
    if isinstance(type_, Whole):
        return {
            "kind": "int",
            "min": type_.low if low is None else low,
            # Larger whole numbers are no longer exact in JavaScript.
            "max": min(type_.high or 2**53 - 1, 2**53 - 1) if high is None else high,
            "step": step or 1,
        }
    assert isinstance(type_, Number)
    return {"kind": "float", "min": low, "max": high, "step": step}
