import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editinfinity.models import bsq
from editinfinity.scales import SCALES_1M, ScaleSchedule, schedule


@pytest.mark.parametrize("patchify", [False, True])
def test_total_is_the_sum_of_the_codes(patchify: bool) -> None:
    s = schedule(1.5, "0.06M", patchify)
    features = torch.randn(2, 6, *s.tokenizer_grid)
    quantized = bsq.quantize(features, s.tokenizer_scales)
    summed = torch.stack(bsq.upsampled_codes(quantized.bits, s.tokenizer_grid)).sum(0)
    torch.testing.assert_close(summed, quantized.total)
    assert [b.shape[1:3] for b in quantized.bits] == [torch.Size(g) for g in s.tokenizer_scales]


def test_bits_are_the_signs_of_what_the_earlier_scales_leave() -> None:
    torch.manual_seed(0)
    s = schedule(1, "0.06M")
    features = torch.randn(2, 6, 16, 16)
    quantized = bsq.quantize(features, s.scales)
    for grid, bits, running in zip(s.scales, quantized.bits, quantized.running, strict=True):
        means = bsq.resized(features - running, grid, "area").permute(0, 2, 3, 1)
        assert torch.equal(bits, means > 0) and bits.any() and not bits.all()


def test_codes_lie_on_the_unit_sphere() -> None:
    bits = torch.rand(1, 3, 3, 7) > 0.5
    torch.testing.assert_close(bsq.code_of(bits).square().sum(1), torch.ones(1, 3, 3))


def test_flips_build_later_inputs_but_targets_stay_true() -> None:
    s = schedule(1, "0.06M")
    features = torch.randn(1, 4, 16, 16)
    clean = bsq.quantize(features, s.scales)
    flipped = bsq.quantize(features, s.scales, corrupt=lambda bits: ~bits)
    assert torch.equal(clean.bits[0], flipped.bits[0])
    assert torch.equal(flipped.running[1], -clean.running[1])
    # The second target must answer for the first flip.
    residual = features - flipped.running[1]
    expected = bsq.resized(residual, s.scales[1], "area").permute(0, 2, 3, 1) > 0
    assert torch.equal(flipped.bits[1], expected)


@given(st.sampled_from(sorted(SCALES_1M)), st.booleans(), st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_unfold_undoes_fold(ratio: float, patchify: bool, scale: int) -> None:
    s = ScaleSchedule(ratio, "0.06M", patchify)
    code = torch.randn(2, 3, *s.tokenizer_scales[scale])
    tokens = bsq.fold(code, patchify)
    assert tokens.shape[1] == s.lengths[scale]
    assert torch.equal(bsq.unfold(tokens, s.scales[scale], patchify), code)


def test_folded_channel_order() -> None:
    code = torch.arange(8.0).reshape(1, 2, 2, 2)  # channel c, row dy, column dx
    assert bsq.fold(code, patchify=True).flatten().tolist() == list(range(8))


def test_other_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="8, 8"):
        bsq.quantize(torch.zeros(1, 2, 8, 8), schedule(1, "0.06M").scales)
