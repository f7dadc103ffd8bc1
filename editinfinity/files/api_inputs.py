"""Inputs of the Python API: files, or pictures and masks in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from editinfinity.environment import Environment
from editinfinity.errors import UserError
from editinfinity.files.blends import check_blend, read_blend
from editinfinity.files.cropping import AUTO, FULL, Region, crop_around, parse_region
from editinfinity.files.maps import Map
from editinfinity.files.masks import mask_of_box, mask_of_picture, read_mask, uniform_mask_notice
from editinfinity.files.opening import open_picture
from editinfinity.files.photograph import Photograph, photograph_of, read_photograph
from editinfinity.files.pixels import to_rgb
from editinfinity.files.provenance import Fingerprint, Provenance, settings_used
from editinfinity.scales import Grid

Picture = Path | str | Image.Image
"""A file path, or a picture in memory."""

MaskLike = Path | str | Image.Image | NDArray[np.bool_] | tuple[int, int, int, int]
"""A mask: a file path (picture, polygons or box), a picture in memory, a bool array that is True
where the photograph is edited, or a box (x, y, width, height)."""

BlendLike = Path | str | NDArray[np.floating]
"""A blend mask of the user's own: a file path, or an array of floats."""


def prompts_of(prompt: str | list[str] | tuple[str, ...]) -> Sequence[str]:
    """Return one prompt or several as several.

    Raises:
        UserError: one of them is no text.
    """
    prompts: Sequence[str] = prompt if isinstance(prompt, list | tuple) else [prompt]
    for text in prompts:
        if not isinstance(text, str):
            raise UserError(
                f"prompt: is of type {type(text).__name__}; give a text, or a list of texts"
            )
    return prompts


def open_photograph(image: Picture) -> tuple[Photograph, Image.Image]:
    """Return the photograph unchanged, and converted to RGB for the model.

    Raises:
        UserError: it is neither a picture nor the path of one that can be read.
    """
    if not isinstance(image, Image.Image | Path | str):
        raise UserError(
            f"image: is of type {type(image).__name__}; give a path or a picture of Pillow, "
            "e.g. PIL.Image.fromarray(array)"
        )
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image)
        return photograph_of(upright.copy()), to_rgb(upright)
    path = Path(image)
    return read_photograph(path), to_rgb(open_picture(path))


def mask_of(
    mask: MaskLike,
    size: tuple[int, int],
    edit_region: str = "black",
    notices: list[str] | None = None,
) -> NDArray[np.bool_]:
    """Convert any kind of mask to an (H, W) array, True where edited.

    Args:
        mask, edit_region, notices: see ``editinfinity.files.masks.read_mask``.
        size: (height, width) of the upright photograph.

    Raises:
        UserError: the mask cannot be read, has an unsupported type, or does not match the size of
            the photograph.
    """
    if isinstance(mask, str | Path):
        return read_mask(Path(mask), size, edit_region, notices=notices)
    if isinstance(mask, Image.Image):
        return mask_of_picture(mask, size, edit_region, notices=notices)
    if isinstance(mask, tuple | list):
        return mask_of_box(",".join(map(str, mask)), size, "mask")
    # Arrays of other types are ambiguous: it is not clear which values mean "edited".
    dtype = getattr(mask, "dtype", type(mask).__name__)
    if not isinstance(mask, np.ndarray) or mask.dtype != bool:
        raise UserError(
            f"mask: has type {dtype}; give an array of bool that is True where edited, a picture, "
            "a file or (x, y, width, height)"
        )
    if mask.shape != size:
        raise UserError(f"mask: has shape {mask.shape}, but the photograph has {size}")
    if notices is not None and (notice := uniform_mask_notice(mask, "mask")):
        notices.append(notice)
    return mask


def blend_of(blend: BlendLike, grid: Grid) -> Map:
    """Convert any kind of blend mask to an (h, w) array on a grid.

    Raises:
        UserError: it cannot be read, or does not match the grid.
    """
    if isinstance(blend, str | Path):
        return read_blend(Path(blend), grid)
    return check_blend(blend, grid)


def crop_of(
    crop: str | Region,
    mask: MaskLike | None,
    edit_region: str,
    photograph: Photograph,
    budget: str,
) -> Region | None:
    """Return the region of the photograph to invert; None for the whole photograph.

    Raises:
        UserError: ``crop`` is invalid or lies outside the photograph, or it is ``auto`` and no
            mask is given.
    """
    if isinstance(crop, tuple | list):
        return parse_region(",".join(map(str, crop)), photograph.size)
    if crop == AUTO:
        if mask is None:
            raise UserError("crop: 'auto' needs a mask to crop around; pass mask to invert() too")
        return crop_around([mask_of(mask, photograph.size, edit_region)], budget)
    if crop != FULL:
        raise UserError(f"crop: {crop!r} is not 'full', 'auto' or (top, left, height, width)")
    return None


def fingerprint_of(image: Picture) -> Fingerprint | None:
    """Return the fingerprint of a photograph's file; None for a picture in memory."""
    return None if isinstance(image, Image.Image) else Fingerprint.of_file(Path(image))


def provenance_of_edit(
    made: Provenance,
    prompt: str,
    mask_source: str,
    *,
    use_embedding: bool,
    use_lora: bool,
    settings: Mapping[str, Any],
    environment: Environment,
) -> Provenance:
    """Return what makes an edit, as the workflow records it, without its place.

    Args:
        made: provenance of the inversion.
        prompt: the edit's prompt.
        mask_source: where the edited region comes from, as in the setting of this name.
        use_embedding, use_lora: arguments of ``edit``.
        settings: settings of ``edit``, single values.
        environment: device, threads and versions.
    """
    learned = made.settings
    base = learned["train_textembedding_iter"]
    embedding = base if use_embedding else 0
    lora = learned["train_lora_iter"] if use_lora else 0
    guidance, method = settings["guidance"], "inversion"
    if guidance != "cfg" and not embedding and not lora:
        method = "training_free" if guidance == "source_negative" else guidance
    values = {**learned, **settings, "method": method}
    trained = made.environment if embedding or lora else None
    return replace(
        made,
        prompt=prompt,
        settings=settings_used(values, mask_source, embedding, lora, base),
        environment=environment,
        training_environment=None if trained == environment else trained,
    )


def require_iterations(*counts: int) -> None:
    """Check that every argument is a valid number of iterations (an integer ≥ 0).

    Raises:
        UserError: an argument is not.
    """
    for count in counts:
        if not isinstance(count, Integral) or count < 0:
            raise UserError(f"iterations: {count!r} is not an integer ≥ 0")
