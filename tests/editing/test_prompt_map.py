"""Attention to words and disagreement about bits, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from editinfinity.editing.attention_map import (
    FINE_TOKENS,
    AttentionCollector,
    AttentionCollectors,
    scales_of_at_least,
)
from editinfinity.editing.probabilities import token_bits
from editinfinity.editing.prompt_map import BIT_TOKENS, BitDisagreement, TwoPrompts
from editinfinity.models import bsq
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import PIXEL_BUDGETS, SCALES_1M, ScaleSchedule, schedule

SQUARE = schedule(1, "0.06M")


def test_scales_are_chosen_by_the_number_of_their_tokens() -> None:
    assert scales_of_at_least(SQUARE, FINE_TOKENS) == range(3, 7)  # 6×6 to 16×16
    assert scales_of_at_least(SQUARE, BIT_TOKENS) == range(2, 7)  # from 4×4
    assert scales_of_at_least(schedule(1, "1M"), FINE_TOKENS) == range(3, 13)
    for ratio in SCALES_1M:
        for budget in PIXEL_BUDGETS:
            plan = schedule(ratio, budget)
            for tokens in (FINE_TOKENS, BIT_TOKENS):
                chosen = scales_of_at_least(plan, tokens)
                assert [k for k, n in enumerate(plan.lengths) if n >= tokens] == list(chosen)
                assert len(chosen) >= 3


def upsampled(maps: np.ndarray) -> np.ndarray:
    large = F.interpolate(
        torch.from_numpy(maps)[None, None], SQUARE.reference_grid, mode="bilinear"
    )
    return large[0, 0].numpy()


def test_attention_is_of_the_words_row_and_its_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    heads, width, tokens = 3, 4, 7
    # Row 1 is padded by two tokens.
    words = {(0, (1, 3), 7): [], (1, (2, 3), 5): [], (0, (4, 5), 7): []}
    collectors = [AttentionCollector(SQUARE, span, range(3, 7), row, n) for row, span, n in words]
    alone = [AttentionCollector(SQUARE, span, range(3, 7), row, n) for row, span, n in words]
    together = AttentionCollectors(collectors)
    for scale, length in enumerate(SQUARE.lengths):
        q = torch.randn(2, heads, length, width, generator=generator)
        k = torch.randn(2, heads, tokens, width, generator=generator)
        together.watch(scale, q, k)
        for collector in alone:
            collector.watch(scale, q, k)
        for (row, (start, end), n), expected in words.items():
            scores = np.exp(q[row].numpy() @ k[row, :, :n].numpy().swapaxes(1, 2) / np.sqrt(width))
            share = (scores / scores.sum(-1, keepdims=True))[..., start:end].mean((0, 2))
            if scale >= 3:
                expected.append(upsampled(share.reshape(SQUARE.scales[scale])))
    for collector, expected in zip(collectors, words.values(), strict=True):
        assert np.allclose(collector.mean, np.mean(expected, axis=0), atol=1e-6)
    for collector, single in zip(collectors, alone, strict=True):
        assert torch.equal(collector.mean, single.mean)


def test_attention_is_computed_once_for_all_words_of_a_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed, attention = [], AttentionCollector.attention
    monkeypatch.setattr(
        AttentionCollector,
        "attention",
        lambda self, q, k: computed.append(self.row) or attention(self, q, k),
    )
    words = [AttentionCollector(SQUARE, (n, n + 1), [6], row, 5) for row in (0, 1) for n in (1, 3)]
    q, k = torch.randn(2, 3, 16 * 16, 4), torch.randn(2, 3, 7, 4)
    for scale in (5, 6):
        AttentionCollectors(words).watch(scale, q[:, :, : SQUARE.lengths[scale]], k)
    assert computed == [0, 1]


def logits_of(odds: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.full_like(odds, 3), odds + 3], -1))


@pytest.mark.parametrize("patchify", [False, True])
def test_disagreement_is_how_much_less_likely_the_bits_are_for_the_edit(patchify: bool) -> None:
    rng = np.random.default_rng(1)
    plan = ScaleSchedule(1.0, "0.06M", patchify)
    bits = [rng.random((*grid, 5)) > 0.5 for grid in plan.tokenizer_scales]
    disagreement = BitDisagreement(plan, token_bits(bits, plan, torch.device("cpu")))
    total = np.zeros(plan.reference_grid)
    for scale, (tokens, scale_bits) in enumerate(zip(plan.lengths, bits, strict=True)):
        odds = rng.normal(size=(2, tokens, 5 * (4 if patchify else 1))).astype(np.float32)
        disagreement(scale, logits_of(odds))
        cells = bsq.unfold(torch.from_numpy(odds), plan.scales[scale], patchify).numpy()
        one = 1 / (1 + np.exp(-cells))
        of_bit = np.where(scale_bits.transpose(2, 0, 1), one, 1 - one)
        fewer = np.maximum(of_bit[1] - of_bit[0], 0).mean(0)
        if scale >= 2:
            total += upsampled(fewer)
    assert np.allclose(disagreement.mean, total / 5, atol=1e-6)
    assert disagreement.mean.min() >= 0


def test_nothing_collected_is_an_error() -> None:
    with pytest.raises(ValueError, match="no logits"):
        _ = BitDisagreement(SQUARE, []).mean


def test_two_prompts_are_rows_that_do_not_see_their_padding() -> None:
    torch.manual_seed(1)
    model = Infinity(preset("tiny").transformer).eval().requires_grad_(False)
    long, short = (TextFeatures(torch.randn(1, n, 128)) for n in (6, 4))
    both = TwoPrompts(short).texts(model, long)
    assert both.mask is not None and both.mask.sum(1).tolist() == [6, 4]
    alone = [model.condition(text).pooled for text in (long, short)]
    assert torch.allclose(model.condition(both).pooled, torch.cat(alone), atol=1e-5)
    assert TwoPrompts(short)(0, torch.arange(2)[:, None]).tolist() == [[0]]
