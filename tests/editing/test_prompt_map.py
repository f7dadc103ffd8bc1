"""Attention to words and disagreement about bits, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from editinfinity.editing.attention_map import (
    FINE_TOKENS,
    AttentionCollector,
    WordAttention,
    scales_of_at_least,
)
from editinfinity.editing.probabilities import token_bits
from editinfinity.editing.prompt_map import BIT_TOKENS, bit_disagreement
from editinfinity.models import bsq
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


def test_attention_while_drawing_is_the_mean_over_the_words_tokens_blocks_and_scales() -> None:
    generator = torch.Generator().manual_seed(1)
    heads, width, tokens, (start, end) = 3, 4, 7, (2, 4)
    collector, expected = AttentionCollector(SQUARE, (start, end), [1, 3]), []
    for scale, grid in enumerate(SQUARE.scales):
        for _ in range(2):
            q = torch.randn(2, heads, SQUARE.lengths[scale], width, generator=generator)
            k = torch.randn(2, heads, tokens, width, generator=generator)
            collector.watch(scale, q, k)
            scores = np.exp(q[0].numpy() @ k[0].numpy().swapaxes(1, 2) / np.sqrt(width))
            share = (scores / scores.sum(-1, keepdims=True))[..., start:end].mean((0, 2))
            if scale in (1, 3):
                expected.append(upsampled(share.reshape(grid)))
    assert np.allclose(collector.mean, np.mean(expected, axis=0), atol=1e-6)


def test_attention_is_of_the_words_row_and_its_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    heads, width, tokens, blocks = 3, 4, 7, 2
    lengths = (7, 5)  # row 1 is padded by two tokens
    spans = {0: [(1, 3), (4, 5)], 1: [(2, 3)]}
    attention = WordAttention(SQUARE, torch.arange(tokens) < torch.tensor(lengths)[:, None])
    expected: dict[tuple[int, int], list[np.ndarray]] = {}
    for _ in range(blocks):
        q = torch.randn(2, heads, SQUARE.tokens, width, generator=generator)
        k = torch.randn(2, heads, tokens, width, generator=generator)
        attention(q, k)
        for row, words in spans.items():
            keys = k[row, :, : lengths[row]].numpy()
            scores = np.exp(q[row].numpy() @ keys.swapaxes(1, 2) / np.sqrt(width))
            shares = scores / scores.sum(-1, keepdims=True)
            for word, (start, end) in enumerate(words):
                share = shares[..., start:end].mean((0, 2))
                parts = np.split(share, np.cumsum(SQUARE.lengths)[:-1])
                for scale in range(3, 7):
                    large = upsampled(parts[scale].reshape(SQUARE.scales[scale]))
                    expected.setdefault((row, word), []).append(large)
    for row, words in spans.items():
        found = attention.maps(row, words)
        for word in range(len(words)):
            assert np.allclose(found[word], np.mean(expected[row, word], axis=0), atol=1e-6)


def logits_of(odds: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.full_like(odds, 3), odds + 3], -1))


@pytest.mark.parametrize("patchify", [False, True])
def test_disagreement_is_how_much_less_likely_the_bits_are_for_the_edit(patchify: bool) -> None:
    rng = np.random.default_rng(1)
    plan = ScaleSchedule(1.0, "0.06M", patchify)
    bits = [rng.random((*grid, 5)) > 0.5 for grid in plan.tokenizer_scales]
    total, logits = np.zeros(plan.reference_grid), []
    for scale, (tokens, scale_bits) in enumerate(zip(plan.lengths, bits, strict=True)):
        odds = rng.normal(size=(2, tokens, 5 * (4 if patchify else 1))).astype(np.float32)
        logits.append(logits_of(odds))
        cells = bsq.unfold(torch.from_numpy(odds), plan.scales[scale], patchify).numpy()
        one = 1 / (1 + np.exp(-cells))
        of_bit = np.where(scale_bits.transpose(2, 0, 1), one, 1 - one)
        fewer = np.maximum(of_bit[0] - of_bit[1], 0).mean(0)
        if scale >= 2:
            total += upsampled(fewer)
    ordered = torch.cat(token_bits(bits, plan, torch.device("cpu")), dim=1)
    found = bit_disagreement(torch.cat(logits, dim=1), ordered, plan)
    assert np.allclose(found, total / 5, atol=1e-6)
    assert found.min() >= 0


def test_nothing_collected_is_an_error() -> None:
    with pytest.raises(ValueError, match="no attention"):
        WordAttention(SQUARE, None).maps(0, [(0, 1)])
