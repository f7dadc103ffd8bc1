"""Whose weights a file holds, and whether it is complete."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder, sha256_of
from editinfinity.files.state_dicts import weight_files_in
from editinfinity.presets import PRESETS
from editinfinity.released.catalogue import PARTS
from editinfinity.released.convert import CONVERTED
from editinfinity.released.expected import Comparison, compare
from editinfinity.released.record import REPORT, recorded
from editinfinity.released.stored import open_state


@dataclass(frozen=True)
class Verdict:
    """What a file is.

    Attributes:
        path: the file, or the first of its shards.
        model, part: whose it is.
        comparison: how it compares with that.
        checksum: whether its bytes are those that were written; None where nothing says.
    """

    path: Path
    model: str
    part: str
    comparison: Comparison
    checksum: bool | None

    @property
    def sound(self) -> bool:
        """Whether it can be used."""
        return self.comparison.fits and self.checksum is not False

    def line(self) -> str:
        """One line for people."""
        if not self.comparison.fits:
            return (
                f"{self.path}: resembles {self.model}'s {self.part}, but {self.comparison.faults()}"
            )
        if self.checksum is False:
            return f"{self.path}: is not as it was written (its checksum differs); convert it again"
        checked = ", checksum right" if self.checksum else ""
        return (
            f"{self.path}: {self.model}'s {self.part}, complete: {len(self.comparison.tensors)} "
            f"tensors, {self.comparison.parameters / 1e6:,.1f} million parameters{checked}"
        )


def verify(path: Path, checksums: bool = True) -> list[Verdict]:
    """Look at a file of weights, the folder of its shards, or a converted model's folder.

    Args:
        path: the file or folder.
        checksums: read converted files whole and compare their checksums too.

    Returns:
        A verdict for each part found.

    Raises:
        UserError: there is no such file, it is damaged or cut short, or no model's.
    """
    if not is_folder(path):
        return [_verdict([path], checksums)]
    if not (path / REPORT).is_file():
        return [_verdict(weight_files_in(path), False)]
    converted = [path / name for name in CONVERTED.values()]
    for file in converted:
        if not file.is_file():
            raise UserError(f"{file}: there is no such file; convert the model again")
    return [_verdict([file], checksums) for file in converted]


def _verdict(files: list[Path], checksums: bool) -> Verdict:
    state, first = open_state(files), files[0]
    candidates: list[tuple[str, str, Comparison]] = []
    for preset in PRESETS.values():
        for part in PARTS:
            if part == "text_encoder" and not (first.parent / "config.json").is_file():
                continue
            with suppress(UserError, KeyError):  # a text encoder of another width or kind
                found = compare(state, preset, part, first.parent)
                if found.alike:
                    candidates.append((preset.name, part, found))
    if not candidates:
        raise UserError(f"{first}: holds the weights of no model known here")
    # What fits wins; else what has the most in common.
    model, part, found = max(candidates, key=lambda each: (each[2].fits, each[2].alike))
    known = recorded(first) if checksums else None
    checksum = None if known is None else sha256_of(first) == known.sha256
    return Verdict(first, model, part, found, checksum)
