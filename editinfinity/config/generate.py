"""``python -m editinfinity.config.generate``: write config.yaml and its JSON schema.

Both follow from ``editinfinity.settings``.
Editors complete and check a config.yaml by the schema; the messages users see come from
``editinfinity.config.load``, which accepts the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from editinfinity.environment import workflow_root
from editinfinity.files.atomic import write_text
from editinfinity.settings.groups import GROUPS, RUN_KEYS, SETTINGS
from editinfinity.settings.setting import Setting, as_yaml

CONFIG, SCHEMA = Path("config.yaml"), Path("schemas/config.schema.yaml")

_HEAD = """\
# What to edit and how. Everything here may also be given once on the command line, e.g.
#   snakemake --cores 1 --resources gpu=1 --config cases=[photo] use_lora_iter=[10,30,50]
# Leave a line out for its default, which is the value below (of cases: every folder). Switches
# take 0 or 1. Lines that end in (list) also take a list, [10, 30, 50]: every combination is drawn,
# and the first of each list makes results/CASE/NAME.png.

# --- What to edit -------------------------------------------------------------------------------
# Names of folders below data (data/NAME/image/original_image.jpg, data/NAME/prompt/…), null for
# every folder, or a table for images that lie elsewhere: cases.tsv.
cases: [example_1, example_2, example_3]
data: data # folder of the cases
results: results # folder of everything that is made
slice: null # 3/50 for the third of fifty slices of the cases: thousands plan faster in slices
"""

_TAIL = """
# --- Single cases -------------------------------------------------------------------------------
# Settings of one case, e.g. overrides: {example_1: {use_lora_iter: 30}}
overrides: {}
"""


def config_yaml() -> str:
    """The text of config.yaml: every setting at its default, with what it does."""
    return _HEAD + "".join(f"{line}\n" for line in _lines()) + _TAIL


def _lines() -> Iterator[str]:
    for group in GROUPS:
        if group.heading:
            yield ""
            yield f"# --- {group.heading} ".ljust(98, "-")
        yield from map(_line, group.settings().values())


def _line(setting: Setting) -> str:
    default = setting.default[0] if setting.sweep and setting.default else setting.default
    return f"{setting.key}: {as_yaml(default)} # {setting.help}{' (list)' * setting.sweep}"


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
    """Write both files."""
    root = workflow_root()
    write_text(root / CONFIG, config_yaml())
    schema = yaml.safe_dump(
        config_schema(), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    )
    write_text(root / SCHEMA, f"# Written by python -m editinfinity.config.generate\n{schema}")


if __name__ == "__main__":
    main()
