"""Match files whose names are almost right: ``Mask.PNG``, ``mask (1).png``, ``taget_word.txt``.

If a name differs from the expected one only in form (capitals, another separator, a repeated or
missing suffix, a copy mark), the purpose of the file is clear: the file is used, and a message
reports it. If the spelling differs, or the edit or the file format remains ambiguous, the file is
not used, and a message reports it. Hidden files, backups and files named ``old_…`` are ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from editinfinity.files.input_files import is_folder
from editinfinity.names import printable, why_unusable

_BACKUP = re.compile(r"\..*|.*~|#.*#|.*\.(bak|old|orig|swp|tmp|part)", re.IGNORECASE | re.DOTALL)
_SEPARATORS = re.compile(r"[\s_.-]+")
_COPY = r"(copy|kopie|copie|copia)"
_COPY_MARK = re.compile(
    rf"^{_COPY} (of|von|de|di)\s+|[\s_.-]+{_COPY}([\s_.-]*\(?\d{{1,3}}\)?)?$|"
    rf"[\s_.-]*\((\d{{1,3}}|(\w+ )?{_COPY}( \d{{1,3}})?)\)$",
    re.IGNORECASE,
)
"""Text that an operating system adds before or after the name of a copied file."""

_remembered = lru_cache(maxsize=10_000)
"""Cache decorator: the same file names occur in hundreds of folders."""

_SHORTEST_MISSPELT = 3
"""Minimum length of an edit's name, in letters, for which misspellings are detected.

Edits are often called 1, 2, 3, which differ by one letter without being misspelt.
"""


@dataclass(frozen=True)
class Slot:
    """A file that a folder may contain.

    Attributes:
        stem: the file name without suffix, e.g. ``mask``.
        endings: correct suffixes, in order of preference if several such files exist.
        also: further suffixes that are accepted and read like the first correct one.
        edit: for a file that applies to one edit only, the name of that edit, which follows
            ``stem`` and a dot in the file name; else None.
        has_edits: whether files that apply to one edit only may exist for this slot.
    """

    stem: str
    endings: tuple[str, ...]
    also: tuple[str, ...] = ()
    edit: str | None = None
    has_edits: bool = False

    @property
    def name(self) -> str:
        """The file name without suffix, including the edit's name if there is one."""
        return self.stem if self.edit is None else f"{self.stem}.{self.edit}"

    def right_name(self, endings: Sequence[str] = ()) -> str:
        """Return the correct name for a file that has these suffixes."""
        kept = endings[-1] if endings and endings[-1] in self.endings else self.endings[0]
        return f"{self.name}{kept}"

    def kind(self, ending: str) -> str:
        """Return the correct suffix of the format as which a file with this suffix is read.

        It is empty if files with this suffix are not read.
        """
        return self.endings[0] if ending in self.also else ending if ending in self.endings else ""


@dataclass
class Filled:
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
class _Meant:
    """A file with an almost right name, and the slot that it probably belongs to.

    Attributes:
        file: its name.
        slot: the slot it probably belongs to.
        right_name: its correct name.
        doubt: if the file is not used, the reason and what to do; else None.
        matters: whether the slot, if it is empty, may be empty because of this file.
        companion: whether the file may legitimately exist beside the correctly named one.
    """

    file: str
    slot: Slot
    right_name: str
    doubt: str | None = None
    matters: bool = True
    companion: bool = False


def fill(folder: Path, files: Sequence[str], slots: Sequence[Slot]) -> Filled:
    """Assign the files of a folder to slots.

    Args:
        folder: the folder.
        files: names of all files in it, in order.
        slots: the files that the folder may contain.
    """
    filled, slots = Filled(), tuple(slots)
    right_names = {f"{slot.name}{ending}" for slot in slots for ending in slot.endings}
    rest = [file for file in files if file not in right_names and not _BACKUP.fullmatch(file)]
    near = [meant for file in rest if (meant := _meant(file, slots)) is not None]
    near = [meant for meant in near if not is_folder(folder / meant.file)]
    there = set(files)
    for slot in slots:
        right = [name for end in slot.endings if (name := f"{slot.name}{end}") in there]
        mine = [meant for meant in near if meant.slot == slot]
        usable = [meant for meant in mine if meant.doubt is None]
        if right:
            filled.paths[slot.name] = folder / right[0]
        elif len(usable) == 1:
            filled.paths[slot.name] = folder / usable[0].file
            filled.notices.append(_used(folder, usable[0]))
        if len(right) > 1:
            filled.faults.append(f"{folder}: holds {' and '.join(right)}; keep one")
        elif not right and len(usable) > 1:
            names, wanted = " and ".join(printable(each.file) for each in usable), usable[0]
            filled.faults.append(
                f"{folder}: holds {names}, each of them nearly {wanted.right_name}; keep one and "
                "rename it to that"
            )
        for meant in mine:
            place = printable(str(folder / meant.file))
            if meant.doubt is not None and not (right and meant.companion):
                lacking = slot.name if meant.matters and slot.name not in filled.paths else ""
                filled.unused.append((lacking, f"{place}: is not used, {meant.doubt}"))
            elif meant.doubt is None and right:
                filled.notices.append(
                    f"{place}: is not used, because {right[0]} is there; delete the one that is "
                    "not meant"
                )
    return filled


def edits_of(files: Sequence[str], slot: Slot) -> dict[str, str]:
    """Return file name → edit name for the files of a slot that apply to one edit only.

    Names that differ from the correct one only in form are included.
    """
    found = {}
    for file in files:
        if _BACKUP.fullmatch(file):
            continue
        stem, endings = _readings(file, (*slot.endings, *slot.also))[0]
        head, _, edit = stem.partition(".")
        if endings and edit.strip() and _key(head) == _key(slot.stem):
            found[file] = edit.strip()
    right = {edit for file, edit in found.items() if file == f"{slot.stem}.{edit}{slot.endings[0]}"}
    by_key = {_key(edit): edit for edit in right}
    return {
        file: edit if edit in right else by_key.get(_key(edit), edit)
        for file, edit in found.items()
    }


def _used(folder: Path, meant: _Meant) -> str:
    is_of_another_format = len(meant.slot.endings) > 1 and _ending(meant.file) in meant.slot.also
    verb = "save it as" if is_of_another_format else "rename it to"
    path = printable(str(folder / meant.file))
    return f"{path}: is used as {meant.right_name}; {verb} {meant.right_name}"


@_remembered
def _meant(file: str, slots: tuple[Slot, ...]) -> _Meant | None:
    """Find the slot that a file with an incorrect name probably belongs to; None if there is none.

    Names that are already correct never get here.
    """
    endings = tuple({ending for slot in slots for ending in (*slot.endings, *slot.also)})
    readings = _readings(file, endings)
    for stem, found in readings:
        if fitting := _fitting(stem, slots):
            return _of_form(file, fitting, found)
    name, _, ending = file.strip().rpartition(".")
    if not readings[0][1] and re.fullmatch(r"\w{1,5}", ending):
        for stem, _ in _readings(name, endings):
            if fitting := _fitting(stem, slots):
                return _unreadable(file, fitting[0], f".{ending}")
    for stem, found in readings:
        if meant := _misspelt(file, stem, found, slots):
            return meant
    return None


def _fitting(stem: str, slots: Sequence[Slot]) -> list[Slot]:
    """Return the slots whose names differ from a stem only in form."""
    return [slot for slot in slots if _key(slot.name) == _key(stem)]


def _of_form(file: str, fitting: Sequence[Slot], endings: Sequence[str]) -> _Meant:
    """Describe a file whose name differs from a correct one only in form."""
    slot = fitting[0]
    right_name = slot.right_name(endings)
    kinds = {slot.kind(ending) for ending in endings}
    doubt, companion = None, False
    if len(fitting) > 1:
        names = " or ".join(each.right_name(endings) for each in fitting)
        doubt = f"as it may be meant for several edits; rename it to {names}"
    elif "" in kinds:
        return _unreadable(file, slot, _ending(file))
    elif len(kinds) > 1:
        names, companion = " or ".join(f"{slot.name}{kind}" for kind in sorted(kinds)), True
        doubt = f"as its name has endings of two kinds; rename it to {names}"
    elif not kinds and len(slot.endings) > 1:
        names = ", ".join(slot.endings[:3])
        doubt = f"as it has no ending; name it {slot.name} with one of the endings {names}"
    elif len(slot.endings) > 1 and _ending(file) != endings[-1]:
        doubt = f"as its name does not end in {endings[-1]}; rename it to {right_name}"
    elif reason := why_unusable(file):
        doubt = f"as {reason}; rename it to {right_name}"
    return _Meant(file, slot, right_name, doubt, companion=companion)


def _unreadable(file: str, slot: Slot, ending: str) -> _Meant:
    """Describe a file with a correct stem but an unsupported suffix, such as ``mask.psd``."""
    right_name = slot.right_name()
    doubt = f"as files that end in {printable(ending)} are not read here; save it as {right_name}"
    return _Meant(file, slot, right_name, doubt, companion=True)


def _misspelt(file: str, stem: str, endings: Sequence[str], slots: Sequence[Slot]) -> _Meant | None:
    """Describe a misspelt name, or one with the name of an unknown edit; None for other names.

    A misspelt name has one letter inserted, missing or changed, or two adjacent letters swapped.
    """
    key, letters = _key(stem), _letters(stem)
    head, dot, rest = stem.partition(".")
    for slot in slots:
        if slot.edit is not None and _is_slip(letters, _letters(slot.name)):
            in_stem = not letters.startswith(_letters(slot.stem))
            if in_stem or len(_letters(slot.edit)) >= _SHORTEST_MISSPELT:
                return _doubtful(file, slot, slot.right_name(endings))
    for slot in slots:
        if slot.edit is not None:
            continue
        if slot.has_edits and key.startswith(f"{_key(slot.stem)}_"):
            return _of_no_edit(file, slot, stem, endings)
        if _is_slip(letters, _letters(slot.name)):
            return _doubtful(file, slot, slot.right_name(endings))
        if slot.has_edits and dot and rest and _is_slip(_letters(head), _letters(slot.stem)):
            own = replace(slot, edit=rest)
            known = next((each for each in slots if each.name == own.name), slot)
            return _doubtful(file, known, own.right_name(endings))
    return None


def _doubtful(file: str, slot: Slot, right_name: str) -> _Meant:
    kept = printable(f"old_{file}")
    doubt = (
        f"as its name is not quite {printable(right_name)}; rename it to that, or to {kept} if it "
        "is not meant"
    )
    return _Meant(file, slot, right_name, doubt)


def _of_no_edit(file: str, slot: Slot, stem: str, endings: Sequence[str]) -> _Meant:
    """Return why a file is not used whose name goes on after the slot's, ``mask.foo.png``.

    With the separator of edits (a dot), it is the mask of an edit ``foo`` that is not there: it is
    left over, and nothing misses it. With another one (``mask_foo.png``), it is not known which of
    the two was meant, the mask or that of an edit ``foo``; both right names are told.
    """
    words = _SEPARATORS.pattern.join(map(re.escape, slot.stem.split("_")))
    pattern = rf"(?:{_SEPARATORS.pattern})?{words}{_SEPARATORS.pattern}"
    before = re.match(pattern, stem, re.IGNORECASE)
    edit = stem[before.end() :].strip() if before else ""
    own = printable(replace(slot, edit=edit).right_name(endings))
    right_name = slot.right_name(endings)
    if before and before[0] == f"{slot.stem}.":
        doubt = f"as there is no edit {printable(edit)}; rename it to {right_name}, or delete it"
        return _Meant(file, slot, right_name, doubt, matters=False)
    doubt = f"as its name is not quite right; rename it to {right_name}, or to {own} for the edit "
    return _Meant(file, slot, right_name, doubt + printable(edit))


@_remembered
def _readings(file: str, endings: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Return (stem, suffixes) of a name: first as it is, then after removing each copy mark."""
    name, found, readings = file.strip(), list[str](), list[tuple[str, list[str]]]()
    while True:
        stem, dot, last = name.rpartition(".")
        ending = f".{last.strip().lower()}"
        if dot and stem.strip() and ending in endings:
            name = stem.rstrip()
            found = [ending, *found]
            continue
        readings.append((name, found))
        bare = _COPY_MARK.sub("", name, count=1).strip()
        if bare in ("", name):
            return readings
        name = bare


def _ending(file: str) -> str:
    return Path(file).suffix.strip().lower()


@_remembered
def _key(stem: str) -> str:
    """Normalise a stem, so that names that differ only in form become equal."""
    folded = unicodedata.normalize("NFC", stem.casefold())
    return _SEPARATORS.sub("_", folded).strip("_")


def _letters(stem: str) -> str:
    return _key(stem).replace("_", "")


def _is_slip(found: str, right: str) -> bool:
    """Return whether two words are equal or differ by one typing error.

    A typing error is one letter inserted, missing or changed, or two adjacent letters swapped.
    """
    while found and right and found[0] == right[0]:
        found, right = found[1:], right[1:]
    swapped = found[:2] == right[1::-1] and found[2:] == right[2:]
    return swapped or found[1:] == right or found == right[1:] or found[1:] == right[1:]
