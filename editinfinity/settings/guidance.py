"""The guidance of an edit, which decides what a setting that is null stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editinfinity.settings.groups import SETTINGS, GuidanceSettings


def learns_nothing(settings: Mapping[str, Any]) -> bool:
    """Return whether an edit is drawn by the base model alone: any ``method`` but inversion."""
    return bool(settings["method"] != "inversion")


def guidance_of(settings: Mapping[str, Any]) -> str:
    """Return the guidance of an edit; a method that learns nothing has its own."""
    if not learns_nothing(settings):
        return str(settings["guidance"])
    method = str(settings["method"])
    return "source_negative" if method == "training_free" else method


def values_of(settings: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    """Return the values of a setting that can be swept; for null, the one that it stands for."""
    values = settings[key]
    return (SETTINGS[key].default_with(guidance_of(settings)),) if values is None else tuple(values)


def numbers_of(guidance: str) -> tuple[str, ...]:
    """Return the settings that belong to one guidance alone, such as ``editmod_copy``."""
    return tuple(key for key in GuidanceSettings.settings() if key.startswith(f"{guidance}_"))


def is_of_another_guidance(key: str, guidance: str) -> bool:
    """Return whether a setting belongs to a guidance alone, but not to this one."""
    return key in GuidanceSettings.settings() and key not in ("guidance", *numbers_of(guidance))


def unused_lists(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that are lists, but belong to another guidance than the edit's alone."""
    return [
        key
        for key, setting in GuidanceSettings.settings().items()
        if setting.sweep
        and is_of_another_guidance(key, guidance_of(settings))
        and len(values_of(settings, key)) > 1
    ]


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a Python call with the defaults that their guidance alone has, if any."""
    guidance = str(values.get("guidance", GuidanceSettings.guidance))
    published = {
        key: setting.default_with(guidance)
        for key, setting in SETTINGS.items()
        if setting.published
    }
    chosen = {key: value for key, value in values.items() if value is not None}
    return {**values, **published, **chosen}
