"""The settings that ``EditInfinityPipeline.edit`` takes, as a type for type checkers and editors.

Each key is a field of a group in ``editinfinity.settings.groups``, with the same type; a null of
config.yaml is None. A test compares the two.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class EditKwargs(TypedDict, total=False):
    """Settings of a drawing, of the place it edits and of how it is pasted back."""

    seed: int
    cfg: float | None
    tau: float | None
    top_k: int
    top_p: float
    guidance: Literal["cfg", "source_negative", "editmod", "aredit", "bitresedit"]
    editmod_preset: Literal["preserve", "target"]
    editmod_copy: int | None
    editmod_mix: int | None
    editmod_confidence: float
    aredit_threshold: float
    lock_scales: int
    smoothing: (
        Literal["linear", "paper", "hard", "gaussian", "dilated", "bitresedit", "none"] | None
    )
    mask_edit_region: Literal["black", "white", "transparent", "opaque"]
    mask_grow: int
    attention_threshold: float
    attention_scales: Literal["all", "fine"]
    prompt_map_threshold: float | None
    prompt_map_filter: bool
    prompt_map_grow: int
    background: Literal["detail", "exact", "decoded"]
    mask_feather: float | None
    gps: Literal["keep", "drop"]
    provenance: bool
