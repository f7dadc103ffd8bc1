"""Stage ``kernel``: from a mask or an attention map to the blending weights G."""

from __future__ import annotations

from pathlib import Path


def make_kernel(
    *,
    image_features: Path,
    output: Path,
    mask: Path | None = None,
    attention: Path | None = None,
    mask_edit_region: str = "black",
    smoothing: str = "linear",
    attention_threshold: float = 0.5,
    mask_image: Path | None = None,
    heatmap: Path | None = None,
) -> None:
    """Make the smoothing kernel of an edit (no model runs).

    Args:
        image_features: for the photograph's geometry and ratio.
        output: safetensors with ``kernel`` (h, w) fp32 on the ratio's 1M last scale: 1 keeps the
            source, 0 is edited freely.
        mask: the user's mask; give this or ``attention``.
        attention: of ``collect_attention``.
        mask_edit_region: ``black`` or ``white``: the side of the user's mask that is edited.
        smoothing: a key of ``editinfinity.editing.kernel.SMOOTHINGS``.
        attention_threshold: cells above min + threshold·(max − min) of the map are edited.
        mask_image: PNG of the edited region, black = edited, at the photograph's size, if wanted.
        heatmap: PNG of the attention over the photograph's crop at model size, if wanted (needs
            ``attention``; with a mask it shows the mask instead).

    Raises:
        UserError: the mask cannot be read or does not fit the photograph.
    """
    raise NotImplementedError
