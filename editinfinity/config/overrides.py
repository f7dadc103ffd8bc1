"""Add settings of one case to config.yaml without changing the rest of its text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from editinfinity.config.config_file import StrictLoader
from editinfinity.files.atomic import write_text

_KEY = re.compile(r"^overrides:[^\S\n]*(?P<flow>\{)?", re.MULTILINE)
_EMPTY = re.compile(r"^overrides:[^\S\n]*(?:\{[^\S\n]*\}|null|~)?(?P<rest>[^\S\n]*(?:#.*)?)$", re.M)
_INDENT = re.compile(r"(?:[^\S\n]*(?:#.*)?\n)*([^\S\n]+)")


def override_line(case: str, settings: Mapping[str, Any]) -> str:
    """Return the YAML of one entry of ``overrides``: ``holiday: {train_lora: 0}``."""
    entry = {case: dict(settings)}
    text = yaml.safe_dump(
        entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return text.strip()[1:-1]


def add_override(path: Path, case: str, settings: Mapping[str, Any]) -> bool:
    """Add settings of a case to ``overrides`` of a configuration file, which is created if missing.

    Comments and everything else in the file stay as they are.

    Args:
        path: the file; if it exists, it is valid (``check_yaml``).
        case: name of the case.
        settings: setting → value, as written in YAML.

    Returns:
        Whether the file has these settings now. If they do not fit into it without rewriting it
        (the case has other settings there), nothing is written.
    """
    text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    content = yaml.safe_load(text) or {}
    overrides = content.get("overrides") or {}
    wanted = {**content, "overrides": {**overrides, case: dict(settings)}}
    if content == wanted:
        return True
    for candidate in _candidates(text, override_line(case, settings)):
        if case not in overrides and _parsed(candidate) == wanted:
            write_text(path, candidate)
            return True
    return False


def _candidates(text: str, line: str) -> Iterator[str]:
    """Yield texts of the file with the line in one of the forms that ``overrides`` may have."""
    if match := _EMPTY.search(text):
        indent = _INDENT.match(text, match.end() + 1)
        entry = f"{indent[1] if indent else '  '}{line}"
        yield f"{text[: match.start()]}overrides:{match['rest']}\n{entry}{text[match.end() :]}"
    if (match := _KEY.search(text)) and match["flow"]:
        yield f"{text[: match.end()]}{line}, {text[match.end() :]}"
    newline = "\n" if text and not text.endswith("\n") else ""
    yield f"{text}{newline}overrides:\n  {line}\n"


def _parsed(text: str) -> object:
    try:
        return yaml.load(text, StrictLoader)
    except yaml.YAMLError:
        return None
