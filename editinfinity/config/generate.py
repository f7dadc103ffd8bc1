"""``python -m editinfinity.config.generate``: write config.yaml and its JSON schema.

Both are generated from ``editinfinity.settings``. Editors use the schema to complete and validate a
config.yaml. The messages that users see come from ``editinfinity.config.load``, which accepts the
same values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from editinfinity.environment import workflow_root
from editinfinity.files.atomic import write_text
from editinfinity.settings.groups import GROUPS, RUN_KEYS, SETTINGS
from editinfinity.settings.setting import as_yaml

CONFIG, SCHEMA = Path("config.yaml"), Path("schemas/config.schema.yaml")

_GENERATED = re.compile(r"# --- The model .*?(?=# --- Single cases )", re.DOTALL)
"""The generated sections of config.yaml; the text before and after them is written by hand."""


def config_yaml(text: str) -> str:
    """Return config.yaml with its generated sections replaced: each setting, default and help."""
    return _GENERATED.sub(lambda _: "\n".join([*_lines(), "", ""]), text)


def _lines() -> Iterator[str]:
    for group in GROUPS:
        if group.heading:
            yield from ([] if group is GROUPS[0] else [""])
            yield f"# --- {group.heading} ".ljust(98, "-")
        for setting in group.settings().values():
            default = setting.default[0] if setting.sweep and setting.default else setting.default
            text = setting.help + " (list)" * setting.sweep
            yield f"{setting.key}: {as_yaml(default)} # {text}"


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of config.yaml."""
    settings = {key: setting.schema() for key, setting in SETTINGS.items()}
    overridable = {key: {"$ref": f"#/properties/{key}"} for key in settings if key not in RUN_KEYS}
    names = {"type": "array", "minItems": 1, "items": {"type": "string"}}
    selection = {
        "cases": {"anyOf": [{"type": "string"}, names, {"type": "null"}]},
        "data": {"type": "string"},
        "results": {"type": "string"},
        "slice": {"anyOf": [{"type": "string", "pattern": "^[0-9]+/[0-9]+$"}, {"type": "null"}]},
        "overrides": {
            "anyOf": [
                {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": overridable,
                    },
                },
                {"type": "null"},
            ]
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "editinfinity's config.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": {**selection, **settings},
    }


def main() -> None:
    """Write config.yaml and its schema."""
    root = workflow_root()
    write_text(root / CONFIG, config_yaml((root / CONFIG).read_text("utf-8")))
    schema = yaml.safe_dump(
        config_schema(), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    )
    write_text(root / SCHEMA, f"# Written by python -m editinfinity.config.generate\n{schema}")


if __name__ == "__main__":
    main()
