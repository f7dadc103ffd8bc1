"""Alias of :mod:`editinfinity.editing.blend_mask` under the module's former name."""

from editinfinity.editing.blend_mask import SMOOTHINGS as SMOOTHINGS
from editinfinity.editing.blend_mask import make_blend_mask as smoothing_kernel

__all__ = ["SMOOTHINGS", "smoothing_kernel"]
