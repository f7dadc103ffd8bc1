"""Ways to draw an edit: the guidance, editor and watcher that each hands to the sampler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from editinfinity.editing import aredit, bitresedit, editmod, sampler
from editinfinity.editing.blend import Editor, LockFirst, MaskBlend, ReplaySource, keep_generated
from editinfinity.editing.guidance import ClassifierFree, Guidance, SourceNegative
from editinfinity.editing.probabilities import probability_of_one, token_bits
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.prompts import shared_tokens, source_prompt_missing
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import (
    NEED_SOURCE_PROMPT,
    GuidanceSettings,
    SamplingSettings,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Edit:
    """What an edit is drawn from.

    Attributes:
        transformer: the transformer, with the adapter applied if one is used.
        photograph: the photograph to edit.
        prompt, source_prompt: the edit prompt and the source prompt; the latter is None if the
            guidance does not use it.
        soft_prompt: learned vectors, (N, width of the text features), which follow both prompts;
            None for none.
        keep: the blend mask on the grid of the codes, (H, W): 1 keeps the photograph. None if the
            whole picture may change.
        sampling: seed, guidance scale, temperature and cut-offs.
        settings: the guidance and its numbers.
    """

    transformer: Infinity
    photograph: ImageFeatures
    prompt: PromptFeatures
    source_prompt: PromptFeatures | None
    soft_prompt: Tensor | None
    keep: Tensor | None
    sampling: SamplingSettings
    settings: GuidanceSettings

    @property
    def schedule(self) -> ScaleSchedule:
        """The photograph's scales."""
        return self.photograph.schedule

    @cached_property
    def codes(self) -> list[Tensor]:
        """The photograph's upsampled code of every scale, each (1, d, H, W)."""
        return sampler.codes_of(self.photograph.bits, self.schedule, self.transformer.device)

    @cached_property
    def bits(self) -> list[Tensor]:
        """The photograph's bits of every scale as the model predicts them, each (1, L, d)."""
        return token_bits(self.photograph.bits, self.schedule, self.transformer.device)

    @property
    def gate(self) -> Tensor | None:
        """The weight of what is drawn, (H, W): 1 − ``keep``; None without a mask."""
        return None if self.keep is None else 1 - self.keep

    @property
    def text(self) -> TextFeatures:
        """The edit prompt, followed by the soft prompt if there is one, (1, T, Ct5)."""
        return self._with_soft_prompt(self.prompt)

    @property
    def source(self) -> TextFeatures:
        """The source prompt, followed by the soft prompt if there is one, (1, S, Ct5).

        Raises:
            UserError: there is no source prompt, and the guidance compares the two prompts.
        """
        prompt, guidance = self.source_prompt, self.settings.guidance
        if prompt is None or (not prompt.prompt and guidance in NEED_SOURCE_PROMPT):
            raise UserError(source_prompt_missing(guidance))
        return self._with_soft_prompt(prompt)

    def _with_soft_prompt(self, prompt: PromptFeatures) -> TextFeatures:
        text = TextFeatures.of(prompt.features, self.transformer.device)
        vectors = self.soft_prompt
        return text if vectors is None else text.append(vectors.to(self.transformer.device))

    def blended(self) -> Editor:
        """Return the editor that blends with the photograph under the mask, if there is one."""
        return keep_generated if self.keep is None else MaskBlend(self.codes, self.keep)


@dataclass(frozen=True)
class Approach:
    """What the sampler draws with.

    Attributes:
        guidance: which texts the model predicts for, and how the predictions give the bits.
        editor: what becomes of the drawn code of each scale.
        locked: number of first scales that keep the photograph's code.
        watcher: observes or replaces cross-attention; None for neither, which is faster on a GPU.
    """

    guidance: Guidance
    editor: Editor
    locked: int = 0
    watcher: sampler.Watcher | None = None

    def lock(self, codes: list[Tensor], scales: int) -> Editor:
        """Return the editor with at least ``scales`` first scales locked to the ``codes``."""
        locked = max(self.locked, scales)
        return LockFirst(codes, locked, self.editor) if locked else self.editor


def approach_of(edit: Edit) -> Approach:
    """Return how an edit is drawn.

    Raises:
        UserError: its guidance compares both prompts, and there is no source prompt.
    """
    return _APPROACHES[edit.settings.guidance](edit)


def _plain(edit: Edit) -> Approach:
    return Approach(ClassifierFree(edit.sampling.cfg), edit.blended())


def _source_negative(edit: Edit) -> Approach:
    guidance = SourceNegative(edit.sampling.cfg, edit.source, edit.gate, edit.schedule)
    return Approach(guidance, edit.blended())


def _editmod(edit: Edit) -> Approach:
    settings, sampling = edit.settings, edit.sampling
    scales = len(edit.schedule.scales)
    copied, mixed = editmod.preset_scales(settings.editmod_preset, scales)
    copied = copied if settings.editmod_copy is None else settings.editmod_copy
    mixed = mixed if settings.editmod_mix is None else settings.editmod_mix
    if copied >= mixed:
        log.warning(
            "editmod_copy is %d and editmod_mix %d, so no scale is mixed and the source prompt has "
            "no effect; set editmod_mix higher than editmod_copy",
            copied,
            mixed,
        )
    guidance = editmod.EditMod(
        sampling.cfg, sampling.tau, edit.source, edit.bits, mixed, settings.editmod_confidence
    )
    return Approach(guidance, edit.blended(), locked=copied)


def _bitresedit(edit: Edit) -> Approach:
    gate = edit.gate
    locked = bitresedit.LOCKED_SCALES if gate is not None and bitresedit.is_large(gate) else 0
    guidance = bitresedit.BitResEdit(edit.sampling.cfg, edit.source, gate, edit.schedule)
    return Approach(guidance, edit.blended(), locked)


def _aredit(edit: Edit) -> Approach:
    cfg, tau, source_text = edit.sampling.cfg, edit.sampling.tau, edit.source
    assert edit.source_prompt is not None  # edit.source has checked it
    pairs = shared_tokens(edit.source_prompt.tokens, edit.prompt.tokens)
    attention = aredit.SharedAttention(edit.schedule, pairs)
    source: list[Tensor] = []
    guide = ClassifierFree(cfg)
    sampler.sample(
        edit.transformer,
        source_text,
        edit.schedule,
        edit.sampling,
        torch.Generator(),
        edit=ReplaySource(edit.codes),
        watcher=attention,
        on_logits=lambda scale, logits: source.append(
            probability_of_one(guide(scale, logits), tau)
        ),
        guidance=guide,
    )
    guidance = aredit.AREdit(
        cfg, tau, edit.bits, source, edit.settings.aredit_threshold, edit.gate, edit.schedule
    )
    # Whole bits of the photograph or of the drawing are summed, so nothing is blended.
    return Approach(guidance, keep_generated, aredit.COPIED_SCALES, attention.replayed())


_APPROACHES: dict[str, Callable[[Edit], Approach]] = {
    "cfg": _plain,
    "source_negative": _source_negative,
    "editmod": _editmod,
    "aredit": _aredit,
    "bitresedit": _bitresedit,
}
