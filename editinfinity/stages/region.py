"""Where a picture is edited: the user's mask, or the cells an attention map leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import ATTENTION, load_map
from editinfinity.files.masks import read_mask
from editinfinity.method.locate import EditedRegion, region_of_attention, region_of_mask
from editinfinity.scales import reference_grid
from editinfinity.settings.groups import MaskSettings


def find_region(
    geometry: Geometry,
    *,
    mask: Path | None = None,
    photograph: Path | None = None,
    attention: Path | None = None,
    **settings: Any,
) -> tuple[EditedRegion, dict[str, Any]]:
    """The region of an edit, and what decided it, for metadata.

    Args:
        geometry: what the model sees of the photograph.
        mask: the user's mask; give this or ``attention``.
        photograph: its file, by whose name a mask of COCO that is of several images is searched.
        attention: of ``collect_attention``.
        settings: of ``MaskSettings``, by name.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    by = MaskSettings(**settings)
    if (mask is None) == (attention is None):
        raise UserError("mask: give either a mask or an attention map, not both or neither")
    if mask is not None:
        part = by.mask_edit_region
        whole = read_mask(mask, geometry.image_size, part, by.mask_grow, photograph)
        facts: dict[str, Any] = {"mask_source": "user", "mask_edit_region": part}
        if by.mask_grow:
            facts["mask_grow"] = by.mask_grow
        return region_of_mask(whole, geometry, mask, part), facts
    assert attention is not None
    threshold = by.attention_threshold
    shown, found = load_map(attention, ATTENTION, reference_grid(geometry.model_size))
    word = found["target_word"]
    facts = {"mask_source": "attention", "target_word": word, "attention_threshold": threshold}
    return region_of_attention(shown, threshold, word), facts
