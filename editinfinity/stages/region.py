"""The edited region of a picture, from the user's mask or blend mask, or from a map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError
from editinfinity.files.blends import read_blend
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import ATTENTION, PromptMaps, load_map
from editinfinity.files.masks import read_mask
from editinfinity.method.locate import (
    EditedRegion,
    region_of_attention,
    region_of_blend,
    region_of_mask,
    region_of_prompts,
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
    prompt_map: Path | None = None,
    find_mask: str | None = None,
    pixels: Callable[[], NDArray[np.uint8]] | None = None,
    **settings: Any,
) -> tuple[EditedRegion, dict[str, Any]]:
    """Return the region of an edit, and metadata that describes how it was determined.

    Args:
        geometry: the model's crop of the photograph.
        mask: file of the user's mask; give either this, ``attention``, ``blend`` or
            ``prompt_map``.
        photograph: file of the photograph. Its name selects the image in an annotation file
            that covers several.
        attention: output of ``collect_attention``.
        blend: file of the user's own blend mask.
        prompt_map: output of ``find_place``.
        find_mask: which of its maps decides: ``words``, ``bits`` or ``both`` (None is ``both``).
        pixels: returns the crop at the model's size, (H, W, 3); for ``prompt_map``.
        settings: fields of ``MaskSettings``, by name.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    mask_settings = MaskSettings(**settings)
    if sum(file is not None for file in (mask, attention, blend, prompt_map)) != 1:
        raise UserError(
            "mask: give either a mask, an attention map, a blend mask or prompt maps, only one"
        )
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
    if prompt_map is not None:
        assert pixels is not None
        maps, source = PromptMaps.load(prompt_map, grid), find_mask or "both"
        metadata = {
            "mask_source": source,
            "gone": list(maps.gone),
            "new": list(maps.new),
            "prompt_map_threshold": mask_settings.prompt_map_threshold,
            "prompt_map_filter": mask_settings.prompt_map_filter,
            "prompt_map_grow": mask_settings.prompt_map_grow,
        }
        return region_of_prompts(maps, source, pixels(), mask_settings), metadata
    assert attention is not None
    threshold = mask_settings.attention_threshold
    values, made_with = load_map(attention, ATTENTION, grid)
    word = made_with["target_word"]
    metadata = {"mask_source": "attention", "target_word": word, "attention_threshold": threshold}
    if "attention_scales" in made_with:
        metadata["attention_scales"] = made_with["attention_scales"]
    return region_of_attention(values, threshold, word), metadata
