"""Which pixels of a mask's picture are edited, for the ways in which programs draw masks.

Most draw black and white, or a transparent hole. Programs for labels write small numbers instead: 0
and 1, a number for each kind of object, or an index into PASCAL VOC's palette, in which 255 is the
unlabelled border of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.pixels import HIGH_BIT_DEPTH, is_transparent, to_grey, to_rgb

Mask = NDArray[np.bool_]

MASK_THRESHOLD = 128
"""Maximum grey value of a pixel that counts as black (as in the original implementation)."""

MAX_EDITED = 0.6
"""Share of a picture from which its edited part is probably the part that the user wants to keep.

Most other programs edit the white part of a mask, and most edits are smaller than this.
"""

_MAX_LABELS = 64
"""Maximum number of different values of a picture that is read as labels."""

_VOID = 255
"""Index of the unlabelled border of objects in PASCAL VOC's masks."""

_OF_ALPHA = ("transparent", "opaque")

_OTHERS = {
    "black": ("white", *_OF_ALPHA),
    "white": ("black", *_OF_ALPHA),
    "transparent": ("opaque", "white", "black"),
    "opaque": ("transparent", "white", "black"),
}
"""Edited region → the others, in the order in which they are advised."""

_LUMA = np.array((0.299, 0.587, 0.114))
"""Weights of red, green and blue in a grey value."""

_MIN_COLOUR = 48
"""Difference of a pixel's channels from which it is a colour rather than grey."""

_SAMPLE = 512
"""Maximum side of the picture whose colours are counted, in pixels."""


@dataclass(frozen=True)
class MaskPicture:
    """A mask's picture.

    Attributes:
        image: the picture, in which black and white (or alpha) mark the parts.
        void: pixels that are never edited, (H, W); None if there are none.
        labels: values that count as white, if there are several; else empty.
    """

    image: Image.Image
    void: Mask | None = None
    labels: tuple[float, ...] = ()

    @classmethod
    def of(cls, image: Image.Image) -> MaskPicture:
        """Return the picture of a mask, whose labels, if it has any, become black and white.

        Only a picture that would count as black everywhere, or white everywhere, or that has VOC's
        palette, can have labels.
        """
        if image.mode == "P" and not is_transparent(image):
            indices = np.asarray(image)
            if _has_palette_of_voc(image):
                return cls._of_labels(indices, image, indices == _VOID)
            return cls._of_labels(indices, image) if _is_uniform(image) else cls(image)
        image = narrowed(image)
        if image.mode in HIGH_BIT_DEPTH:
            values = np.nan_to_num(np.asarray(image))
            return cls._of_labels(values, image) if _is_uniform(image) else cls(image)
        if is_transparent(image):
            if np.asarray(_alpha(image)).min() < 255:
                return cls(image)
            image = to_rgb(image)
        return cls._of_one_brightness(image) if _is_uniform(image) else cls(image)

    @classmethod
    def _of_one_brightness(cls, image: Image.Image) -> MaskPicture:
        """Return the picture of a mask that is dark everywhere, or light everywhere.

        Colours, such as red on black or yellow on white, are told apart by one of their channels.
        """
        channels = np.asarray(to_rgb(image))
        for grey in (Image.fromarray(channels.max(-1)), Image.fromarray(channels.min(-1))):
            if not _is_uniform(grey):
                return cls(grey)
        brightest = channels.max(-1)
        return cls._of_labels(brightest, image) if brightest.min() <= MASK_THRESHOLD else cls(image)

    @classmethod
    def _of_labels(
        cls, values: NDArray[Any], image: Image.Image, void: Mask | None = None
    ) -> MaskPicture:
        """Return the picture of labels: black where they are lowest (VOC: 0), white elsewhere.

        If the values are too many for labels, or only one, the picture is kept as it is.
        """
        marked = values if void is None else values[~void]
        is_small = values.dtype == np.uint8  # np.unique sorts, which is slow
        labels = np.flatnonzero(np.bincount(marked.ravel())) if is_small else np.unique(marked)
        if void is None and not 1 < len(labels) <= _MAX_LABELS:
            return cls(image)
        background = labels[0] if void is None else 0
        white = np.where(values > background, np.uint8(255), np.uint8(0))
        objects = tuple(labels[labels > background].tolist())
        return cls(Image.fromarray(white), void, objects if len(objects) > 1 else ())

    def part(self, region: str) -> Mask:
        """Return one of the parts ``MASK_REGIONS``, (H, W)."""
        if region in _OF_ALPHA:
            alpha = np.asarray(_alpha(self.image))
            part = (alpha <= MASK_THRESHOLD) == (region == "transparent")
        else:
            grey = to_grey(self.image, background=255 if region == "black" else 0)
            part = (np.asarray(grey) <= MASK_THRESHOLD) == (region == "black")
        return part if self.void is None else part & ~self.void

    def doubts(self, edited: Mask, region: str, name: Path | str) -> list[str]:
        """Return lines about a mask that was probably meant otherwise.

        They never advise a region about which the next line would advise another one.

        Args:
            edited: ``part(region)``.
            region: the part that is edited.
            name: the mask's name, for the lines.
        """
        if self.labels:
            line = f"has several labels ({_listed(self.labels)}), which are all read as white"
            return [f"{name}: {line}", *self._doubts_of_share(edited, region, name)]
        if region not in _OF_ALPHA and (problem := self._ambiguity()):
            advised = self._first_plausible(*_OF_ALPHA)
            cure = _advice(advised) if advised else "save it with black and white only"
            return [f"{name}: {problem}; {cure}"]
        return self._doubts_of_share(edited, region, name)

    def _doubts_of_share(self, edited: Mask, region: str, name: Path | str) -> list[str]:
        share = edited.mean()
        if 0 < share <= MAX_EDITED:
            return []
        marked = (
            "everything" if share == 1 else f"{share:.0%} of the picture" if share else "nothing"
        )
        line = f"{name}: marks {marked} as edited ({region} is edited)"
        if advised := self._first_plausible(*_OTHERS[region]):
            condition = "" if share in (0, 1) else "if that is the part to keep, "
            return [f"{line}; {condition}{_advice(advised)}"]
        cure = f"make the part to edit {region}, and the rest {_OTHERS[region][0]}"
        return [f"{line}; {cure}"] if share in (0, 1) else []

    def _ambiguity(self) -> str | None:
        """Return why black and white are perhaps not what marks the parts, or None."""
        if self.image.mode == "L" and not any(self.image.histogram()[1:255]):
            return None  # it has only black and white
        if values := self._values_of_labels():
            return (
                f"has the values {_listed(values)}, like a map of labels, of which those up to "
                f"{MASK_THRESHOLD} are read as black"
            )
        colours = self._sample
        if _is_photograph(colours):
            return "looks like a photograph, whose dark part is read as black"
        dark = colours @ _LUMA <= MASK_THRESHOLD
        coloured = colours.max(-1) - colours.min(-1) > _MIN_COLOUR
        fewer, more = sorted([(coloured & dark).sum(), (coloured & ~dark).sum()])
        if fewer > max(len(colours) / 200, more / 3):
            return "has several colours, of which the dark ones are read as black"
        if _has_alpha(self.image) and 0.01 < dark.mean() < 0.99 and self.part("transparent").any():
            return "has black, white and transparent parts, of which the last are not used"
        return None

    def _first_plausible(self, *regions: str) -> str | None:
        """Return the first of the regions about which there would be no doubt."""
        for region in regions:
            if region in _OF_ALPHA and not _has_alpha(self.image):
                continue
            if region not in _OF_ALPHA and _is_photograph(self._sample):
                continue
            if 0 < self.part(region).mean() <= MAX_EDITED:
                return region
        return None

    def _values_of_labels(self) -> tuple[int, ...]:
        """Return the values of a grey picture if they look like labels, else an empty tuple.

        These are a few small values and a border of 255, or a few values that are common although
        they are neither black nor white.
        """
        if self.image.mode != "L":
            return ()
        counts = np.array(self.image.histogram())
        values = np.flatnonzero(counts)
        if not 2 < len(values) <= _MAX_LABELS:
            return ()
        has_border = values[-1] == _VOID and values[-2] < _MAX_LABELS
        is_common = counts[16:240].sum() > counts.sum() / 10
        return tuple(values.tolist()) if has_border or is_common else ()

    @cached_property
    def _sample(self) -> NDArray[np.uint8]:
        """Colours of visible pixels, (n, 3), of a picture of at most ``_SAMPLE`` pixels a side."""
        image = self.image
        scale = max(1.0, max(image.size) / _SAMPLE)
        size = max(1, round(image.width / scale)), max(1, round(image.height / scale))
        sample = image.resize(size, Image.Resampling.NEAREST)  # makes no new colours
        colours = np.asarray(to_rgb(sample)).reshape(-1, 3)
        if not _has_alpha(sample):
            return colours
        return colours[np.asarray(_alpha(sample)).ravel() > MASK_THRESHOLD]


def _is_photograph(colours: NDArray[np.uint8]) -> bool:
    """Whether many of the colours, (n, 3), are neither black nor white, and of many kinds."""
    if not len(colours):
        return False
    neither = ((colours.max(-1) > 64) & (colours.min(-1) < 191)).mean()
    counts = np.bincount((colours >> 5).astype(int) @ (64, 8, 1))
    kinds = (counts > len(colours) / 1000).sum()
    return bool(neither > 0.5 or (neither > 0.2 and kinds > 12))


def narrowed(image: Image.Image) -> Image.Image:
    """Return a mask's picture with 8 bits per pixel if its values fit into 8 bits.

    Programs save masks of 0 and 1, of labels, or of 0 to 255 with 16 or 32 bits too. Other values,
    and floats from 0 to 1, are kept.
    """
    if image.mode not in HIGH_BIT_DEPTH:
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    is_fraction = image.mode == "F" and values.max(initial=0) <= 1
    if is_fraction or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        return image
    return Image.fromarray(values.round().astype(np.uint8))


def _advice(region: str) -> str:
    return f"set mask_edit_region: {region}"


def _has_alpha(image: Image.Image) -> bool:
    return is_transparent(image) and image.mode not in HIGH_BIT_DEPTH


def _alpha(image: Image.Image) -> Image.Image:
    # Pillow converts La only to LA.
    return image.convert({"La": "LA"}.get(image.mode, "RGBA")).getchannel("A")


def _is_uniform(image: Image.Image) -> bool:
    """Whether all of a picture counts as black, or all of it as white."""
    grey = np.asarray(to_grey(image, background=255))
    return bool(grey.max() <= MASK_THRESHOLD or grey.min() > MASK_THRESHOLD)


def _has_palette_of_voc(image: Image.Image) -> bool:
    """Whether the colours of the indices that occur are those of PASCAL VOC's palette."""
    palette = image.getpalette("RGB")
    if not palette:
        return False
    used = [i for i, count in enumerate(image.histogram()) if count and 3 * i < len(palette)]
    return all(tuple(palette[3 * i : 3 * i + 3]) == _colour_of_voc(i) for i in used)


def _colour_of_voc(index: int) -> tuple[int, ...]:
    """Return a colour of VOC's palette, which spreads the bits of the index over the channels."""
    return tuple(
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
        for channel in range(3)
    )


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join([*(f"{value:g}" for value in values[:5]), *("…" for _ in values[5:6])])
