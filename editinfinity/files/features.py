"""Feature files: outputs of the tokenizer and the text encoder, saved for all later stages.

This module does not import torch, so that stages that run no model start quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.tensors import load_arrays, save_tensors
from editinfinity.prompts import CAPTION_SUFFIX, Span
from editinfinity.scales import Grid, ScaleSchedule

IMAGE_KIND = "image_features"
TEXT_KIND = "text_features"


@dataclass(frozen=True)
class ImageFeatures:
    """A photograph as encoded by the tokenizer.

    Attributes:
        preset: name of the preset whose tokenizer encoded it.
        schedule: its scale schedule.
        geometry: which part of the photograph was encoded.
        bits: one (h, w, d) bool array per scale, on the tokenizer's grids.
        raw: un-normalised features, (d, H, W) fp32.
        pixels: the tokenizer's input, (H, W, 3) uint8 RGB.
    """

    preset: str
    schedule: ScaleSchedule
    geometry: Geometry
    bits: Sequence[NDArray[np.bool_]]
    raw: NDArray[np.float32]
    pixels: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Write the file; equal features give equal bytes."""
        metadata = {
            **asdict(self.schedule),
            "kind": IMAGE_KIND,
            "preset": self.preset,
            "geometry": self.geometry.to_dict(),
        }
        bits = pack_bits(self.bits)
        save_tensors(path, {"bits": bits, "raw": self.raw, "pixels": self.pixels}, metadata)

    @classmethod
    def load(cls, path: Path) -> ImageFeatures:
        """Read the file.

        Raises:
            UserError: the file is missing, damaged, or of another kind.
        """
        arrays, meta = load_arrays(path, IMAGE_KIND, ("bits", "raw", "pixels"))
        try:
            schedule = ScaleSchedule(meta["ratio"], meta["pixel_budget"], meta["patchify"])
            bits = unpack_bits(arrays["bits"], schedule.tokenizer_scales, len(arrays["raw"]))
            geometry = Geometry.from_dict(meta["geometry"])
            preset = str(meta["preset"])
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path}: is damaged ({error}); delete it and run again") from None
        raw, pixels = arrays["raw"], arrays["pixels"]
        return cls(preset, schedule, geometry, bits, raw, pixels)


@dataclass(frozen=True)
class PromptFeatures:
    """A prompt as encoded by the text encoder, with or without the caption suffix.

    Attributes:
        preset: name of the preset whose text encoder encoded it.
        prompt: the prompt without the suffix.
        features: token features, (T, Ct5) fp32.
        offsets: for each token, its first and one-past-last character in the text that was encoded.
    """

    preset: str
    prompt: str
    features: NDArray[np.float32]
    offsets: Sequence[Span]

    @property
    def tokens(self) -> list[str]:
        """The text of each token; empty for special tokens."""
        text = self.prompt + CAPTION_SUFFIX  # the suffix has no token if it was not encoded
        return [text[start:end].strip() for start, end in self.offsets]

    def save(self, path: Path) -> None:
        """Write the file; equal features give equal bytes."""
        offsets = np.asarray(self.offsets, dtype=np.int32).reshape(-1, 2)
        metadata = {"kind": TEXT_KIND, "preset": self.preset, "prompt": self.prompt}
        save_tensors(path, {"features": self.features, "offsets": offsets}, metadata)

    @classmethod
    def load(cls, path: Path) -> PromptFeatures:
        """Read the file.

        Raises:
            UserError: the file is missing, damaged, or of another kind.
        """
        arrays, meta = load_arrays(path, TEXT_KIND, ("features", "offsets"))
        features, spans = arrays["features"], arrays["offsets"]
        try:
            offsets = [(int(start), int(end)) for start, end in spans]
            if features.ndim != 2 or len(features) != len(offsets) or not len(offsets):
                raise ValueError(f"{features.shape} features of {len(offsets)} tokens")
            return cls(str(meta["preset"]), str(meta["prompt"]), features, offsets)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"{path}: is damaged ({error}); delete it and run again") from None


def pack_bits(bits: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Pack the bits of all scales, one scale after another, eight bits per byte."""
    return np.packbits(np.concatenate([scale.reshape(-1) for scale in bits]))


def unpack_bits(
    packed: NDArray[Any], scales: Sequence[Grid], channels: int
) -> list[NDArray[np.bool_]]:
    """Return the bits (h, w, d) of every scale, the inverse of ``pack_bits``.

    Raises:
        ValueError: the number of bytes does not match the scales.
    """
    lengths = [h * w * channels for h, w in scales]
    if packed.size != -(-sum(lengths) // 8):
        raise ValueError(f"{packed.size} bytes cannot hold the bits of {len(scales)} scales")
    flat = np.unpackbits(packed, count=sum(lengths)).astype(bool)
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return [part.reshape(*grid, channels) for part, grid in zip(parts, scales, strict=True)]


def require_preset(actual: str, expected: str, path: Path) -> None:
    """Refuse a file that was made with another model.

    Raises:
        UserError: the file's preset is not the expected one.
    """
    if actual != expected:
        raise UserError(f"{path}: is for model {actual}, not {expected}; delete it and run again")
