"""Match files whose names are almost right: ``Mask.PNG``, ``mask (1).png``, ``taget_word.txt``.

If a name differs from the expected one only in form (capitals, another separator, a repeated or
missing suffix, a copy mark), the purpose of the file is clear: the file is used, and a message
reports it. If the spelling differs, or the edit or the file format remains ambiguous, the file is
not used, and a message reports it. Hidden files, backups and files named ``old_…`` are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from editinfinity.files.input_files import is_folder
from editinfinity.names import look_of, printable, spelled_out, why_unusable

_BACKUP = re.compile(r"\..*|.*~|#.*#|.*\.(bak|old|orig|swp|tmp|part)", re.IGNORECASE | re.DOTALL)
_SEPARATORS = re.compile(r"[\s_.-]+")
_COPY = r"(copy|kopie|copie|copia)"
_COPY_MARK = re.compile(
    rf"^{_COPY} (of|von|de|di)\s+|[\s_.-]+{_COPY}([\s_.-]*\(?\d{{1,3}}\)?)?$|"
    rf"[\s_.-]*\((\d{{1,3}}|(\w+ )?{_COPY}( \d{{1,3}})?)\)$",
    re.IGNORECASE,
)
"""Text that an operating system adds before or after the name of a copied file."""

_cached = lru_cache(maxsize=10_000)
"""Cache decorator: the same file names occur in hundreds of folders."""

_SHORTEST_MISSPELT = 3
"""Minimum number of letters in an edit's name for which misspellings are detected.

Edits are often called 1, 2, 3, which differ by one letter without being misspelt.
"""


@dataclass(frozen=True)
class Slot:
    """A file that a folder may contain.

    Attributes:
        stem: the file name without suffix, e.g. ``mask``.
        endings: correct suffixes, in order of preference if several such files exist.
        also_read: further suffixes that are accepted; such files are read like ``endings[0]``.
        edit: for a file that applies to one edit only, the name of that edit, which follows
            ``stem`` and a dot in the file name; else None.
        per_edit: whether this slot may also have files that apply to one edit only.
    """

    stem: str
    endings: tuple[str, ...]
    also_read: tuple[str, ...] = ()
    edit: str | None = None
    per_edit: bool = False

    @property
    def name(self) -> str:
        """The file name without suffix, including the edit's name if there is one."""
        return self.stem if self.edit is None else f"{self.stem}.{self.edit}"

    def right_name(self, endings: Sequence[str] = ()) -> str:
        """Return the correct name for a file that has these suffixes."""
        ending = endings[-1] if endings and endings[-1] in self.endings else self.endings[0]
        return f"{self.name}{ending}"

    def correct_ending(self, ending: str) -> str:
        """Return the correct suffix for a file with this suffix; empty if it cannot be read."""
        return (
            self.endings[0]
            if ending in self.also_read
            else ending
            if ending in self.endings
            else ""
        )


@dataclass
class AssignedFiles:
    """The files of a folder, assigned to slots.

    Attributes:
        paths: slot name → its file.
        notices: one message for each file with an almost right name that is used or skipped.
        faults: one message for each slot that several files match.
        unused: (slot name, message) for each file that is not used because its purpose is
            uncertain. The name is that of the empty slot it may belong to, or empty if there is
            none.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Match:
    """A file with an almost right name, and the slot that it probably belongs to.

    Attributes:
        file: its name.
        slot: the slot it probably belongs to.
        right_name: its correct name.
        problem: why the file is not used, and what to do; None if it is used.
        may_fill_slot: whether the file is probably the slot's file. If it is and the slot is empty,
            the user has to decide before the case runs.
        may_coexist: whether the file may legitimately exist beside the correctly named one.
    """

    file: str
    slot: Slot
    right_name: str
    problem: str | None = None
    may_fill_slot: bool = True
    may_coexist: bool = False


def assign_files(folder: Path, files: Sequence[str], slots: Sequence[Slot]) -> AssignedFiles:
    """Assign the files of a folder to slots.

    Args:
        folder: the folder.
        files: names of all files in it, in order.
        slots: the files that the folder may contain.
    """
    result, slots = AssignedFiles(), tuple(slots)
    right_looks = {
        look_of(f"{slot.name}{ending}"): f"{slot.name}{ending}"
        for slot in slots
        for ending in slot.endings
    }
    existing: dict[str, list[str]] = {}  # correct name → the files with it, as the disk spells them
    for file in files:
        if (right_name := right_looks.get(look_of(file))) is not None:
            existing.setdefault(right_name, []).append(file)
    right_files = {file for same in existing.values() for file in same}
    rest = [file for file in files if file not in right_files and not _BACKUP.fullmatch(file)]
    matches = [match for file in rest if (match := _find_match(file, slots)) is not None]
    matches = [match for match in matches if not is_folder(folder / match.file)]
    for slot in slots:
        right = [file for end in slot.endings for file in existing.get(f"{slot.name}{end}", ())]
        slot_matches = [match for match in matches if match.slot == slot]
        usable = [match for match in slot_matches if match.problem is None]
        if right:
            result.paths[slot.name] = folder / right[0]
        elif len(usable) == 1:
            result.paths[slot.name] = folder / usable[0].file
            result.notices.append(_used_notice(folder, usable[0]))
        if len(right) > 1:
            result.faults.append(f"{folder}: contains {_listed(right)}; keep one")
        elif not right and len(usable) > 1:
            names = _listed([match.file for match in usable])
            result.faults.append(
                f"{folder}: contains {names}; keep one and rename it to {usable[0].right_name}"
            )
        for match in slot_matches:
            path = printable(str(folder / match.file))
            if match.problem is not None and not (right and match.may_coexist):
                missing = slot.name if match.may_fill_slot and slot.name not in result.paths else ""
                result.unused.append((missing, f"{path}: is not used, because {match.problem}"))
            elif match.problem is None and right:
                result.notices.append(
                    f"{path}: is not used, because {right[0]} exists; delete the one that you do "
                    "not need"
                )
    return result


def edit_names(files: Sequence[str], slot: Slot) -> dict[str, str]:
    """Find the files that apply to one edit only (``mask.NAME.png``); return file → edit name.

    File names may differ from the correct one in capitals, separators and formats, but a dot must
    precede the edit. If another file names the same edit correctly, both get its spelling.

    Args:
        files: names of all files in the folder.
        slot: the slot of the file that applies to all edits (``mask``).
    """
    edits = {}
    for file in files:
        if _BACKUP.fullmatch(file):
            continue
        # The name as it is: "foo (1)" may be an edit's name, so copy marks are not removed.
        stem, endings = _readings(file, (*slot.endings, *slot.also_read))[0]
        head, _, edit = stem.partition(".")
        if endings and edit.strip() and _normalised(head) == _normalised(slot.stem):
            edits[file] = edit.strip()
    correct: dict[str, str] = {}  # look of an edit's name → the first of its spellings
    for file, edit in edits.items():
        if file == f"{slot.stem}.{edit}{slot.endings[0]}":
            correct.setdefault(look_of(edit), edit)
    by_normalised = {_normalised(edit): edit for edit in sorted(correct.values())}
    return {
        file: correct.get(look_of(edit)) or by_normalised.get(_normalised(edit), edit)
        for file, edit in edits.items()
    }


def _listed(files: Sequence[str]) -> str:
    """Join names of files; those that look the same are written as Unicode spells them."""
    shown = [printable(file) for file in files]
    if len({look_of(name) for name in shown}) < len(shown):
        shown = [spelled_out(file) for file in files]
    return " and ".join(shown)


def _used_notice(folder: Path, match: _Match) -> str:
    is_other_format = len(match.slot.endings) > 1 and _ending(match.file) in match.slot.also_read
    verb = "save it as" if is_other_format else "rename it to"
    path = printable(str(folder / match.file))
    return f"{path}: is used as {match.right_name}; {verb} {match.right_name}"


@_cached
def _find_match(file: str, slots: tuple[Slot, ...]) -> _Match | None:
    """Find the slot that a file with an incorrect name probably belongs to; None if there is none.

    Correct names must not be passed.
    """
    endings = tuple({ending for slot in slots for ending in (*slot.endings, *slot.also_read)})
    readings = _readings(file, endings)
    for stem, stem_endings in readings:
        if candidates := _slots_named(stem, slots):
            return _match_by_form(file, candidates, stem_endings)
    name, _, ending = file.strip().rpartition(".")
    if not readings[0][1] and re.fullmatch(r"\w{1,5}", ending):
        for stem, _ in _readings(name, endings):
            if candidates := _slots_named(stem, slots):
                return _unsupported_match(file, candidates[0], f".{ending}")
    for stem, stem_endings in readings:
        if match := _misspelt(file, stem, stem_endings, slots):
            return match
    return None


def _slots_named(stem: str, slots: Sequence[Slot]) -> list[Slot]:
    """Return the slots whose names differ from a stem only in form."""
    return [slot for slot in slots if _normalised(slot.name) == _normalised(stem)]


def _match_by_form(file: str, candidates: Sequence[Slot], endings: Sequence[str]) -> _Match:
    """Describe a file whose name differs from a correct one only in form."""
    slot = candidates[0]
    right_name = slot.right_name(endings)
    formats = {slot.correct_ending(ending) for ending in endings}
    problem, may_coexist = None, False
    if len(candidates) > 1:
        names = " or ".join(slot.right_name(endings) for slot in candidates)
        problem = f"it may belong to several edits; rename it to {names}"
    elif "" in formats:
        return _unsupported_match(file, slot, _ending(file))
    elif len(formats) > 1:
        names, may_coexist = " or ".join(f"{slot.name}{end}" for end in sorted(formats)), True
        problem = f"its name has the endings of two file formats; rename it to {names}"
    elif not formats and len(slot.endings) > 1:
        names = ", ".join(slot.endings[:3])
        problem = f"it has no ending; name it {slot.name} with one of the endings {names}"
    elif len(slot.endings) > 1 and _ending(file) != endings[-1]:
        problem = f"its name does not end in {endings[-1]}; rename it to {right_name}"
    elif reason := why_unusable(file):
        problem = f"{reason}; rename it to {right_name}"
    return _Match(file, slot, right_name, problem, may_coexist=may_coexist)


def _unsupported_match(file: str, slot: Slot, ending: str) -> _Match:
    """Describe a file with a correct stem but an unsupported suffix, such as ``mask.psd``."""
    right_name = slot.right_name()
    problem = f"files that end in {printable(ending)} cannot be read here; save it as {right_name}"
    return _Match(file, slot, right_name, problem, may_coexist=True)


def _misspelt(file: str, stem: str, endings: Sequence[str], slots: Sequence[Slot]) -> _Match | None:
    """Describe a misspelt name, or one with the name of an unknown edit; None for other names.

    A misspelt name has one letter inserted, missing or changed, or two adjacent letters swapped.
    """
    normalised, letters = _normalised(stem), _letters(stem)
    head, dot, rest = stem.partition(".")
    for slot in slots:
        if slot.edit is not None and _is_typo(letters, _letters(slot.name)):
            in_stem = not letters.startswith(_letters(slot.stem))
            if in_stem or len(_letters(slot.edit)) >= _SHORTEST_MISSPELT:
                return _misspelt_match(file, slot, slot.right_name(endings))
    for slot in slots:
        if slot.edit is not None:
            continue
        if slot.per_edit and normalised.startswith(f"{_normalised(slot.stem)}_"):
            return _unknown_edit_match(file, slot, stem, endings)
        if _is_typo(letters, _letters(slot.name)):
            return _misspelt_match(file, slot, slot.right_name(endings))
        if slot.per_edit and dot and rest and _is_typo(_letters(head), _letters(slot.stem)):
            edit_slot = replace(slot, edit=rest)
            known = next((slot for slot in slots if slot.name == edit_slot.name), slot)
            return _misspelt_match(file, known, edit_slot.right_name(endings))
    return None


def _misspelt_match(file: str, slot: Slot, right_name: str) -> _Match:
    ignored_name = printable(f"old_{file}")
    problem = (
        f"its name looks like a misspelt {printable(right_name)}; rename it to that, or to "
        f"{ignored_name} to ignore it"
    )
    return _Match(file, slot, right_name, problem)


def _unknown_edit_match(file: str, slot: Slot, stem: str, endings: Sequence[str]) -> _Match:
    """Describe a file whose name continues after the slot's with the name of no known edit.

    With a dot (``mask.foo.png``), it is the mask of an edit ``foo`` that does not exist: it is left
    over, and no slot is empty because of it. With another separator (``mask_foo.png``), it may be
    the mask of all edits or that of an edit ``foo``; the message names both correct names.
    """
    words = _SEPARATORS.pattern.join(map(re.escape, slot.stem.split("_")))
    pattern = rf"(?:{_SEPARATORS.pattern})?{words}{_SEPARATORS.pattern}"
    prefix = re.match(pattern, stem, re.IGNORECASE)
    edit = stem[prefix.end() :].strip() if prefix else ""
    edit_file = printable(replace(slot, edit=edit).right_name(endings))
    right_name = slot.right_name(endings)
    if prefix and prefix[0] == f"{slot.stem}.":
        problem = f"there is no edit {printable(edit)}; rename it to {right_name}, or delete it"
        return _Match(file, slot, right_name, problem, may_fill_slot=False)
    problem = f"its name is ambiguous; rename it to {right_name}, or to {edit_file} for the edit "
    return _Match(file, slot, right_name, problem + printable(edit))


@_cached
def _readings(file: str, endings: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Return (stem, suffixes) of a name: first as it is, then after removing each copy mark."""
    name, removed, readings = file.strip(), list[str](), list[tuple[str, list[str]]]()
    while True:
        stem, dot, last = name.rpartition(".")
        ending = f".{last.strip().lower()}"
        if dot and stem.strip() and ending in endings:
            name = stem.rstrip()
            removed = [ending, *removed]
            continue
        readings.append((name, removed))
        without_mark = _COPY_MARK.sub("", name, count=1).strip()
        if without_mark in ("", name):
            return readings
        name = without_mark


def _ending(file: str) -> str:
    return Path(file).suffix.strip().lower()


@_cached
def _normalised(stem: str) -> str:
    """Normalise a stem, so that names that differ only in form become equal."""
    folded = look_of(look_of(stem).casefold())  # casefolding decomposes some letters
    return _SEPARATORS.sub("_", folded).strip("_")


def _letters(stem: str) -> str:
    return _normalised(stem).replace("_", "")


def _is_typo(word: str, right: str) -> bool:
    """Return whether two words are equal or differ by one typing error.

    A typing error is one letter inserted, missing or changed, or two adjacent letters swapped.
    """
    while word and right and word[0] == right[0]:
        word, right = word[1:], right[1:]
    swapped = word[:2] == right[1::-1] and word[2:] == right[2:]
    return swapped or word[1:] == right or word == right[1:] or word[1:] == right[1:]
