"""AREdit: which bits are drawn anew, and the attention that shared words keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editinfinity.editing.aredit import AREdit, SharedAttention
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.guidance import ClassifierFree
from editinfinity.editing.probabilities import disagreement, mask_at, probability_of_one, token_bits
from editinfinity.editing.sampler import (
    SamplingSettings,
    Watcher,
    codes_of,
    draw_bits,
    sample,
)
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.prompts import shared_tokens
from editinfinity.scales import schedule

PLAN = schedule(1, "0.06M")
CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits_of(guide: AREdit, logits: torch.Tensor, scale: int, seed: int = 5) -> torch.Tensor:
    noise = torch.rand(logits.shape[1:-1], generator=seeded(seed))[None]
    return draw_bits(guide(scale, logits), SamplingSettings(tau=guide.tau), noise)


@pytest.mark.parametrize(("cfg", "tau", "threshold"), [(3, 1, 0.2), (1, 1, 0.2), (3, 0.5, 0.4)])
def test_bits_are_drawn_anew_where_the_prompts_disagree(
    cfg: float, tau: float, threshold: float
) -> None:
    scale, length = 3, PLAN.lengths[3]
    logits = torch.randn(2, length, 8, 2, generator=seeded(0))
    bits = torch.rand(1, length, 8, generator=seeded(1)) < 0.5
    source = torch.rand(1, length, 8, generator=seeded(2))
    every = [bits] * 7, [source] * 7
    guide = AREdit(cfg, tau, *every, threshold, None, PLAN)
    conditional, without = (each[..., 1] - each[..., 0] for each in logits.numpy())
    target = 1 / (1 + np.exp(-(without + cfg * (conditional - without)) / tau))
    own, given = bits[0].numpy(), source[0].numpy()
    lost = np.where(own, given - target, (1 - given) - (1 - target))
    drawn = bits_of(guide, logits, scale)[0].numpy()
    plain = bits_of(AREdit(cfg, tau, *every, -1.0, None, PLAN), logits, scale)[0].numpy()
    assert np.array_equal(drawn, np.where(lost > threshold, plain, own))
    assert 0.05 < (lost > threshold).mean() < 0.6 and (plain != own).mean() > 0.2
    found = disagreement(source, torch.from_numpy(target)[None], bits)
    assert np.allclose(found[0], lost, atol=1e-6)


def test_with_a_mask_every_bit_inside_and_none_outside_is_drawn_anew() -> None:
    mask = torch.zeros(16, 16)
    mask[:, :7] = 0.9
    for scale, (h, w) in enumerate(PLAN.scales):
        bits = torch.rand(1, h * w, 8, generator=seeded(1)) < 0.5
        logits = torch.zeros(2, h * w, 8, 2)
        logits[..., 1] = torch.where(bits, -50.0, 50.0)  # every bit becomes another
        every = [bits] * 7, [bits.float()] * 7
        drawn = bits_of(AREdit(3, 1, *every, 0.2, mask, PLAN), logits, scale)
        inside = (drawn != bits).all(-1).view(h, w)
        assert torch.equal(inside, (drawn != bits).any(-1).view(h, w))
        # The edge is at 7 of 16 cells; a token of two cells' width is sampled between them.
        assert inside[0].tolist() == [(c + 0.5) * 16 / w - 0.5 < 6.45 for c in range(w)]


def test_bits_that_differ_by_just_the_threshold_stay() -> None:
    bits = torch.ones(1, 1, 8, dtype=torch.bool)
    source = torch.full((1, 1, 8), 0.75)  # the target's probability is one half
    for threshold, anew in ((0.25, False), (0.2, True)):
        guided = AREdit(3, 1, [bits], [source], threshold, None, PLAN)(0, torch.zeros(2, 1, 8, 2))
        assert bool(guided.isfinite().all()) is anew


@pytest.mark.parametrize(("weight", "inside"), [(0.3, False), (0.5, False), (0.51, True)])
def test_a_token_is_inside_from_half_of_the_drawings_weight_on(weight: float, inside: bool) -> None:
    bits = torch.ones(1, 1, 8, dtype=torch.bool)
    logits = torch.zeros(2, 1, 8, 2)
    logits[..., 0] = 50  # every bit becomes another
    guide = AREdit(3, 1, [bits], [bits.float()], 0.2, torch.full((16, 16), weight), PLAN)
    assert bool((bits_of(guide, logits, 0) != bits).all()) is inside


def test_a_mask_is_sampled_bilinearly_at_each_scale() -> None:
    mask = torch.zeros(16, 16)
    mask[7, 7] = 1
    assert mask_at(mask, 0, PLAN).tolist() == [[0.25]]
    assert mask_at(mask, 6, PLAN).sum() == 1
    tall = schedule(2.0, "0.06M", patchify=True)  # sampled at the transformer's grids
    assert mask_at(torch.ones(tall.tokenizer_grid), 3, tall).shape == (tall.lengths[3], 1)


@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        (["", "a", "red", "cup", ""], ["", "a", "blue", "cup", ""], [(1, 1), (3, 3)]),
        (["a", "cup"], ["a", "large", "blue", "cup"], [(0, 0), (1, 3)]),
        (["", "dog"], ["", "cat"], []),
        ([], ["a"], []),
    ],
)
def test_shared_tokens(first: list[str], second: list[str], pairs: list[tuple[int, int]]) -> None:
    assert shared_tokens(first, second) == pairs


def test_a_common_word_of_a_long_prompt_is_shared() -> None:
    """difflib would leave it out as too popular."""
    words = ["a", "cup", "and"] * 80
    assert len(shared_tokens(words, words)) == 240


@pytest.fixture(scope="module")
def model() -> Infinity:
    torch.manual_seed(1)
    return Infinity(preset("tiny").transformer).eval().requires_grad_(False)


def text(length: int, seed: int) -> TextFeatures:
    return TextFeatures(torch.randn(1, length, 128, generator=seeded(seed)))


def test_shared_words_attend_as_in_the_photograph(model: Infinity) -> None:
    """Recorded in one pass, replayed in another: rows sum to 1, other words keep their ratio."""
    generator = torch.Generator().manual_seed(4)
    attention = SharedAttention(PLAN, [(1, 0), (4, 2)])
    q, k = (torch.randn(2, 2, n, 16, generator=generator) for n in (16, 6))
    other_q, other_k = (torch.randn(2, 2, n, 16, generator=generator) for n in (16, 5))
    attention.watch(2, q, k)
    weights = attention.replayed().watch(2, other_q, other_k)
    assert weights is not None

    def softmax(q: torch.Tensor, k: torch.Tensor) -> np.ndarray:
        scores = np.exp((q @ k.transpose(-1, -2)).double().numpy() / 4)
        return scores / scores.sum(-1, keepdims=True)

    own, source = softmax(other_q, other_k), softmax(q, k)
    wanted = own.copy()
    wanted[0][..., 0], wanted[0][..., 2] = source[0][..., 1], source[0][..., 4]
    wanted[0] /= wanted[0].sum(-1, keepdims=True)
    assert np.allclose(weights, wanted, atol=1e-6)


def test_attention_is_replaced_up_to_grids_of_sixteen(model: Infinity) -> None:
    large = schedule(1, "0.25M")  # its last scales are 20, 24 and 32 cells wide
    attention = SharedAttention(large, [(1, 1)])
    bits = [np.zeros((h, w, 8), bool) for h, w in large.tokenizer_scales]
    codes = codes_of(bits, large, CPU)
    sample(model, text(4, 0), large, SamplingSettings(), seeded(0), ReplaySource(codes), attention)
    assert {scale: len(maps) for scale, maps in attention.maps.items()} == dict.fromkeys(
        range(7), 2
    )
    replayed = attention.replayed()
    answers: list[bool] = []

    class Noting:
        def watch(self, scale: int, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor | None:
            weights = replayed.watch(scale, q, k)
            answers.append(weights is not None)
            return weights

    sample(model, text(5, 1), large, SamplingSettings(), seeded(0), watcher=Noting())
    assert answers == [True] * 14 + [False] * 6


def test_the_models_own_attention_put_back_changes_nothing(model: Infinity) -> None:
    def last_logits(watcher: Watcher) -> torch.Tensor:
        found: list[torch.Tensor] = []
        settings = SamplingSettings(top_k=1)
        sample(
            model, text(6, 3), PLAN, settings, seeded(0),
            watcher=watcher, on_logits=lambda scale, logits: found.append(logits),
        )  # fmt: skip
        return found[-1]

    attention = SharedAttention(PLAN, [(2, 2), (5, 5)])
    first = last_logits(attention)
    assert torch.allclose(first, last_logits(attention.replayed()), atol=1e-5)
    for maps in attention.maps.values():
        maps.extend(torch.full_like(maps.popleft(), 10) for _ in range(len(maps)))
    other = last_logits(attention.replayed())
    assert (first[0] - other[0]).abs().max() > 1e-3
    assert torch.allclose(first[1], other[1], atol=1e-5)  # the unconditional row


def test_probabilities_of_the_source_are_those_of_teacher_forcing(model: Infinity) -> None:
    """Scale by scale with cfg 1, as in one pass over all scales."""
    from editinfinity.inversion.teacher_forcing import training_batch_of
    from editinfinity.models import bsq

    quantized = bsq.quantize(torch.randn(1, 8, 16, 16, generator=seeded(8)), PLAN.scales)
    bits = [each[0].numpy() for each in quantized.bits]
    found: list[torch.Tensor] = []
    sample(
        model, text(6, 3), PLAN, SamplingSettings(), seeded(0),
        ReplaySource(codes_of(bits, PLAN, CPU)),
        on_logits=lambda scale, logits: found.append(
            probability_of_one(ClassifierFree(1)(scale, logits))
        ),
    )  # fmt: skip
    batch = training_batch_of(quantized, PLAN)
    logits = model(batch.inputs, text(6, 3), PLAN)
    assert torch.allclose(torch.cat(found, 1), probability_of_one(logits), atol=1e-4)
    assert torch.equal(torch.cat(token_bits(bits, PLAN, CPU), 1), batch.targets)
