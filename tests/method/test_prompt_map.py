"""The maps of two prompts are those of the sampler's passes with one prompt each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from editinfinity.editing import sampler
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.blend_mask import blur
from editinfinity.editing.guidance import Unguided
from editinfinity.editing.probabilities import token_bits
from editinfinity.editing.prompt_map import bit_disagreement
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.images import read_image
from editinfinity.files.maps import PromptMaps, normalised
from editinfinity.files.weights import load_text_encoder, load_tokenizer, load_transformer
from editinfinity.method.attention import attention_map
from editinfinity.method.encode import encode_photograph
from editinfinity.method.prompt import encode_prompt, tokens_of_word
from editinfinity.method.prompt_map import prompt_maps
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.settings.groups import SamplingSettings
from tests.stages.conftest import draw_photograph

TINY, CPU = preset("tiny"), torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Infinity:
    return load_transformer(TINY, CPU, None, True)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> ImageFeatures:
    path = draw_photograph(tmp_path_factory.mktemp("photograph") / "a.png")
    tokenizer = load_tokenizer(TINY, CPU, None)
    return encode_photograph(read_image(path), None, "0.06M", TINY, tokenizer)


def encoded(prompt: str) -> PromptFeatures:
    return encode_prompt(prompt, TINY, load_text_encoder(TINY, CPU, None, "fp32"))


def odds_of(model: Infinity, photograph: ImageFeatures, prompt: PromptFeatures) -> list:
    """The raw logits of every scale for one prompt."""
    logits: list[torch.Tensor] = []
    sampler.sample(
        model, TextFeatures.of(prompt.features, CPU), photograph.schedule, SamplingSettings(),
        torch.Generator(),
        edit=ReplaySource(sampler.codes_of(photograph.bits, photograph.schedule, CPU)),
        on_logits=lambda _, values: logits.append(values.clone()), guidance=Unguided(),
    )  # fmt: skip
    return logits


def test_each_row_sees_its_own_prompt(model: Infinity, photograph: ImageFeatures) -> None:
    source, target = encoded("a red cup on an old wooden table"), encoded("an old wooden table")
    maps = prompt_maps(model, photograph, source, target)
    assert (maps.gone, maps.new, maps.is_addition) == (("red", "cup"), (), False)
    alone = [
        attention_map(model, photograph, source, tokens_of_word(source, word), "fine")
        for word in ("red", "cup")
    ]
    assert maps.words is not None
    expected = np.mean([normalised(word) for word in alone], axis=0)
    assert np.allclose(maps.words, expected, atol=1e-3)
    back = prompt_maps(model, photograph, target, source)
    assert back.is_addition and back.words is not None
    assert np.allclose(back.words, expected, atol=1e-3)

    photo = photograph
    bits = torch.cat(token_bits(photo.bits, photo.schedule, CPU), dim=1)
    rows = [torch.cat(odds_of(model, photo, prompt), dim=1) for prompt in (source, target)]
    expected_bits = bit_disagreement(torch.cat(rows), bits, photo.schedule)
    assert np.allclose(maps.bits, blur(expected_bits.double().numpy(), 1), atol=1e-5)
    assert maps.bits.max() > 10 * 1e-5


def test_without_changed_words_there_are_only_bits(
    model: Infinity, photograph: ImageFeatures, tmp_path: Path
) -> None:
    maps = prompt_maps(model, photograph, encoded("a cup on a table"), encoded("on table, cup"))
    assert maps.words is None and not maps.gone and not maps.new
    with pytest.raises(UserError, match="they are equal"):
        prompt_maps(model, photograph, encoded("a cup"), encoded("a cup"))
    maps.save(tmp_path / "maps", "tiny")
    grid = photograph.schedule.reference_grid
    read = PromptMaps.load(tmp_path / "maps", grid)
    assert read.words is None and np.array_equal(read.bits, maps.bits)
    with pytest.raises(UserError, match="maps: has a grid of"):
        PromptMaps.load(tmp_path / "maps", (64, 64))
