"""Prompts as the method uses them: the caption's suffix, and where a word stands. Free of torch.

Source: docs/method.md, "Stage 1: features".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from editinfinity.errors import UserError

CAPTION_SUFFIX = ", the language style of this prompt is"
"""Literal text between the prompt and the learned vectors, which learn to complete it."""

LEARNED_VECTORS = 20
"""How many learned vectors follow the caption."""

Span = tuple[int, int]
"""First and one past the last."""


def caption(prompt: str) -> str:
    """What the text encoder sees of a prompt."""
    return prompt + CAPTION_SUFFIX


def find_word(prompt: str, word: str, origin: str = "target word") -> Span:
    """Characters of the first whole-word occurrence of a word, whatever its case.

    Several words are found where they follow one another, whatever white space lies between.

    Args:
        prompt: the source prompt.
        word: a word, or several.
        origin: file or setting the word came from, for messages.

    Raises:
        UserError: the prompt lacks the word, or has it only inside other words.
    """
    parts = word.split()
    if not parts:
        raise UserError(f"{origin}: is empty; write one word of the source prompt")
    pattern = r"\s+".join(re.escape(part) for part in parts)
    if found := re.search(rf"(?<!\w){pattern}(?!\w)", prompt, re.IGNORECASE):
        return found.span()
    quoted = " ".join(parts)
    if inside := re.search(rf"\w*{pattern}\w*", prompt, re.IGNORECASE):
        raise UserError(
            f"{origin}: {quoted!r} stands only inside {inside.group()!r} of the source prompt "
            f"{prompt!r}; give the whole word"
        )
    raise UserError(
        f"{origin}: {quoted!r} is not in the source prompt {prompt!r}; "
        "choose a word of that prompt or change the prompt"
    )


def tokens_of(span: Span, offsets: Sequence[Span]) -> Span:
    """Tokens that touch a span of characters.

    Args:
        span: characters.
        offsets: characters of each token; empty (equal ends) for special tokens.

    Raises:
        UserError: no token does (the text was cut before the word).
    """
    touching = [
        index
        for index, (start, end) in enumerate(offsets)
        if start < end and start < span[1] and end > span[0]
    ]
    if not touching:
        raise UserError("target word: the text encoder has no token for it; choose another word")
    return touching[0], touching[-1] + 1
