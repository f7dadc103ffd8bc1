"""What MkDocs does not do by itself: pages made of other files, and links out of ``docs``.

Pages are written to be read in the repository too, so they link to its files as they lie there. In
the site, such a link leads to the page that shows the file, or to a copy of it; one that leads
nowhere is a warning, with which a strict build fails.
"""

from __future__ import annotations

import html
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.plugins.links")

ROOT = Path(__file__).resolve().parents[1]
SHOWN = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "training/README.md": "bundled_model.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files of the repository that are pages of the site."""

COPIES = "repository"
"""Folder of the site for copies of other files that pages link to."""

SETTINGS, COMMANDS = "<!-- settings -->", "<!-- commands -->"

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]*)(#[^)\s]*)?(\))")
_FENCED = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made of other files, and copies of what pages link to."""
    for source, page in SHOWN.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for file in list(files.documentation_pages()):
        for target in _targets(file):
            copy = _copy_of(target)
            if copy and files.get_file_from_path(copy) is None:
                files.append(_copied(config, copy, ROOT / target))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and lead links out of ``docs`` to pages or copies."""
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, settings_tables())
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_pages())
    here = _in_repository(page.file)

    def lead(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if not target or ":" in target:
            return match[0]
        path = _resolved(here, target)
        if path is None:
            log.warning("%s: the link %s leads nowhere", here, target)
            return match[0]
        where = _in_site(path)
        relative = os.path.relpath(where, PurePosixPath(page.file.src_uri).parent)
        return f"{before}{relative}{anchor or ''}{after}"

    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(lead, text) for text in parts[::2]]
    return "".join(parts)


def _in_repository(file: File) -> PurePosixPath:
    """Where a page's source lies, from the root of the repository."""
    assert file.abs_src_path is not None
    return PurePosixPath(Path(file.abs_src_path).relative_to(ROOT).as_posix())


def _resolved(page: PurePosixPath, target: str) -> PurePosixPath | None:
    """The file or folder of the repository that a link of a page means, if it is there."""
    path = os.path.normpath(page.parent / target)
    if path.startswith("..") or not (ROOT / path).exists():
        return None
    return PurePosixPath(path)


def _in_site(path: PurePosixPath) -> str:
    """Where a file of the repository is in the site."""
    if str(path) in SHOWN:
        return SHOWN[str(path)]
    if path.parts[0] == "docs":
        return str(path.relative_to("docs"))
    return _copy_of(path) or ""


def _copy_of(path: PurePosixPath) -> str | None:
    """Name of the copy of a file that no page shows; browsers show ``.txt``, and save the like."""
    if str(path) in SHOWN or path.parts[0] == "docs":
        return None
    if (ROOT / path).is_dir():
        path = path / "README.md"
        if not (ROOT / path).is_file():
            log.warning("%s is a folder without README.md; link to a file", path.parent)
            return None
    picture = path.suffix in (".png", ".jpg", ".svg", ".webp")
    return f"{COPIES}/{path}" if picture else f"{COPIES}/{path}.txt"


def _copied(config: MkDocsConfig, name: str, source: Path) -> File:
    source = source / "README.md" if source.is_dir() else source
    return File.generated(config, name, abs_src_path=str(source))


def _targets(file: File) -> Iterator[PurePosixPath]:
    """The files of the repository that a page links to."""
    here = _in_repository(file)
    for text in _FENCED.split(file.content_string)[::2]:
        for match in _LINK.finditer(text):
            if match[2] and ":" not in match[2] and (path := _resolved(here, match[2])):
                yield path


def settings_tables() -> str:
    """Every setting by section: default, what it does, and what is accepted."""
    from editinfinity.config.generate import config_yaml
    from editinfinity.settings.groups import SETTINGS

    lines: list[str] = []
    above: list[str] = []
    for line in config_yaml((ROOT / "config.yaml").read_text("utf-8")).splitlines():
        if title := re.match(r"# --- (.*?) -+$", line):
            lines += ["", f"## {title[1]}", ""]
            lines += ["| setting | default | what it does | accepts |", "|---|---|---|---|"]
            above = []
        elif line.startswith("# "):
            above.append(line[2:])
        elif found := re.match(r"([a-z_]+): (.*?)(?: # (.*))?$", line):
            key, default, words = found.groups()
            words, above = words or " ".join(above), []
            setting = SETTINGS.get(key)
            accepts = "" if setting is None else setting.wording
            if setting is not None and setting.level != "run":
                accepts += f"; may differ by {setting.level}"
            cells = (f"`{key}`", f"`{default.strip()}`", _cell(words), _cell(accepts))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "&#124;")


def command_pages() -> str:
    """The help of every command, as a terminal shows it."""
    from typer.main import get_command

    from editinfinity.cli import app

    lines: list[str] = []

    def tell(command: object, name: str, level: int) -> None:
        context = command.make_context(name, [], resilient_parsing=True)  # type: ignore[attr-defined]
        context.max_content_width = 80
        context.terminal_width = 80
        lines.extend([f"{'#' * level} {name}", "", "```text"])
        lines.extend([command.get_help(context).strip(), "```", ""])  # type: ignore[attr-defined]
        for inner, child in getattr(command, "commands", {}).items():
            tell(child, f"{name} {inner}", min(level + 1, 3))

    tell(get_command(app), "editinfinity", 2)
    return "\n".join(lines)
