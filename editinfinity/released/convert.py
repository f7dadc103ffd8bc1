"""Convert released files to the workflow's layout (:mod:`editinfinity.files.model_folder`).

Reads flat and nested pickles, Hugging Face shards, both naming schemes of the tokenizer and both
layouts of ``scale_mul``. Only one tensor is in memory at a time. Data types stay as released, so no
value changes, unless bf16 is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from editinfinity.errors import UserError
from editinfinity.files.atomic import write_bytes, write_json
from editinfinity.files.loading import build_on_meta
from editinfinity.files.model_folder import RECORD_NAME
from editinfinity.files.state_dicts import find_weight_files
from editinfinity.files.text_encoder_weights import check_vocabulary
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset
from editinfinity.released.catalogue import PARTS, T5, check_dtype, release
from editinfinity.released.expected import compare
from editinfinity.released.stored import StoredState, StoredTensor, dtype_names, open_state
from editinfinity.released.streaming import write_streamed

log = logging.getLogger(__name__)

KIND = "model_weights"

CONVERTED = {
    "tokenizer": "tokenizer.safetensors",
    "transformer": "transformer.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
"""Part name → path of its converted file, relative to the model's folder."""


@dataclass(frozen=True)
class ConvertedPart:
    """The result of converting one part.

    Attributes:
        file: the converted file.
        sha256: SHA-256 of that file.
        bytes: size of that file.
        tensors, parameters: number of tensors and of parameters in it.
        dtypes: data types of its tensors, that of most parameters first.
        sources: names of the released files.
        unused: names of released tensors that were left out.
    """

    file: Path
    sha256: str
    bytes: int
    tensors: int
    parameters: int
    dtypes: list[str]
    sources: list[str]
    unused: list[str]

    def entry(self, folder: Path) -> dict[str, Any]:
        """Return the part's entry in the record, with paths relative to ``folder``."""
        file = self.file.relative_to(folder).as_posix()
        return {**asdict(self), "file": file, "missing": [], "unexpected": []}


def released_files(model: str, folder: Path) -> dict[str, list[Path]]:
    """Find the files of a released model in a plain folder, by part.

    Raises:
        UserError: if a file is missing, or several files match.
    """
    return {
        part: find_weight_files(folder, source.pattern, f"{model}'s {part}")
        for part, source in release(model).items()
    }


def convert(
    preset: Preset,
    files: Mapping[str, Sequence[Path]],
    folder: Path,
    dtype: str = "released",
) -> dict[str, ConvertedPart]:
    """Convert a released model into ``folder``, and write a record of it there.

    Args:
        preset: the model.
        files: part → its released files, from ``released_files`` or ``fetch``.
        folder: folder for the converted files; created if missing.
        dtype: ``released`` keeps all data types. ``bf16`` stores in bf16 what runs in bf16 on a
            GPU, the linear layers of the transformer's blocks, and the text encoder. The rest of
            the transformer runs in fp32, and the signs of the tokenizer's output are the bits of
            the photograph, so these stay as released.

    Returns:
        Part → result of its conversion.

    Raises:
        UserError: if ``dtype`` is another, if a file is damaged or belongs to another model, or if
            a converted file does not contain what was written. Parts that were already converted
            stay.
    """
    check_dtype(dtype)
    done = {part: _convert_part(preset, part, files[part], folder, dtype) for part in PARTS}
    record = {
        "model": preset.name,
        "parts": {part: converted.entry(folder) for part, converted in done.items()},
    }
    write_json(folder / RECORD_NAME, record)
    return done


def _convert_part(
    preset: Preset, part: str, files: Sequence[Path], folder: Path, dtype: str
) -> ConvertedPart:
    source = files[0].parent
    found = compare(open_state(files), preset, part, source)
    if not found.fits:
        for kind in ("missing", "unexpected", "misshapen"):
            for name in getattr(found, kind):
                log.info("%s: %s", kind, name)
        raise UserError(
            f"{files[0]}: is not {preset.name}'s {part}: {found.differences()}; check the file"
        )
    tensors = found.tensors
    if dtype == "bf16":
        tensors = _rounded(tensors, preset, part)
    if part == "text_encoder":
        check_vocabulary(source)
    target = folder / CONVERTED[part]
    metadata = {"kind": KIND, "model": preset.name, "part": part}
    log.info("%s: %d tensors of %s", target, len(tensors), ", ".join(f.name for f in files))
    digest = write_streamed(target, tensors, metadata)
    if part == "text_encoder":
        _copy_configuration(source, target.parent)
    _verify_written(target, tensors)
    return ConvertedPart(
        target,
        digest,
        target.stat().st_size,
        len(tensors),
        found.parameters,
        dtype_names(tensors),
        [file.name for file in files],
        found.unused,
    )


def _rounded(tensors: StoredState, preset: Preset, part: str) -> dict[str, StoredTensor]:
    """Return a part's tensors, those that ``convert`` stores in bf16 rounded when they are read."""
    names = {*tensors} if part == "text_encoder" else set[str]()
    if part == "transformer":
        model = build_on_meta(lambda: Infinity(preset.transformer).set_block_dtype(torch.bfloat16))
        names = {name for name, each in model.state_dict().items() if each.dtype == torch.bfloat16}

    def rounded(tensor: StoredTensor) -> StoredTensor:
        return replace(tensor, dtype=torch.bfloat16, read=lambda: tensor.read().bfloat16())

    return {
        name: rounded(tensor) if name in names and tensor.dtype.is_floating_point else tensor
        for name, tensor in tensors.items()
    }


def _verify_written(target: Path, tensors: StoredState) -> None:
    """Read the written file with the safetensors library, and compare every tensor bit by bit."""
    written = open_state([target])
    if written.keys() != tensors.keys():
        raise UserError(f"{target}: does not contain what was written; convert again")
    for name, stored in tensors.items():
        same = torch.equal(written[name].read(), stored.read())
        stored.release()
        if not same:
            raise UserError(
                f"{target}: {name} is not what was written; check the disk and convert again"
            )


def _copy_configuration(source: Path, target: Path) -> None:
    """Copy the text encoder's other files (configuration, vocabulary) that the release contains."""
    for name in T5.files:
        if "safetensors" not in name and (source / name).is_file():
            try:
                content = (source / name).read_bytes()
            except OSError as error:
                raise UserError(f"{source / name}: cannot be read ({error.strerror})") from None
            write_bytes(target / name, content)
        elif "safetensors" not in name:
            (target / name).unlink(missing_ok=True)  # of an earlier conversion
