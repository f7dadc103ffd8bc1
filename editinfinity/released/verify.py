"""Find out which part of which model a weight file contains, and whether it is complete."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder, sha256_of
from editinfinity.files.model_folder import RECORD_NAME
from editinfinity.files.state_dicts import weight_files_in
from editinfinity.presets import PRESETS
from editinfinity.released.catalogue import PARTS
from editinfinity.released.convert import CONVERTED
from editinfinity.released.expected import Comparison, compare
from editinfinity.released.record import find_entry
from editinfinity.released.stored import dtype_names, open_state


@dataclass(frozen=True)
class Verdict:
    """The result of verifying a weight file.

    Attributes:
        path: the file, or the first of its shards.
        model, part: the model and the part that it matches best. Several models may share a part;
            they are listed, unless the record of the conversion names one.
        comparison: how its tensors differ from those of that part.
        checksum: whether its SHA-256 is the recorded one; None if it was not compared.
    """

    path: Path
    model: str
    part: str
    comparison: Comparison
    checksum: bool | None

    @property
    def usable(self) -> bool:
        """Whether the file can be used."""
        return self.comparison.fits and self.checksum is not False

    def line(self) -> str:
        """Describe the verdict in one line, for users."""
        if not self.comparison.fits:
            return (
                f"{self.path}: resembles {self.model}'s {self.part}, but "
                f"{self.comparison.differences()}"
            )
        if self.checksum is False:
            return f"{self.path}: has changed (its checksum differs); convert it again"
        checked = ", checksum correct" if self.checksum else ""
        return (
            f"{self.path}: {self.model}'s {self.part}, complete: {len(self.comparison.tensors)} "
            f"tensors, {self.comparison.parameters / 1e6:,.1f} million parameters in "
            f"{' and '.join(dtype_names(self.comparison.tensors))}{checked}"
        )


def verify(path: Path, checksums: bool = True) -> list[Verdict]:
    """Verify a weight file, the folder of its shards, or a converted model's folder.

    Args:
        path: the file or folder.
        checksums: also read converted files completely and compare their checksums.

    Returns:
        A verdict for each part found.

    Raises:
        UserError: if a file is missing, damaged or truncated, or belongs to no known model.
    """
    if not is_folder(path):
        return [_verdict([path], checksums)]
    if not (path / RECORD_NAME).is_file():
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
                if found.matching:
                    candidates.append((preset.name, part, found))
    if not candidates:
        raise UserError(f"{first}: matches no known model; give the weights of one")
    # Prefer an exact match, else the part with the most matching tensors.
    model, part, found = max(candidates, key=lambda each: (each[2].fits, each[2].matching))
    entry = find_entry(first)
    if found.fits:
        models = [name for name, _, other in candidates if other.fits]
        model = entry.model if entry and entry.model in models else " or ".join(models)
    checksum = sha256_of(first) == entry.sha256 if entry and checksums else None
    return Verdict(first, model, part, found, checksum)
