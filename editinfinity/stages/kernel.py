"""Stage ``kernel``: from a mask or an attention map to the blending weights G."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Unpack

from editinfinity.files.features import ImageFeatures
from editinfinity.files.maps import KERNEL, save_map
from editinfinity.files.masks import require_seen
from editinfinity.stages.region import Where, find_region, kernel_of

log = logging.getLogger(__name__)

UNSEEN_WORTH_TELLING = 0.02
"""Share of a mask; of most photographs the model sees all but a sliver."""


def make_kernel(
    *, image_features: Path, output: Path, smoothing: str = "linear", **where: Unpack[Where]
) -> None:
    """Make the smoothing kernel of an edit (no model runs).

    Args:
        image_features: for the photograph's geometry and ratio.
        output: safetensors with ``kernel`` (h, w) fp32 on the ratio's 1M last scale: 1 keeps the
            source, 0 is edited freely.
        smoothing: a key of ``editinfinity.editing.kernel.SMOOTHINGS``.
        where: the edit goes.

    Raises:
        UserError: the mask cannot be read, does not fit the photograph, or lies where the model
            sees nothing of it.
    """
    source = ImageFeatures.load(image_features)
    region = find_region(source.geometry, **where)
    require_seen(region.unseen, region.name)
    if region.unseen >= UNSEEN_WORTH_TELLING:
        log.warning(
            "%s: %.0f %% of what it marks lies outside the part of the photograph that the model "
            "sees, and stays as it is",
            region.name,
            100 * region.unseen,
        )
    kernel = kernel_of(region.edited, source.schedule, smoothing, region.name, region.edit_region)
    save_map(output, KERNEL, kernel, {"smoothing": smoothing, **region.made_of})
    log.info("%s: %.1f %% of the cells are edited freely", output, 100 * (kernel == 0).mean())
