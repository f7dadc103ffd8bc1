"""Prompt handling: the caption suffix, and locating a word in a prompt (no torch).

Source: docs/method.md, "Stage 1: features".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from editinfinity.errors import UserError

CAPTION_SUFFIX = ", the language style of this prompt is"
"""Text between the prompt and the soft prompt, which is trained to complete it.

As in the original code, a prompt has it only where a soft prompt follows.
"""

SOFT_PROMPT_LENGTH = 20
"""Number of vectors of the soft prompt, which follows the caption."""

Span = tuple[int, int]
"""Half-open range: the first index, and one past the last."""


def find_word(prompt: str, word: str, origin: str = "target word") -> Span:
    """Return the character range of the first whole-word, case-insensitive occurrence of a word.

    Several words match where they follow one another, separated by any white space.

    Args:
        prompt: the source prompt.
        word: one or more words.
        origin: file or setting that contains the word, for error messages.

    Raises:
        UserError: the prompt does not contain the word, or only as a part of other words.
    """
    parts = word.split()
    if not parts:
        raise UserError(f"{origin}: is empty; write one word of the source prompt")
    pattern = r"\s+".join(re.escape(part) for part in parts)
    if match := re.search(rf"(?<!\w){pattern}(?!\w)", prompt, re.IGNORECASE):
        return match.span()
    phrase = " ".join(parts)
    if longer := re.search(rf"\w*{pattern}\w*", prompt, re.IGNORECASE):
        raise UserError(
            f"{origin}: {phrase!r} is only a part of {longer.group()!r} in the source prompt "
            f"{prompt!r}; write the whole word"
        )
    raise UserError(
        f"{origin}: {phrase!r} is not in the source prompt {prompt!r}; "
        "choose a word of that prompt or change the prompt"
    )


def source_prompt_missing(guidance: str) -> str:
    """Return the message that an edit lacks the source prompt that its guidance needs."""
    return (
        f"source prompt: is empty, but {guidance} compares it with the edit prompt; write what the "
        "photograph shows (original_image_prompt.txt, or --source)"
    )


def tokens_of(span: Span, offsets: Sequence[Span]) -> Span:
    """Return the range of tokens that overlap a range of characters.

    Args:
        span: range of characters.
        offsets: character range of each token; empty (start equals end) for special tokens.

    Raises:
        UserError: no token overlaps it (the text was truncated before the word).
    """
    overlapping = [
        index
        for index, (start, end) in enumerate(offsets)
        if start < end and start < span[1] and end > span[0]
    ]
    if not overlapping:
        raise UserError("target word: the text encoder has no token for it; choose another word")
    return overlapping[0], overlapping[-1] + 1


def shared_tokens(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of tokens that two prompts share, by aligning their sequences of tokens.

    Args:
        first: text of each token of a prompt, empty for special tokens, which are left out.
        second: the same of another prompt.

    Returns:
        (index in the first, index in the second) of each shared token, both increasing.
    """
    rows, columns = ([i for i, token in enumerate(each) if token] for each in (first, second))
    matcher = SequenceMatcher(
        None, [first[i] for i in rows], [second[i] for i in columns], autojunk=False
    )
    return [
        (rows[block.a + step], columns[block.b + step])
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    ]
