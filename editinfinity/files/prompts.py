"""Read prompts and target words from UTF-8 text files or table cells."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.input_files import read_text

MAX_PROMPT_LENGTH = 4000
"""Maximum length in characters: far more than a text encoder uses, far less than a wrong file."""

MAX_WORD_LENGTH = 100
"""Maximum length of a target word (or words), in characters."""


def read_prompt(source: Path | str, *, what: str = "prompt", may_be_empty: bool = False) -> str:
    """Read a prompt, stripped, with each run of white space replaced by one space.

    Args:
        source: a file, or the text itself.
        what: name of the text, for messages.
        may_be_empty: whether an empty text is allowed: yes for the source prompt, no for an edit
            prompt.

    Raises:
        UserError: the file cannot be read or is not UTF-8, or the text is empty, too long or
            has control characters.
    """
    if_empty = None if may_be_empty else f"is empty; write the {what} into it"
    return _read_clean(source, what, MAX_PROMPT_LENGTH, if_empty)


def read_target_word(source: Path | str) -> str:
    """Read the word (or words) to segment, stripped.

    Raises:
        UserError: as for ``read_prompt``.
    """
    if_empty = "is empty; write one word of the source prompt into it"
    return _read_clean(source, "target word", MAX_WORD_LENGTH, if_empty)


def origin_of(source: Path | str | None, what: str) -> str:
    """Return the origin of a text for messages: the path of its file, or else ``what``."""
    return str(source) if isinstance(source, Path) else what


def _read_clean(source: Path | str, what: str, max_length: int, if_empty: str | None) -> str:
    """Read a text; ``if_empty`` is the error message for an empty one, None if it may be empty."""
    text, origin = source, origin_of(source, what)
    if isinstance(text, Path):
        text = read_text(text, 8 * MAX_PROMPT_LENGTH, "put the text there")
    text = " ".join(text.split())
    if control := next((c for c in text if unicodedata.category(c) in ("Cc", "Cs")), None):
        raise UserError(f"{origin}: has the control character {control!a}; save it as plain text")
    if if_empty and not text:
        raise UserError(f"{origin}: {if_empty}")
    if len(text) > max_length:
        raise UserError(f"{origin}: has {len(text)} characters; shorten it to {max_length} at most")
    return text
