"""The edited region of a picture, from the user's mask or blend mask, or an attention map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editinfinity.errors import UserError
from editinfinity.files.blends import read_blend
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import ATTENTION, load_map
from editinfinity.files.masks import read_mask
from editinfinity.method.locate import (
    EditedRegion,
    region_of_attention,
    region_of_blend,
    region_of_mask,
)
from editinfinity.scales import reference_grid
from editinfinity.settings.groups import MaskSettings


def find_region(
    geometry: Geometry,
    *,
    mask: Path | None = None,
    photograph: Path | None = None,
    attention: Path | None = None,
    blend: Path | None = None,
    **settings: Any,
) -> tuple[EditedRegion, dict[str, Any]]:
    """Return the region of an edit, and metadata that describes how it was determined.

    Args:
        geometry: the model's crop of the photograph.
        mask: file of the user's mask; give either this, ``attention`` or ``blend``.
        photograph: file of the photograph. Its name selects the image in a COCO file that
            annotates several images.
        attention: output of ``collect_attention``.
        blend: file of the user's own blend mask.
        settings: fields of ``MaskSettings``, by name.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    mask_settings = MaskSettings(**settings)
    if sum(file is not None for file in (mask, attention, blend)) != 1:
        raise UserError("mask: give either a mask, an attention map or a blend mask, only one")
    grid = reference_grid(geometry.model_size)
    if blend is not None:
        # smoothing is recorded by stages, but does not apply.
        metadata: dict[str, Any] = {"mask_source": "blend", "smoothing": None}
        return region_of_blend(read_blend(blend, grid), blend), metadata
    if mask is not None:
        part, notices = mask_settings.mask_edit_region, list[str]()
        full_mask = read_mask(
            mask, geometry.image_size, part, mask_settings.mask_grow, photograph, notices
        )
        metadata = {"mask_source": "user", "mask_edit_region": part}
        if mask_settings.mask_grow:
            metadata["mask_grow"] = mask_settings.mask_grow
        return region_of_mask(full_mask, geometry, mask, notices), metadata
    assert attention is not None
    threshold = mask_settings.attention_threshold
    values, made_with = load_map(attention, ATTENTION, grid)
    word = made_with["target_word"]
    metadata = {"mask_source": "attention", "target_word": word, "attention_threshold": threshold}
    return region_of_attention(values, threshold, word), metadata
