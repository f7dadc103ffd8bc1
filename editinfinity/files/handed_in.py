"""Alias of :mod:`editinfinity.files.api_inputs` under the module's former name."""

from editinfinity.files.api_inputs import MaskLike as MaskLike
from editinfinity.files.api_inputs import Picture as Picture
