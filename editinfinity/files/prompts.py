"""Prompts and target words as users keep them: UTF-8 text files, or cells of a table."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.input_files import read_text

LONGEST_PROMPT = 4000
"""In characters; far above what a text encoder takes, far below what is no prompt at all."""

LONGEST_WORD = 100


def read_prompt(source: Path | str, *, what: str = "prompt", may_be_empty: bool = False) -> str:
    """A prompt, stripped, white space folded to single spaces.

    Args:
        source: a file, or the text itself.
        what: what the text is, for messages.
        may_be_empty: the source prompt may, an edit prompt may not.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or the text is not usable.
    """
    refusal = None if may_be_empty else f"is empty; write the {what} into it"
    return _text_of(source, what, LONGEST_PROMPT, refusal)


def read_target_word(source: Path | str) -> str:
    """The word (or words) to segment, stripped.

    Raises:
        UserError: as ``read_prompt``.
    """
    refusal = "is empty; write one word of the source prompt into it"
    return _text_of(source, "target word", LONGEST_WORD, refusal)


def origin_of(source: Path | str | None, what: str) -> str:
    """The name to blame for a text: its file's, or else what it is."""
    return str(source) if isinstance(source, Path) else what


def _text_of(source: Path | str, what: str, longest: int, refusal: str | None) -> str:
    """The text of a source; where it is empty, it is refused so, unless it may be."""
    text, origin = source, origin_of(source, what)
    if isinstance(text, Path):
        text = read_text(text, 8 * LONGEST_PROMPT, "put the text there")
    text = " ".join(text.split())
    if control := next((c for c in text if unicodedata.category(c) in ("Cc", "Cs")), None):
        raise UserError(f"{origin}: has the control character {control!a}; save it as plain text")
    if refusal and not text:
        raise UserError(f"{origin}: {refusal}")
    if len(text) > longest:
        raise UserError(f"{origin}: has {len(text)} characters; shorten it to {longest} at most")
    return text
