"""Where a picture is edited: the user's mask, or the cells an attention map leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict, Unpack

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import ATTENTION, load_map
from editinfinity.files.masks import read_mask
from editinfinity.method.locate import EditedRegion, region_of_attention, region_of_mask
from editinfinity.scales import reference_grid


class Where(TypedDict, total=False):
    """What says where an edit goes.

    Attributes:
        mask: the user's mask; give this or ``attention``.
        photograph: its file, by whose name a mask of COCO that is of several images is searched.
        attention: of ``collect_attention``.
        mask_edit_region: which part of the user's mask is edited, of
            ``editinfinity.files.masks.REGIONS``; ``black`` unless said.
        mask_grow: pixels of the photograph by which the user's mask is made larger.
        attention_threshold: cells above min + threshold·(max − min) of the map are edited; 0.5
            unless said.
    """

    mask: Path | None
    photograph: Path | None
    attention: Path | None
    mask_edit_region: str
    mask_grow: int
    attention_threshold: float


def find_region(geometry: Geometry, **where: Unpack[Where]) -> tuple[EditedRegion, dict[str, Any]]:
    """The region of an edit, and what decided it, for metadata.

    Args:
        geometry: what the model sees of the photograph.
        where: the edit goes.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    mask, attention = where.get("mask"), where.get("attention")
    if (mask is None) == (attention is None):
        raise UserError("mask: give either a mask or an attention map, not both or neither")
    if mask is not None:
        part, grow = where.get("mask_edit_region", "black"), where.get("mask_grow", 0)
        whole = read_mask(mask, geometry.image_size, part, grow, where.get("photograph"))
        facts: dict[str, Any] = {"mask_source": "user", "mask_edit_region": part}
        if grow:
            facts["mask_grow"] = grow
        return region_of_mask(whole, geometry, mask, part), facts
    assert attention is not None
    threshold = where.get("attention_threshold", 0.5)
    shown, found = load_map(attention, ATTENTION, reference_grid(geometry.model_size))
    word = found["target_word"]
    facts = {"mask_source": "attention", "target_word": word, "attention_threshold": threshold}
    return region_of_attention(shown, threshold, word), facts
