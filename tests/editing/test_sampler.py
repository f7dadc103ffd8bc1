import pytest
import torch

from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import MaskBlend, ReplaySource
from editinfinity.editing.sampler import SamplingSettings, draw_bits, sample
from editinfinity.errors import UserError
from editinfinity.models import bsq
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import schedule

SCHEDULE = schedule(1, "0.06M")


@pytest.fixture(scope="module")
def model() -> Infinity:
    torch.manual_seed(1)
    return Infinity(preset("tiny").transformer).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def text() -> TextFeatures:
    return TextFeatures(torch.randn(1, 6, 128, generator=torch.Generator().manual_seed(2)))


@pytest.fixture(scope="module")
def source() -> bsq.Quantized:
    features = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    return bsq.quantize(features, SCHEDULE.scales)


def noise(seed: int = 0) -> torch.Tensor:
    return torch.rand(20000, generator=seeded(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_seed_decides_the_picture(model: Infinity, text: TextFeatures) -> None:
    settings = SamplingSettings(top_p=1.0)
    first = sample(model, text, SCHEDULE, settings, seeded(1)).code
    assert torch.equal(first, sample(model, text, SCHEDULE, settings, seeded(1)).code)
    assert not torch.equal(first, sample(model, text, SCHEDULE, settings, seeded(2)).code)


def test_blend_keeps_the_source_where_the_kernel_is_one(
    model: Infinity, text: TextFeatures, source: bsq.Quantized
) -> None:
    blend_mask = torch.zeros(16, 16)
    blend_mask[:, :7] = 1
    codes = bsq.upsampled_codes(source.bits, SCHEDULE.tokenizer_grid)
    drawn = sample(
        model, text, SCHEDULE, SamplingSettings(), seeded(), MaskBlend(codes, blend_mask)
    ).code
    assert torch.equal(drawn[..., :7], source.total[..., :7])
    assert not torch.isclose(drawn[..., 7:], source.total[..., 7:]).all()


def test_replay_is_the_source_and_watches_every_block(
    model: Infinity, text: TextFeatures, source: bsq.Quantized
) -> None:
    collector = AttentionCollector(SCHEDULE, (1, 3))
    codes = bsq.upsampled_codes(source.bits, SCHEDULE.tokenizer_grid)
    drawn = sample(
        model, text, SCHEDULE, SamplingSettings(), seeded(), ReplaySource(codes), collector
    )
    assert torch.equal(drawn.code, source.total)
    assert collector.count == 2 * 7
    assert collector.mean.shape == (64, 64)
    # A word's share of attention is a probability; all words' shares sum to one.
    rest = AttentionCollector(SCHEDULE, (0, 6))
    sample(model, text, SCHEDULE, SamplingSettings(), seeded(), ReplaySource(codes), rest)
    torch.testing.assert_close(rest.mean, torch.full((64, 64), 1 / 6))


@pytest.mark.parametrize(("tau", "share"), [(0.5, 0.731), (1.0, 0.622), (0.25, 0.881)])
def test_bits_follow_their_probabilities(tau: float, share: float) -> None:
    logits = torch.tensor([0.0, 0.5]).expand(20000, 2)  # P(1) = sigmoid(0.5 / tau)
    drawn = draw_bits(logits, SamplingSettings(tau=tau), noise())
    assert drawn.float().mean().item() == pytest.approx(share, abs=0.01)
    other = draw_bits(logits.flip(-1), SamplingSettings(tau=tau), noise())
    assert other.float().mean().item() == pytest.approx(1 - share, abs=0.01)


def test_unlikely_values_are_never_drawn() -> None:
    margin = torch.logit(torch.tensor(0.972)) * 0.5  # the other value has probability 0.028
    logits = torch.stack([torch.tensor(0.0), margin]).expand(20000, 2)
    assert draw_bits(logits, SamplingSettings(), noise()).all()
    assert not draw_bits(logits, SamplingSettings(top_p=1.0), noise()).all()
    close = torch.tensor([0.0, 0.1]).expand(20000, 2)
    assert draw_bits(close, SamplingSettings(top_k=1), noise()).all()
    assert not draw_bits(close, SamplingSettings(top_k=2), noise()).all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="tau"):
        SamplingSettings(tau=0)


def test_patchified_model_samples() -> None:
    from editinfinity.presets import TransformerConfig

    torch.manual_seed(0)
    config = TransformerConfig(
        width=32, depth=1, heads=2, chunks=1, bits=3, text_width=32, text_length=8, patchify=True
    )
    folded = Infinity(config).eval()
    s = schedule(2.0, "0.06M", patchify=True)
    drawn = sample(folded, TextFeatures(torch.randn(2, 4, 32)), s, SamplingSettings(), seeded())
    assert drawn.code.shape == (2, 3, *s.tokenizer_grid)
    assert drawn.bits[-1].shape == (2, s.lengths[-1], 12)
