"""The page itself: one file of HTML with style, script, data and small pictures inside.

Its policy allows nothing from elsewhere: pictures come as data or lie beside the page, and only
this script and this style, named by their hashes, are obeyed. Names and prompts reach the page as
JSON, and the script puts them there as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
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
from editinfinity.results.report.gather import Gatherer, Told
from editinfinity.results.report.pictures import (
    ThumbnailCache,
    attention_overlay,
    kernel_overlay,
    mask_overlay,
    thumbnails,
)

KEPT = ".thumbnails"
"""Folder of the results where thumbnails are kept between two pages."""

_SCRIPTS = ("basics.js", "frame.js", "gallery.js", "detail.js", "page.js")
"""In this order: each uses those before it."""

_FIRST = 12
"""Cases whose pictures stand before the script, so that it can show them at once."""


def write_page(config: Config, cases: Cases, page: Path) -> None:
    """Write the page of some cases, from what lies in the results now.

    Args:
        config: of the run.
        cases: to show; their notices are told too.
        page: the file to write.

    Raises:
        UserError: it cannot be written.
    """
    content = Gatherer(config, page).gather(cases)
    pictures = _pictures(config, cases, content, page.parent / KEPT)
    with atomic_path(page) as temporary, temporary.open("w", encoding="utf-8") as file:
        for part in render(content, pictures):
            file.write(part)


def render(content: Told, pictures: list[dict[str, Any]]) -> Iterator[str]:
    """The parts of the page.

    Args:
        content: what it tells.
        pictures: data URIs, a dict a case, as the page's script reads them.
    """
    style = _file("page.css")
    # One scope for all of them, which the browser's own names stay out of.
    script = '"use strict";\n(() => {\n' + "\n".join(map(_file, _SCRIPTS)) + "})();\n"
    # A function as loader, and a package's own files: templates are never looked for elsewhere.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_file)
    )
    template = environment.get_template("page.html")
    blocks = [as_json(mapping) for mapping in pictures]
    yield from template.generate(
        content=content,
        policy=f"default-src 'none'; img-src 'self' file: data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        data=as_json(content),
        first=list(enumerate(blocks))[:_FIRST],
        others=list(enumerate(blocks))[_FIRST:],
        printable=printable,
    )


def as_json(value: Any) -> Markup:
    """JSON for a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _source(text: str) -> str:
    """What a policy calls an element of this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _pictures(config: Config, cases: Cases, content: Told, keep: Path) -> list[dict[str, Any]]:
    """A dict a case: ``source``, and by edit ``after``, ``mask``, ``attention``, ``kernels``,
    ``variants``; keys whose pictures do not exist are missing.
    """
    shown: list[Path] = []
    for case in cases.by_name.values():
        where = layout(config, case.name)
        shown.append(case.image)
        for edit in case.edits.values():
            shown.append(picture_of(edit, where))
            drawn = sorted(Path(where.folder, "edit", edit.name).glob("embedding*.png"))
            shown += drawn if len(drawn) > 1 else []
    shelf = ThumbnailCache(keep)
    small = thumbnails(shown, shelf)
    blocks = [_of_case(config, cases, told, small, shelf) for told in content["cases"]]
    shelf.tidy()
    return blocks


def _of_case(
    config: Config, cases: Cases, told: Told, small: Mapping[Path, str], shelf: ThumbnailCache
) -> dict[str, Any]:
    """The pictures of one case."""
    case = cases.by_name[told["name"]]
    where = layout(config, case.name)
    edits = []
    for edit, shown in zip(case.edits.values(), told["edits"], strict=True):
        smoothings = sorted({each["smoothing"] for each in shown["variants"] if each["smoothing"]})
        kernels = {name: kernel_overlay(Path(where.kernel(edit.name, name))) for name in smoothings}
        folder = Path(where.folder, "edit", edit.name)
        names = [each["name"] for each in shown["variants"]]
        variants = {name: small.get(folder / f"{name}.png") for name in names}
        pictures: dict[str, Any] = {
            "after": small.get(picture_of(edit, where)) if shown["link"] else None,
            "kernels": _there(kernels),
            "variants": _there(variants),
        }
        if edit.mask_source != "none":
            pictures["mask"] = mask_overlay(Path(where.mask_pictures(edit.name)[0]), shelf)
        if edit.mask_source == "attention":
            pictures["attention"] = attention_overlay(Path(where.attention(edit.name)))
        edits.append(_there(pictures))
    return _there({"edits": edits, "source": small.get(case.image)})


def _there(pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Those that exist."""
    return {name: uri for name, uri in pictures.items() if uri}
