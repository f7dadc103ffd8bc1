"""Writes the report page: one HTML file that embeds its style, script, data and thumbnails.

Its content security policy allows no external sources. Pictures are data URIs or files beside the
page, and the browser accepts only the script and style whose hashes the policy names. Names and
prompts are passed to the page as JSON, and the script inserts them as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from editinfinity.cases.case import Cases
from editinfinity.config.load import Config
from editinfinity.files.atomic import atomic_path
from editinfinity.names import printable
from editinfinity.planning.targets import layout
from editinfinity.results.outcomes import picture_of
from editinfinity.results.report.gather import Gatherer, Json
from editinfinity.results.report.pictures import (
    ThumbnailCache,
    attention_overlay,
    blend_mask_overlay,
    mask_overlay,
    prompt_map_overlay,
    thumbnails,
)

CACHE_FOLDER = ".thumbnails"
"""Subfolder of the results folder in which thumbnails are cached for the next page."""

_MODULES = (
    "dom.js", "data.js", "prompt.js", "frame.js", "panel.js", "detail.js", "gallery.js",
    "theme.js", "page.js",
)  # fmt: skip
"""JavaScript modules in loading order: each imports only from the ones before it."""

_STYLES = ("theme.css", "page.css")
"""Styles in order; the editing page uses the first one too."""

_IMPORT_OR_EXPORT = re.compile(r"^import .*?;\n|^export ", re.MULTILINE | re.DOTALL)
"""A whole import statement, or the keyword before what a module exports."""

_FIRST_CASES = 12
"""Number of cases whose pictures precede the script, so that it can show them at once."""


def write_page(config: Config, cases: Cases, page: Path) -> None:
    """Write the page for the given cases from the current results.

    Args:
        config: the configuration of the run.
        cases: the cases to show; their notices are shown too.
        page: the file to write.

    Raises:
        UserError: the page cannot be written.
    """
    content = Gatherer(config, page).gather(cases)
    pictures = _pictures(config, cases, content, page.parent / CACHE_FOLDER)
    with atomic_path(page) as temporary, temporary.open("w", encoding="utf-8") as file:
        for part in render(content, pictures):
            file.write(part)


def render(content: Json, pictures: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the HTML of the page in parts.

    Args:
        content: the data of the page.
        pictures: data URIs, one dict per case, in the form that the page's script reads.
    """
    style, script = _style(), _script()
    # The function loader restricts templates to files of this package.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_file)
    )
    template = environment.get_template("page.html")
    blocks = [as_json(mapping) for mapping in pictures]
    yield from template.generate(
        content=content,
        policy=policy(),
        style=Markup(style),
        script=Markup(script),
        data=as_json(content),
        first=list(enumerate(blocks))[:_FIRST_CASES],
        others=list(enumerate(blocks))[_FIRST_CASES:],
        printable=printable,
    )


def policy() -> str:
    """Return the content security policy of the page: it allows this script and style alone."""
    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src {_source(_style())}; "
        f"script-src {_source(_script())}; base-uri 'none'; form-action 'none'"
    )


def as_json(value: Any) -> Markup:
    """Return JSON for a script element, escaped so that no text can close it or open a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _style() -> str:
    return "".join(map(_file, _STYLES))


def _script() -> str:
    """Return the modules as one script, without imports: browsers load no modules from files.

    They share one block, so that their names do not clash with the browser's globals. A name that
    two modules declare is a syntax error there.
    """
    modules = "\n".join(map(_file, _MODULES))
    return '"use strict";\n{\n' + _IMPORT_OR_EXPORT.sub("", modules) + "}\n"


def _source(text: str) -> str:
    """Return the content security policy source (SHA-256) of an inline element with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _pictures(config: Config, cases: Cases, content: Json, folder: Path) -> list[dict[str, Any]]:
    """Return one dict per case: ``source`` and ``edits``.

    Each edit has ``after``, ``mask``, ``attention``, ``kernels`` and ``variants``. Keys whose
    pictures do not exist are missing.
    """
    shown: list[Path] = []
    for case in cases.by_name.values():
        where = layout(config, case.name)
        shown.append(case.image)
        for edit in case.edits.values():
            shown.append(picture_of(edit, where))
            variants = sorted(Path(where.folder, "edit", edit.name).glob("embedding*.png"))
            shown += variants if len(variants) > 1 else []
    cache = ThumbnailCache(folder)
    small = thumbnails(shown, cache)
    blocks = [_of_case(config, cases, case, small, cache) for case in content["cases"]]
    cache.remove_unused()
    return blocks


def _of_case(
    config: Config, cases: Cases, content: Json, small: Mapping[Path, str], cache: ThumbnailCache
) -> dict[str, Any]:
    """Return the pictures of one case; ``small`` maps each picture to its thumbnail."""
    case = cases.by_name[content["name"]]
    where = layout(config, case.name)
    edits = []
    for edit, shown in zip(case.edits.values(), content["edits"], strict=True):
        smoothings = sorted({v["smoothing"] for v in shown["variants"] if v["smoothing"]})
        blend_masks = {
            name: blend_mask_overlay(Path(where.kernel(edit.name, name))) for name in smoothings
        }
        folder = Path(where.folder, "edit", edit.name)
        names = [variant["name"] for variant in shown["variants"]]
        variants = {name: small.get(folder / f"{name}.png") for name in names}
        pictures: dict[str, Any] = {
            "after": small.get(picture_of(edit, where)) if shown["link"] else None,
            "kernels": _non_empty(blend_masks),
            "variants": _non_empty(variants),
        }
        if edit.mask_source != "none":
            pictures["mask"] = mask_overlay(Path(where.mask_pictures(edit.name)[0]), cache)
        if edit.mask_source == "attention":
            pictures["attention"] = attention_overlay(Path(where.attention(edit.name)))
        elif edit.find_mask is not None:
            path = Path(where.prompt_map(edit.name))
            pictures["attention"] = prompt_map_overlay(path, edit.find_mask)
        edits.append(_non_empty(pictures))
    return _non_empty({"edits": edits, "source": small.get(case.image)})


def _non_empty(pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that are not empty."""
    return {name: uri for name, uri in pictures.items() if uri}
