"""The configuration as JSON schema, for editors that complete and check YAML.

``python -m editinfinity.config.schema > schemas/config.schema.yaml`` writes it anew; the messages
users see come from ``editinfinity.config.load``, which accepts the same.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from editinfinity.config.settings import RUN_KEYS, SETTINGS


def config_schema() -> dict[str, Any]:
    """Schema of config.yaml."""
    settings = {key: setting.schema() for key, setting in SETTINGS.items()}
    by_case = {key: {"$ref": f"#/properties/{key}"} for key in settings if key not in RUN_KEYS}
    names = {"type": "array", "minItems": 1, "items": {"type": "string"}}
    places = {
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
                        "properties": by_case,
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
        "properties": {**places, **settings},
    }


def main() -> None:
    """Write the schema to standard output."""
    sys.stdout.write("# Written by python -m editinfinity.config.schema\n")
    yaml.safe_dump(config_schema(), sys.stdout, sort_keys=False, default_flow_style=None, width=100)


if __name__ == "__main__":
    main()
