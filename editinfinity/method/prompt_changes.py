"""The words that differ between a source and an edit prompt (no torch).

Both prompts are split into phrases: words that follow each other, up to a punctuation mark or to a
word such as "a", "on" and "photo", which says nothing about a place (``STOP_WORDS``). A phrase that
only one prompt has is a change. From "a red car in a forest" to "a blue car in a forest", "red car"
is gone and "blue car" is new. Where the phrases stand does not matter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

from editinfinity.errors import UserError
from editinfinity.prompts import Span, continues_letter, folded

STOP_WORDS = frozenset(
    """
    a an the this that these those some any another other its his her their my your our
    it he she they we you i who which what there here
    and or but nor as than then so if while
    of in on at to from by for with without into onto out off over under above below between
    among through across along around behind beside besides beneath before after against near
    next inside outside within upon up down towards toward about
    front back left right top bottom middle center centre side sides edge
    is are was were be been being am has have had having do does did doing can could will would
    no not only very just also too
    photo photos photograph photographs picture pictures image images shot view close-up closeup
    scene showing shows depicting depicts
    """.split()  # noqa: SIM905
)
"""Words that are not compared: they name no thing, or the kind of picture or a position in it."""

_MARK = "\u0300"
_LETTERS = rf"(?:[^\W_]{_MARK}*)+"
_WORD = re.compile(rf"{_LETTERS}(?:['’-]{_LETTERS})*")
"""A word of a prompt in which ``_MARK`` stands for all accents and vowel signs of their own."""


@dataclass(frozen=True)
class _Word:
    """A compared word; ``phrase`` is the number of its phrase in the prompt."""

    text: str
    span: Span
    phrase: int


@dataclass(frozen=True)
class PromptChange:
    """The changed phrases of two prompts, as character ranges of their words.

    Attributes:
        gone: words of the phrases of the source prompt that the edit prompt does not have.
        new: words of the phrases of the edit prompt that the source prompt does not have.
    """

    gone: tuple[Span, ...]
    new: tuple[Span, ...]

    @property
    def is_addition(self) -> bool:
        """Whether the edit only adds something: no phrase of the source prompt is gone."""
        return bool(self.new) and not self.gone

    def __bool__(self) -> bool:
        """Whether a word has changed."""
        return bool(self.gone or self.new)


def require_comparable(source: str, target: str, name: str = "mask_source") -> None:
    """Check that the place of an edit can be found by comparing two prompts.

    Args:
        source: the source prompt.
        target: the edit prompt.
        name: what the place is found for, for the message.

    Raises:
        UserError: the source prompt is empty, or both prompts are equal.
    """
    if not source.strip():
        raise UserError(
            f"{name}: the place is found by comparing both prompts, but there is no source prompt; "
            "write one that describes the photograph, or give a mask"
        )
    if normalize("NFC", source).split() == normalize("NFC", target).split():
        raise UserError(
            f"{name}: the place is found by comparing both prompts, but they are equal; write what "
            "changes into the edit prompt, or give a mask"
        )


def changed_words(source: str, target: str) -> PromptChange:
    """Compare two prompts.

    Letter case, Unicode's spelling, punctuation and the order of phrases are ignored.

    Args:
        source: the source prompt.
        target: the edit prompt.
    """
    before, after = _words(source), _words(target)
    old, new = _phrases(before), _phrases(after)
    kept = Counter(old.values()) & Counter(new.values())
    gone, added = _without(old, kept), _without(new, kept)
    return PromptChange(
        tuple(word.span for word in before if word.phrase in gone),
        tuple(word.span for word in after if word.phrase in added),
    )


def _words(prompt: str) -> list[_Word]:
    """Return the words of a prompt that are compared."""
    words, phrase, end = list[_Word](), 0, 0
    marked = "".join(_MARK if continues_letter(c) else c for c in prompt)
    for match in _WORD.finditer(marked):
        text = folded(prompt[slice(*match.span())]).replace("’", "'")
        if prompt[end : match.start()].replace("_", " ").strip():  # a punctuation mark
            phrase += 1
        end = match.end()
        if text in STOP_WORDS:
            phrase += 1
        else:
            words.append(_Word(text, match.span(), phrase))
    return words


def _phrases(words: Sequence[_Word]) -> dict[int, tuple[str, ...]]:
    """Return number of a phrase → its words."""
    phrases: dict[int, tuple[str, ...]] = {}
    for word in words:
        phrases[word.phrase] = (*phrases.get(word.phrase, ()), word.text)
    return phrases


def _without(phrases: dict[int, tuple[str, ...]], kept: Counter[tuple[str, ...]]) -> set[int]:
    """Return the numbers of the phrases that are not kept; of equal ones, the first are kept."""
    remaining, changed = kept.copy(), set[int]()
    for number, words in phrases.items():
        if remaining[words]:
            remaining[words] -= 1
        else:
            changed.add(number)
    return changed
