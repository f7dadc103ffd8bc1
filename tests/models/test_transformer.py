"""The sampler's step-by-step passes give the numbers of teacher forcing, at every shape."""

import pytest
import torch

from editinfinity.models.attention import CUDNN_MIN_QUERIES, sampling_backend
from editinfinity.models.drop_path import KeptBranches
from editinfinity.models.rotary import rotary_table
from editinfinity.models.scale_cache import make_caches
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TransformerConfig, preset
from editinfinity.scales import SCALES_1M, ScaleSchedule, schedule


def make(patchify: bool = False, width: int = 48, heads: int = 4) -> Infinity:
    torch.manual_seed(0)
    config = TransformerConfig(
        width=width, depth=2, heads=heads, chunks=1, bits=4, text_width=24, text_length=16,
        patchify=patchify,
    )  # fmt: skip
    return Infinity(config).eval().requires_grad_(False)


@torch.no_grad()
def stepwise(model: Infinity, inputs: torch.Tensor, text: TextFeatures, s: ScaleSchedule):
    condition = model.condition(text)
    contexts = make_caches(len(model.blocks), s.lengths)
    logits, seen = [], 0
    for scale, length in enumerate(s.lengths):
        if scale == 0:
            tokens = model.start_token(condition)
        else:
            tokens = model.word_embed(inputs[:, seen : seen + length])
            seen += length
        logits.append(model.forward_scale(tokens, scale, condition, s, contexts))
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("ratio", sorted(SCALES_1M))
@pytest.mark.parametrize("patchify", [False, True])
def test_scale_by_scale_equals_teacher_forcing(ratio: float, patchify: bool) -> None:
    model, s = make(patchify), ScaleSchedule(ratio, "0.06M", patchify)
    inputs = torch.randn(2, s.tokens - 1, model.config.token_bits)
    text = TextFeatures(torch.randn(2, 5, 24))
    whole = model(inputs, text, s)
    assert whole.shape == (2, s.tokens, model.config.token_bits, 2)
    torch.testing.assert_close(stepwise(model, inputs, text, s), whole, rtol=1e-4, atol=1e-5)


def test_heads_of_96_channels_as_the_125m_has_them() -> None:
    model, s = make(width=192, heads=2), schedule(1.25, "0.06M")
    inputs, text = torch.randn(1, s.tokens - 1, 4), TextFeatures(torch.randn(1, 5, 24))
    whole = model(inputs, text, s)
    torch.testing.assert_close(stepwise(model, inputs, text, s), whole, rtol=1e-4, atol=1e-5)
    table = rotary_table(s, 96, inputs.device)
    assert table.shape == (2, s.tokens, 48)
    rows, columns = table[0].unflatten(1, (2, 24)).unbind(1)
    last = s.tokens - s.grid[0] * s.grid[1]
    assert torch.equal(rows[last], rows[last + 1]) and not torch.equal(rows[last], rows[-1])
    assert torch.equal(columns[last], columns[last + s.grid[1]])
    assert not torch.equal(columns[last], columns[last + 1])


def test_later_scales_are_not_seen() -> None:
    model, s = make(), schedule(1, "0.06M")
    inputs = torch.randn(1, s.tokens - 1, 4)
    text = TextFeatures(torch.randn(1, 5, 24))
    changed = inputs.clone()
    changed[:, -256:] += 1
    before, after = model(inputs, text, s), model(changed, text, s)
    assert torch.equal(before[:, :-256], after[:, :-256])
    assert not torch.allclose(before[:, -256:], after[:, -256:])


def test_dropped_branches_have_no_gate_and_the_kept_ones_a_larger_one() -> None:
    model = make().set_drop_path(0.5)  # 0 of the first block, 1/2 of the second
    text = TextFeatures(torch.randn(2, 5, 24))
    factors = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [2.0, 0.0]]])
    kept = KeptBranches(factors, [[True, True], [False, True]])
    whole, thinned = model.condition(text).modulation, model.condition(text, kept).modulation
    for a, b in zip(whole[0], thinned[0], strict=True):
        assert torch.equal(a, b)
    assert thinned[1].gate1 is None
    expected = whole[1].gate2 * torch.tensor([2.0, 0.0])[:, None, None]
    torch.testing.assert_close(thinned[1].gate2, expected)
    for a, b in zip(whole[1][2:], thinned[1][2:], strict=True):
        assert torch.equal(a, b)


def test_a_block_without_branches_passes_its_text_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the gates of dropped branches would, were they 0."""
    model, s = make().train(), schedule(1, "0.06M")
    inputs, text = torch.randn(1, s.tokens - 1, 4), TextFeatures(torch.randn(1, 5, 24))
    kept = KeptBranches(torch.tensor([[[1.0], [1.0]], [[0.0], [0.0]]]), [[True] * 2, [False] * 2])
    monkeypatch.setattr(model, "drop_path", lambda batch: kept)
    dropped = model(inputs, text, s)
    monkeypatch.setattr(model, "drop_path", lambda batch: kept._replace(computed=[[True] * 2] * 2))
    assert torch.equal(dropped, model(inputs, text, s))
    with torch.no_grad():
        for layer in (model.blocks[1].sa.proj, model.blocks[1].ffn.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    monkeypatch.setattr(model, "drop_path", lambda batch: None)
    torch.testing.assert_close(dropped, model(inputs, text, s))


def test_attention_is_as_it_was_after_a_picture() -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with sampling_backend(CUDNN_MIN_QUERIES - 1):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    with sampling_backend(CUDNN_MIN_QUERIES):
        assert torch.backends.cuda.cudnn_sdp_enabled() == before
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


def test_padding_of_a_batch_changes_nothing() -> None:
    model, s = make(), schedule(1, "0.06M")
    inputs = torch.randn(1, s.tokens - 1, 4)
    words = torch.randn(1, 3, 24)
    padded = torch.cat([words, torch.full((1, 4, 24), 9.0)], dim=1)
    mask = torch.tensor([[True] * 3 + [False] * 4])
    torch.testing.assert_close(
        model(inputs, TextFeatures(padded, mask), s), model(inputs, TextFeatures(words), s)
    )


def test_text_longer_than_the_model_has_rows_for() -> None:
    with pytest.raises(ValueError, match="17 tokens"):
        make().unconditional(TextFeatures(torch.zeros(1, 17, 24)))


def test_bf16_blocks_stay_close_and_keep_the_rest_in_fp32() -> None:
    model, s = make(), schedule(1, "0.06M")
    inputs = torch.randn(1, s.tokens - 1, 4)
    text = TextFeatures(torch.randn(1, 5, 24))
    exact = model(inputs, text, s)
    rough = model.set_block_dtype(torch.bfloat16)(inputs, text, s)
    assert model.head.weight.dtype == torch.float32
    assert model.blocks[0].ffn.fc1.weight.dtype == torch.bfloat16
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05 * (exact.max() - exact.min())
    assert not torch.equal(rough, exact)


@pytest.mark.parametrize("name", ["infinity_125m", "infinity_2b", "infinity_8b"])
def test_released_presets_have_the_published_size(name: str) -> None:
    with torch.device("meta"):
        model = Infinity(preset(name).transformer)
    billions = sum(p.numel() for p in model.parameters()) / 1e9
    published = {"infinity_125m": 0.125, "infinity_2b": 2.20, "infinity_8b": 8.38}
    assert billions == pytest.approx(published[name], rel=0.005)
