"""The words that differ between a source and an edit prompt (no torch).

Both prompts are compared word by word, without words such as "a", "on" and "photo", which say
nothing about a place (``STOP_WORDS``). A change is widened to its whole phrase: the words beside it
up to the next stop word or punctuation mark. From "a red car" to "a blue car", for example, the
phrases "red car" and "blue car" have changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from editinfinity.errors import UserError
from editinfinity.prompts import Span

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

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


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
        gone: words of the source prompt whose phrase is missing or differs in the edit prompt.
        new: words of the edit prompt whose phrase is missing or differs in the source prompt.
        is_addition: whether the edit only adds something: no word of the source is gone, and no
            changed phrase has a word of the source prompt.
    """

    gone: tuple[Span, ...]
    new: tuple[Span, ...]
    is_addition: bool

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
    if source.split() == target.split():
        raise UserError(
            f"{name}: the place is found by comparing both prompts, but they are equal; write what "
            "changes into the edit prompt, or give a mask"
        )


def changed_words(source: str, target: str) -> PromptChange:
    """Compare two prompts; letter case, punctuation and the order of phrases are ignored.

    Args:
        source: the source prompt.
        target: the edit prompt.
    """
    before, after = _words(source), _words(target)
    matcher = SequenceMatcher(
        None, [word.text for word in before], [word.text for word in after], autojunk=False
    )
    gone, new = set[int](), set[int]()
    for operation, start, end, new_start, new_end in matcher.get_opcodes():
        if operation != "equal":
            gone |= {word.phrase for word in before[start:end]}
            new |= {word.phrase for word in after[new_start:new_end]}
    old_phrases, new_phrases = _phrases(before), _phrases(after)
    moved = Counter(old_phrases[i] for i in gone) & Counter(new_phrases[i] for i in new)
    gone, new = _without(gone, old_phrases, moved), _without(new, new_phrases, moved)
    kept = {word.text for word in before}
    shared = any(word.text in kept for word in after if word.phrase in new)
    return PromptChange(
        tuple(word.span for word in before if word.phrase in gone),
        tuple(word.span for word in after if word.phrase in new),
        is_addition=bool(new) and not gone and not shared,
    )


def _words(prompt: str) -> list[_Word]:
    """Return the words of a prompt that are compared."""
    words, phrase, end = list[_Word](), 0, 0
    for match in _WORD.finditer(prompt):
        text = match.group().casefold().replace("’", "'")
        if prompt[end : match.start()].strip():  # a punctuation mark
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


def _without(
    changed: Iterable[int], phrases: dict[int, tuple[str, ...]], moved: Counter[tuple[str, ...]]
) -> set[int]:
    """Return the changed phrases without those that have only moved to another position."""
    remaining, left = moved.copy(), set[int]()
    for number in sorted(changed):
        if remaining[phrases[number]]:
            remaining[phrases[number]] -= 1
        else:
            left.add(number)
    return left
