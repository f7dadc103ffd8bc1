"""Stage ``kernel``: make the blend mask G, from a mask, a map or the user's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from editinfinity.files.features import ImageFeatures
from editinfinity.files.maps import KERNEL, save_map
from editinfinity.method.locate import blend_mask_of
from editinfinity.settings.groups import PreservationSettings
from editinfinity.stages.region import find_region

log = logging.getLogger(__name__)


def make_kernel(
    *,
    image_features: Path,
    output: Path,
    smoothing: str = PreservationSettings.smoothing,
    **where: Any,
) -> None:
    """Compute the blend mask of an edit, without running a model.

    Args:
        image_features: output of ``extract_image_features``; provides geometry and ratio.
        output: safetensors file with ``kernel`` (h, w) fp32 on ``schedule.reference_grid``: 1 keeps
            the source, 0 takes the generated code.
        smoothing: a key of ``editinfinity.editing.blend_mask.SMOOTHINGS``.
        where: location of the edit, as keyword arguments of ``find_region``: mask, attention,
            blend or prompt_map, and fields of ``MaskSettings``.

    Raises:
        UserError: the mask cannot be read, does not fit the photograph, or is entirely outside
            the model's crop.
    """
    source = ImageFeatures.load(image_features)
    region, made_of = find_region(source.geometry, pixels=lambda: source.pixels, **where)
    blend_mask = blend_mask_of(region, source.schedule, smoothing)
    save_map(output, KERNEL, blend_mask, {"smoothing": smoothing, **made_of})
    log.info("%s: %.1f %% of the cells are edited freely", output, 100 * (blend_mask == 0).mean())
