"""Prompt handling: the caption suffix, and locating a word in a prompt (no torch).

Source: docs/method.md, "Stage 1: features".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from editinfinity.errors import UserError

CAPTION_SUFFIX = ", the language style of this prompt is"
"""Text between the prompt and the soft prompt, which is trained to complete it.

As in the original code, a prompt has it only where a soft prompt follows
(:func:`caption_suffix`).
"""

SOFT_PROMPT_LENGTH = 20
"""Number of vectors of the soft prompt, which follows the caption."""

Span = tuple[int, int]
"""Half-open range: the first index, and one past the last."""


def caption_suffix(has_soft_prompt: bool) -> str:
    """Return the text to encode after a prompt, which depends on whether a soft prompt follows."""
    return CAPTION_SUFFIX if has_soft_prompt else ""


def find_word(prompt: str, word: str, origin: str = "target word") -> Span:
    """Return the character range of the first whole-word, case-insensitive occurrence of a word.

    Several words match where they follow one another, separated by any white space. It does not
    matter how Unicode spells them: with accents composed or not, full-width letters or ligatures.

    Args:
        prompt: the source prompt.
        word: one or more words.
        origin: file or setting that contains the word, for error messages.

    Raises:
        UserError: the prompt does not contain the word, or only as a part of other words.
    """
    parts = folded(word).split()
    if not parts:
        raise UserError(f"{origin}: is empty; write one word of the source prompt")
    letters, starts = _fold(prompt)
    text, ends = "".join(letters), [*starts[1:], len(prompt)]
    pieces = [index for index, piece in enumerate(letters) for _ in piece]
    pattern = r"\s+".join(re.escape(part) for part in parts)
    for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE):
        first, last = pieces[match.start()], pieces[match.end() - 1]
        # A part of a letter, such as the "s" of an "ß", is no whole word.
        if text[match.start() : match.end()] == "".join(letters[first : last + 1]):
            return starts[first], ends[last]
    phrase = " ".join(word.split())
    if longer := re.search(rf"\w*{pattern}\w*", text, re.IGNORECASE):
        first, last = pieces[longer.start()], pieces[longer.end() - 1]
        raise UserError(
            f"{origin}: {phrase!r} is only a part of {prompt[starts[first] : ends[last]]!r} in the "
            f"source prompt {prompt!r}; write the whole word"
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


def _fold(text: str) -> tuple[list[str], list[int]]:
    """Split a text into letters with their combining marks, and fold each into one spelling.

    Returns:
        The folded pieces, which differ neither in case nor in Unicode's spelling, and the index in
        the text at which each of them starts.
    """
    starts = [i for i, character in enumerate(text) if i == 0 or not continues_letter(character)]
    return [_fold_piece(text[i:j]) for i, j in pairwise([*starts, len(text)])], starts


def folded(text: str) -> str:
    """Return a text in one spelling, which differs neither in case nor in Unicode's spelling."""
    return "".join(_fold(text)[0])


def continues_letter(character: str) -> bool:
    """Whether a character belongs to the letter before it: accents, vowel signs, Korean jamo."""
    is_mark = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
    return is_mark or "\u1160" <= character <= "\u11ff"


def _fold_piece(piece: str) -> str:
    visible = "".join(c for c in piece if unicodedata.category(c) != "Cf")  # no soft hyphens
    # Casefold would turn the capital İ into an i with a combining dot.
    composed = unicodedata.normalize("NFKC", visible).replace("İ", "i")
    return unicodedata.normalize("NFKC", composed.casefold())


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
