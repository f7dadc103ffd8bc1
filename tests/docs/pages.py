"""The fenced blocks of README.md and docs, and what the comments before them say.

``docs/contributing.md`` tells writers what may stand there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

RUN = ("bash", "python")
READ = ("yaml", "text", "json")
"""Languages of blocks that are shown; YAML is read as configuration."""

CONDITIONS = ("hub", "pie_bench", "slurm", "ci")

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>(?:(?!-->).)*) -->\n\n?)?"
    r"^(?P<indent> *)```(?P<language>\S*)\n(?P<code>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: where it stands.
        line: of its first line.
        language: what it says it is in.
        code: its text.
        condition: one of ``CONDITIONS``, or nothing.
        makes: files that are there once it ran.
        reason: why nobody runs it, or nothing.
    """

    page: Path
    line: int
    language: str
    code: str
    condition: str
    makes: tuple[str, ...]
    reason: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: a comment before a block says what nobody knows.
    """
    text = page.read_text("utf-8")
    blocks = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        place = f"{page}:{line}"
        condition, makes, reason = _read(match["mark"] or "", place)
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        blocks.append(Block(page, line, match["language"], code, condition, makes, reason))
    return blocks


def _read(mark: str, place: str) -> tuple[str, tuple[str, ...], str]:
    """(condition, files made, reason) of a comment."""
    kind, _, rest = mark.partition(": ")
    if kind == "not run":
        return "", (), rest.strip()
    if kind != "test":
        return "", (), ""
    condition, makes = "", tuple[str, ...]()
    for word in rest.split("; "):
        if word.startswith("makes "):
            makes = tuple(word.removeprefix("makes ").split(", "))
        elif word in CONDITIONS:
            condition = word
        else:
            raise ValueError(f"{place}: a comment says {word!r}, which the tests do not know")
    return condition, makes, ""
