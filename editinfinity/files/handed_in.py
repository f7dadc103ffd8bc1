"""``api_inputs`` by the name that it had before."""

from editinfinity.files.api_inputs import MaskLike as MaskLike
from editinfinity.files.api_inputs import Picture as Picture
