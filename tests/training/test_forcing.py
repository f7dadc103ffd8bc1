"""Edit-aware teacher forcing equals what blended sampling shows; plain otherwise."""

from __future__ import annotations

import torch

from editinfinity.editing.blend import MaskBlend
from editinfinity.inversion.teacher_forcing import make_training_batch, token_weights
from editinfinity.models import bsq
from editinfinity.scales import schedule
from training.forcing import append_rows, blended, region_weights
from training.pool import Encoded, Pool, turned

PLAN = schedule(1.0, "0.06M")


def _features(seed: int) -> torch.Tensor:
    return torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_without_a_kernel_it_is_plain_teacher_forcing() -> None:
    target = _features(0)
    found = blended(target, _features(1), torch.zeros(2, 16, 16), PLAN, None)
    expected = bsq.quantize(target, PLAN.tokenizer_scales)
    assert all(torch.equal(a, b) for a, b in zip(found.bits, expected.bits, strict=True))
    torch.testing.assert_close(found.total, expected.total)
    assert make_training_batch(target, PLAN).targets.shape == (2, PLAN.tokens, 8)


def test_sums_are_those_of_the_samplers_blend() -> None:
    source, blend_mask = _features(1), torch.rand(2, 16, 16)
    found = blended(_features(0), source, blend_mask, PLAN, None)
    theirs = bsq.quantize(source, PLAN.tokenizer_scales).bits
    codes = bsq.upsampled_codes(theirs, (16, 16))
    blend = MaskBlend(codes, blend_mask[:, None])
    total = torch.zeros_like(source)
    for scale, bits in enumerate(found.bits):
        torch.testing.assert_close(found.running[scale], total)
        total = total + blend(scale, bsq.resized(bsq.code_of(bits), (16, 16)))
    torch.testing.assert_close(found.total, total)


def test_noise_reaches_generated_bits_only() -> None:
    source = _features(1)
    kept = blended(_features(0), source, torch.ones(2, 16, 16), PLAN, torch.logical_not)
    expected = bsq.quantize(source, PLAN.tokenizer_scales).total
    torch.testing.assert_close(kept.total, expected)


def test_weights_sum_to_one_and_favour_the_edit() -> None:
    blend_mask = torch.ones(1, 16, 16)
    torch.testing.assert_close(region_weights(blend_mask, PLAN, 1.0)[0], token_weights(PLAN))
    blend_mask[0, :8] = 0
    weights = region_weights(blend_mask, PLAN, 1.0)
    assert abs(float(weights.sum()) - 1) < 1e-5
    last = weights[0, -256:].view(16, 16)
    torch.testing.assert_close(last[0, 0], 2 * last[-1, -1])


def test_appended_rows_follow_the_text_and_stay_small() -> None:
    states = torch.randn(64, 40, 6) + 3
    lengths = torch.randint(5, 20, (64,))
    torch.manual_seed(0)
    text = append_rows(states, lengths)
    assert text.mask is not None
    counts = text.mask.sum(1) - lengths
    assert counts.min() == 0
    assert counts.max() == 20
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(text.features[row, :length], states[row, :length])
        assert text.features[row, length:].abs().max() < 0.1


def test_turning_swaps_before_and_after() -> None:
    raw = torch.arange(8.0).view(2, 2, 2, 1, 1)
    scenes = Encoded(raw, torch.zeros(2, 1, 1), raw[..., 0], torch.tensor([[1, 2], [3, 4]]))
    found = turned(scenes, torch.tensor([True, False]))
    assert found.lengths.tolist() == [[2, 1], [3, 4]]
    torch.testing.assert_close(found.raw[0], raw[0].flip(0))


def test_the_pool_is_a_ring_in_place() -> None:
    def scenes(*values: float) -> Encoded:
        blend_mask = torch.tensor(values)[:, None, None]
        return Encoded(
            blend_mask[:, None, None], blend_mask, blend_mask[:, None], torch.zeros(len(values), 2)
        )

    pool = Pool(4, scenes(1, 2, 3))
    place = pool.kept.blend_mask.data_ptr()
    assert pool.filled == 3
    pool.add(scenes(4, 5))
    assert pool.filled == 4
    assert pool.kept.blend_mask.flatten().tolist() == [5, 2, 3, 4]
    assert pool.kept.blend_mask.data_ptr() == place
