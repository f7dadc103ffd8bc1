"""``crop: auto`` as a scalar for Snakemake: which part of a photograph a case is learned from.

A case is learned once for all its edits, so the crop holds the masks of all of them. It is worked
out while the workflow is planned, from the masks alone, so that a mask which moves the crop
learns the case anew and one which does not changes only its own edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editinfinity.cases.case import Case
from editinfinity.errors import UserError
from editinfinity.planning.model import effective

FULL, AUTO = "full", "auto"


def crop_of(case: Case) -> str:
    """``full`` or ``top,left,height,width``.

    The whole photograph where an edit has no mask of the user's to crop by, or a file cannot be
    read, which ``check`` tells.
    """
    settings: Mapping[str, Any] = case.settings
    edits = list(case.edits.values())
    if settings["crop"] == FULL or any(edit.mask_source != "user" for edit in edits):
        return FULL
    # Pillow and numpy are of no use to other cases' planning.
    from editinfinity.files.cropping import crop_around, region_text
    from editinfinity.files.masks import read_mask
    from editinfinity.files.opening import size_upright

    try:
        size = size_upright(case.image)
        masks = [
            read_mask(
                edit.mask,
                size,
                edit.settings["mask_edit_region"],
                edit.settings["mask_grow"],
                case.image,
            )
            for edit in edits
            if edit.mask is not None
        ]
        if len(masks) < len(edits):
            return FULL
        return region_text(crop_around(masks, effective("pixel_budget", settings)))
    except UserError:
        return FULL
