"""Whose weights a file holds, and whether it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.given import require_file, sha256_of
from editinfinity.files.state_dicts import LARGEST, weight_files_in
from editinfinity.presets import PRESETS, Preset
from editinfinity.released.convert import CONVERTED
from editinfinity.released.expected import Comparison, compare, expected
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
    if os.path.isdir(path):  # noqa: PTH112 - Path's raises for a name that is too long
        if (path / REPORT).is_file():
            return list(_verify_converted(path, checksums))
        return [_verdict(weight_files_in(path), False)]
    require_file(path, LARGEST, "fetch or convert it first")
    return [_verdict([path], checksums)]


def _verify_converted(folder: Path, checksums: bool) -> Iterator[Verdict]:
    for name in CONVERTED.values():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: there is no such file; convert the model again")
        yield _verdict([path], checksums)


def _verdict(files: list[Path], checksums: bool) -> Verdict:
    state = open_state(files)
    best: tuple[int, Preset, str, Comparison] | None = None
    for preset in PRESETS.values():
        for part in ("tokenizer", "transformer", "text_encoder"):
            if part == "text_encoder" and not (files[0].parent / "config.json").is_file():
                continue
            try:
                found = compare(state, expected(preset, part, files[0].parent))
            except (UserError, KeyError):  # a text encoder of another width or kind
                continue
            alike = len(found.tensors) - len(found.misshapen)
            # What fits wins; else what has the most in common.
            score = alike + 10**9 * found.fits
            if alike and (best is None or score > best[0]):
                best = score, preset, part, found
    if best is None:
        raise UserError(f"{files[0]}: holds the weights of no model known here")
    known = recorded(files[0]) if checksums else None
    checksum = None if known is None else sha256_of(files[0]) == known.sha256
    return Verdict(files[0], best[1].name, best[2], best[3], checksum)
