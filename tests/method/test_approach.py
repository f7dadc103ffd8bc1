"""What each guidance hands to the sampler, and that drawings follow its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from editinfinity.editing import sampler
from editinfinity.editing.aredit import AREdit
from editinfinity.editing.bitresedit import BitResEdit
from editinfinity.editing.blend import LockFirst, MaskBlend, keep_generated
from editinfinity.editing.editmod import EditMod
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.geometry import Geometry
from editinfinity.method.approach import Edit, approach_of
from editinfinity.method.draw import draw
from editinfinity.method.prompt import encode_prompt
from editinfinity.models import bsq
from editinfinity.models.text_encoder import HashedEncoder
from editinfinity.models.transformer import Infinity
from editinfinity.presets import TransformerConfig, preset
from editinfinity.scales import schedule
from editinfinity.settings.groups import GUIDANCES, GuidanceSettings, SamplingSettings

TINY = preset("tiny")
NEW = ("editmod", "aredit", "bitresedit")
ENCODER = HashedEncoder(TINY.transformer.text_width, TINY.transformer.text_length)
SOURCE, TARGET = (encode_prompt(text, TINY, ENCODER) for text in ("a red cup", "a large blue cup"))


def model_of(patchify: bool = False) -> Infinity:
    torch.manual_seed(1)
    config = replace(TINY.transformer, patchify=patchify)
    assert isinstance(config, TransformerConfig)
    return Infinity(config).eval().requires_grad_(False)


def photograph_of(ratio: float = 1, budget: str = "0.06M", patchify: bool = False) -> ImageFeatures:
    plan = schedule(ratio, budget, patchify)
    raw = torch.randn(8, *plan.tokenizer_grid, generator=torch.Generator().manual_seed(0))
    bits = [each[0].numpy() for each in bsq.quantize(raw[None], plan.tokenizer_scales).bits]
    pixels = np.zeros((*plan.image_size, 3), np.uint8)
    geometry = Geometry.fit(plan.image_size, plan.image_size)
    return ImageFeatures("tiny", plan, geometry, bits, raw.numpy(), pixels)


MODEL, PHOTOGRAPH = model_of(), photograph_of()


def edit_of(guidance: str, keep: torch.Tensor | None = None, **settings: Any) -> Edit:
    return Edit(
        MODEL, PHOTOGRAPH, TARGET, SOURCE, None, keep, SamplingSettings(cfg=3, tau=0.7),
        GuidanceSettings(guidance, **settings),
    )  # fmt: skip


def code_of(
    guidance: str, photograph: ImageFeatures = PHOTOGRAPH, model: Infinity = MODEL, **more: Any
) -> torch.Tensor:
    numbers = {key: more.pop(key) for key in list(more) if key.startswith(guidance)}
    source = more.pop("source_prompt", SOURCE)
    settings = GuidanceSettings(guidance, **numbers)
    return draw(
        model, photograph, TARGET, SamplingSettings(),
        source_prompt=source, guidance=settings, **more,
    )  # fmt: skip


HALF = np.ones((64, 64), np.float32)
HALF[:, :20] = 0


@pytest.mark.parametrize(
    ("settings", "copied", "mixed", "confidence"),
    [
        ({}, 2, 5, 0.95),
        ({"editmod_preset": "preserve"}, 3, 6, 0.95),
        ({"editmod_copy": 0, "editmod_confidence": 0.6}, 0, 5, 0.6),
        ({"editmod_preset": "preserve", "editmod_mix": 7}, 3, 7, 0.95),
    ],
)
def test_the_numbers_of_editmod(
    settings: dict[str, Any], copied: int, mixed: int, confidence: float
) -> None:
    approach = approach_of(edit_of("editmod", **settings))
    guide = approach.guidance
    assert isinstance(guide, EditMod)
    assert (approach.locked, guide.mixed, guide.confidence) == (copied, mixed, confidence)
    assert (guide.cfg, guide.tau) == (3, 0.7)


def test_numbers_with_which_editmod_does_nothing_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    approach_of(edit_of("editmod", editmod_copy=4))
    assert not caplog.messages
    for copied in (5, 7):  # a preset mixes up to the fifth scale of seven
        caplog.clear()
        approach_of(edit_of("editmod", editmod_copy=copied))
        (line,) = caplog.messages
        assert line.startswith(f"editmod_copy is {copied} and editmod_mix 5, so no scale is mixed")


@pytest.mark.parametrize("guidance", GUIDANCES)
def test_every_guidance_has_the_strength_of_the_drawing(guidance: str) -> None:
    keep = torch.full((16, 16), 0.25)
    guide: Any = approach_of(edit_of(guidance, keep)).guidance
    assert guide.cfg == 3
    if guidance in ("source_negative", "bitresedit"):
        mask = guide.edit_mask if guidance == "source_negative" else guide.gate
        assert torch.equal(mask, 1 - keep) and guide.schedule == PHOTOGRAPH.schedule
        assert torch.equal(guide.source.features[0], torch.from_numpy(SOURCE.features))


def test_locked_scales_are_the_larger_number() -> None:
    approach = approach_of(edit_of("editmod"))
    codes = [torch.zeros(1, 8, 16, 16)] * 7
    for scales, locked in ((0, 2), (4, 4)):
        editor = approach.lock(codes, scales)
        assert isinstance(editor, LockFirst) and editor.scales == locked
    assert approach_of(edit_of("cfg")).lock(codes, 0) is keep_generated


def test_aredit_takes_its_numbers_and_sums_whole_bits() -> None:
    keep = torch.zeros(16, 16)
    approach = approach_of(edit_of("aredit", keep, aredit_threshold=0.35))
    guide = approach.guidance
    assert isinstance(guide, AREdit) and approach.editor is keep_generated
    assert (guide.cfg, guide.tau, guide.threshold, approach.locked) == (3, 0.7, 0.35, 2)
    assert guide.mask is not None and (guide.mask == 1).all()
    # The words "a" and "cup" are shared; the first token is special.
    assert approach.watcher.columns == [1, 4]  # type: ignore[union-attr]


def test_the_probabilities_of_aredit_are_the_source_prompts_given_the_photographs_bits() -> None:
    guide = approach_of(edit_of("aredit")).guidance
    assert isinstance(guide, AREdit)
    other = approach_of(replace(edit_of("aredit"), prompt=SOURCE)).guidance
    assert isinstance(other, AREdit)
    assert all(torch.equal(*pair) for pair in zip(guide.source, other.source, strict=True))
    # With the same prompt, the bits drawn are the photograph's own: nothing disagrees.
    drawn = draw(MODEL, PHOTOGRAPH, SOURCE, SamplingSettings(cfg=3, tau=1), source_prompt=SOURCE,
                 guidance=GuidanceSettings("aredit"))  # fmt: skip
    assert torch.allclose(drawn, sum(edit_of("aredit").codes), atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("columns", "locked"), [(7, 0), (8, 3), (16, 3)])
def test_bitresedit_locks_the_layout_of_large_edits(columns: int, locked: int) -> None:
    keep = torch.ones(16, 16)
    keep[:, :columns] = 0
    approach = approach_of(edit_of("bitresedit", keep))
    guide = approach.guidance
    assert isinstance(guide, BitResEdit) and isinstance(approach.editor, MaskBlend)
    assert (
        approach.locked == locked and guide.gate is not None and torch.equal(guide.gate, 1 - keep)
    )
    free = approach_of(edit_of("bitresedit"))
    assert free.locked == 0 and free.editor is keep_generated


@pytest.mark.parametrize("guidance", NEW)
def test_a_source_prompt_is_needed(guidance: str) -> None:
    empty = encode_prompt("", TINY, ENCODER)
    for prompt in (None, empty):
        with pytest.raises(UserError, match=f"source prompt: is empty, but {guidance} compares"):
            code_of(guidance, source_prompt=prompt)
    code_of("source_negative", source_prompt=empty)


@pytest.mark.parametrize(
    "changed",
    [
        {"editmod_preset": "preserve"}, {"editmod_copy": 0}, {"editmod_mix": 7},
        {"editmod_confidence": 0.6}, {"aredit_threshold": 0.02},
    ],
)  # fmt: skip
def test_every_setting_changes_the_drawing(changed: dict[str, Any]) -> None:
    guidance = next(iter(changed)).partition("_")[0]
    plain = {"aredit_threshold": 0.0} if guidance == "aredit" else {}
    assert not torch.equal(code_of(guidance, **plain), code_of(guidance, **changed))


@pytest.mark.parametrize("guidance", NEW)
def test_the_photograph_stays_outside_the_mask(guidance: str) -> None:
    kept = sum(edit_of(guidance).codes)
    assert isinstance(kept, torch.Tensor)
    drawn, free = code_of(guidance, blend_mask=HALF), code_of(guidance)
    far = 12 if guidance == "aredit" else 5  # its whole bits of coarse scales reach farther
    assert torch.allclose(drawn[..., far:], kept[..., far:], atol=1e-5)
    assert not torch.isclose(drawn[..., :5], kept[..., :5]).all()
    if guidance != "aredit":
        assert not torch.isclose(free[..., far:], kept[..., far:]).all()


@pytest.mark.parametrize("guidance", NEW)
@pytest.mark.parametrize(
    ("ratio", "budget", "patchify"),
    [(1.0, "0.06M", True), (2.5, "0.25M", False), (0.333, "0.06M", True)],
)
@pytest.mark.parametrize("masked", [True, False])
def test_any_shape_and_patchified_models(
    guidance: str, ratio: float, budget: str, patchify: bool, masked: bool
) -> None:
    photograph = photograph_of(ratio, budget, patchify)
    rows, columns = photograph.schedule.reference_grid
    blend_mask = np.ones((rows, columns), np.float32)
    blend_mask[rows // 3 : rows // 2] = 0
    drawn = code_of(guidance, photograph, model_of(patchify),
                    blend_mask=blend_mask if masked else None)  # fmt: skip
    assert drawn.shape == (1, 8, *photograph.schedule.tokenizer_grid) and drawn.isfinite().all()


@pytest.mark.parametrize("guidance", GUIDANCES)
def test_a_soft_prompt_follows_both_prompts(guidance: str, monkeypatch: Any) -> None:
    vectors, seen = torch.randn(20, TINY.transformer.text_width), []
    record = sampler.sample

    def sample(model: Infinity, text: Any, *more: Any, **named: Any) -> sampler.Sample:
        seen.append(named["guidance"].texts(model, text))
        return record(model, text, *more, **named)

    monkeypatch.setattr(sampler, "sample", sample)
    code_of(guidance, soft_prompt=vectors)
    prompts = [TARGET] if guidance == "cfg" else [TARGET, SOURCE]
    found = [row for texts in seen for row in texts.features]
    for prompt in prompts:
        whole = torch.cat([torch.from_numpy(prompt.features), vectors])
        assert any(torch.equal(row[: len(whole)], whole) for row in found)
    for texts in seen:  # no text is as long as the text that it is compared with
        count = len(texts.features)
        none = 1 if count > 1 else 0
        length = len(texts.features[0]) if texts.mask is None else int(texts.mask[0].sum())
        assert texts.mask is None or int(texts.mask[none].sum()) == length
        assert torch.equal(texts.features[none, :length], MODEL.cfg_uncond[:length])


def test_tokens_are_read_with_the_suffix() -> None:
    from editinfinity.prompts import CAPTION_SUFFIX

    tokens = encode_prompt("a  red cup", TINY, ENCODER, CAPTION_SUFFIX).tokens
    assert tokens[:5] == ["", "a", "red", "cup", ","] and tokens[-1] == "is"
    assert isinstance(SOURCE, PromptFeatures) and SOURCE.tokens == ["", "a", "red", "cup"]
