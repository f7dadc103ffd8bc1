"""Alignment of a picture with its prompt, for pictures of the bundled model. Not CLIP.

This is the project's own metric, because CLIP's weights are a gigabyte and a half that not every
machine can fetch. Pictures of the bundled model show one or two of 76 objects. The judge, a small
network that recognises these objects, gives the probability that a picture shows what its prompt
names. The metric is the minimum of these terms:

- For an object that the prompt names: the probability of the object (times that of its colour, if
  the prompt names one), in the window where it is highest. The windows are the square around the
  mask and squares all over the picture. If the prompt says left or right, only the windows whose
  centre is in that half count.
- For an object that the prompt says is absent: one minus that probability.
- If there is a mask: the probability that the square around it shows nothing or one of the objects
  that the prompt asks for. If the prompt describes an empty scene, only "nothing" counts.

Backgrounds, styles and counts are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.evaluation.canvas import Mask, Pixels
from editinfinity.evaluation.scorer import EditedPicture, NotMeasuredError
from editinfinity.evaluation.world.judge import Judge, crop
from editinfinity.evaluation.world.reading import ParsedPrompt, parse_prompt

NAME = "alignment"
SHORTER_SIDE = 256
"""Shorter side, in pixels, to which a picture is scaled: similar to the judge's training."""

_SHARES = (0.85, 0.7, 0.55, 0.42)
"""Sides of the windows, relative to the picture's shorter side."""

_STRIDE = 0.15  # step between windows, relative to the picture's shorter side


def windows(height: int, width: int) -> Tensor:
    """Return masks of squares all over a picture, (n, height, width), largest squares first."""
    boxes = []
    for share in _SHARES:
        side = round(share * min(height, width))
        step = max(1, round(_STRIDE * min(height, width)))
        for top in _starts(height, side, step):
            boxes += [(top, left, side) for left in _starts(width, side, step)]
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (top, left, side) in zip(masks, boxes, strict=True):
        mask[top : top + side, left : left + side] = True
    return masks


def _starts(extent: int, side: int, step: int) -> list[int]:
    """Return the windows' starts on one axis: about every ``step``, from first to last position."""
    count = max(1, round((extent - side) / step)) + 1 if extent > side else 1
    return [round(position) for position in np.linspace(0, extent - side, count)]


@dataclass(frozen=True)
class JudgeOutput:
    """The judge's output for the windows of a picture.

    Attributes:
        things: (n, things + 1) probabilities of the objects; the last is "nothing".
        colours: (n, colours) probabilities of the colours.
        centres: (n,) horizontal centres of the windows, 0 left … 1 right.
        masked: whether the first window is the one around the mask.
    """

    things: Tensor
    colours: Tensor
    centres: Tensor
    masked: bool

    def score(self, prompt: ParsedPrompt) -> float | None:
        """Return the alignment with a prompt, 0…1; None if the prompt gives nothing to check."""
        terms = []
        for named in prompt.objects:
            probability = self.things[:, named.thing].clone()
            if named.colour is not None:
                probability *= self.colours[:, named.colour]
            if named.side is not None:
                in_half = self.centres < 0.5 if named.side == "left" else self.centres > 0.5
                probability[~in_half] = 0
            terms.append(float(1 - probability.max() if named.absent else probability.max()))
        if self.masked and (prompt.objects or prompt.empty):
            nothing = self.things.shape[1] - 1
            allowed = {named.thing for named in prompt.objects if not named.absent} | {nothing}
            terms.append(float(self.things[0, sorted(allowed)].sum()))
        return min(terms, default=None)


class Alignment:
    """Computes the metric ``alignment`` with the judge."""

    def __init__(self, judge: Judge, device: torch.device) -> None:
        self.judge, self.device = judge, device

    def measure(self, edited: EditedPicture) -> Mapping[str, float]:
        """Return ``alignment`` of the whole picture, 0…1.

        Raises:
            NotMeasuredError: if the prompt names no object that the judge knows.
        """
        output = self.judge_windows(edited.result, edited.mask)
        score = output.score(parse_prompt(edited.plain_prompt))
        if score is None:
            raise NotMeasuredError((NAME,), NO_KNOWN_OBJECT)
        return {NAME: score}

    @torch.inference_mode()
    def judge_windows(self, pixels: Pixels, mask: Mask | None) -> JudgeOutput:
        """Run the judge on all windows of a picture. The result does not depend on a prompt."""
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
        scale = SHORTER_SIDE / min(picture.shape[-2:])
        size = [round(scale * side) for side in picture.shape[-2:]]
        if size != list(picture.shape[-2:]):
            picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
        masks = windows(*size)
        region = _region(mask, size)
        if region is not None:
            masks = torch.cat([region, masks])
        picture, masks = picture.to(self.device), masks.to(self.device)
        crops = [crop(picture.expand(len(part), -1, -1, -1), part) for part in masks.split(32)]
        things, colours = self.judge(torch.cat(crops))
        columns = masks.any(1).float()
        position = torch.arange(columns.shape[1], device=self.device) + 0.5
        centres = (columns * position).sum(1) / columns.sum(1) / columns.shape[1]
        return JudgeOutput(
            things.softmax(1).cpu(), colours.softmax(1).cpu(), centres.cpu(), region is not None
        )


def _region(mask: Mask | None, size: list[int]) -> Tensor | None:
    """Resize a mask to (1, h, w); None if there is none, or if it is empty or covers everything."""
    if mask is None or not mask.any() or mask.all():
        return None
    small = F.interpolate(torch.from_numpy(mask)[None, None].float(), size)[0] > 0
    return small if small.any() else None


NO_KNOWN_OBJECT = "the prompt names no object that the judge knows; name one that it does"
OTHER_MODEL = "alignment is only defined for the bundled model; this picture is by another model"
