"""What commands print with ``--json``, checked against its schema."""

from __future__ import annotations

import json
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.workflow.project import ROOT

SCHEMA = yaml.safe_load(
    (ROOT / "schemas" / "command_output.schema.yaml").read_text(encoding="utf-8")
)


def parsed(output: str, name: str) -> dict[str, Any]:
    """The only line that a command has printed, which has to fit the definition ``name``."""
    assert output.endswith("\n") and output.count("\n") == 1, output
    assert output.isascii()
    value = json.loads(output)
    schema = {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"}
    Draft202012Validator(schema).validate(value)
    Draft202012Validator(SCHEMA).validate(value)
    return dict(value)
