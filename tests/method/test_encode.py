"""A photograph and a prompt as the models see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.weights import load_tokenizer
from editinfinity.method.encode import encode_photograph
from editinfinity.method.prompt import encode_prompt, tokens_of_word
from editinfinity.method.rendering import render
from editinfinity.models import bsq
from editinfinity.models.text_encoder import HashedEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.presets import preset

TINY = preset("tiny")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(TINY, torch.device("cpu"), None)


@pytest.mark.parametrize(
    ("region", "box", "grid"),
    [(None, (0, 0, 280, 160), (12, 21)), ((10, 40, 150, 150), (40, 10, 190, 160), (16, 16))],
)
def test_a_photograph_or_its_region_is_encoded(
    tokenizer: Tokenizer, region: tuple | None, box: tuple, grid: tuple
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 280, 3), dtype=np.uint8)
    found = encode_photograph(Image.fromarray(noise), region, "0.06M", TINY, tokenizer)
    geometry, plan = found.geometry, found.schedule
    assert plan.pixel_budget == "0.06M" and not plan.patchify and found.preset == "tiny"
    assert geometry.box == box and plan.tokenizer_grid == grid
    assert found.raw.shape == (8, *plan.tokenizer_grid) and found.pixels.shape[2] == 3
    values = torch.from_numpy(found.pixels.transpose(2, 0, 1)[None] / 127.5 - 1).float()
    with torch.inference_mode():
        raw = tokenizer.encode(values)
    assert np.allclose(found.raw, raw[0].numpy(), atol=1e-4)
    bits = bsq.quantize(torch.from_numpy(found.raw)[None], plan.tokenizer_scales).bits
    assert len(found.bits) == len(bits)
    for each, expected in zip(found.bits, bits, strict=True):
        assert np.array_equal(each, expected[0].numpy())


def test_a_model_of_patches_has_grids_twice_as_fine(tokenizer: Tokenizer) -> None:
    patched = replace(TINY, transformer=replace(TINY.transformer, patchify=True))
    schedule = []
    for each in (TINY, patched):
        half = tokenizer if each is TINY else _Half(tokenizer)
        photograph = Image.new("RGB", (300, 300), (200, 30, 90))
        found = encode_photograph(photograph, None, "0.06M", each, half)  # type: ignore[arg-type]
        schedule.append(found.schedule)
    assert [plan.patchify for plan in schedule] == [False, True]


class _Half(torch.nn.Module):
    """A tokenizer whose features have a side of an eighth of the picture's."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return self.tokenizer.encode(image).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_the_rendering_is_the_photographs_own_code_decoded(tokenizer: Tokenizer) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    found = encode_photograph(Image.fromarray(noise), None, "0.06M", TINY, tokenizer)
    total = bsq.quantize(torch.from_numpy(found.raw)[None], found.schedule.tokenizer_scales).total
    with torch.inference_mode():
        expected = tokenizer.decode(total)[0].numpy().transpose(1, 2, 0)
    pixels = np.clip((expected + 1) / 2, 0, 1) * 255
    rendering = np.asarray(render(tokenizer, found), dtype=float)
    assert rendering.shape == (256, 256, 3)
    assert ((pixels - rendering) > -0.01).all() and ((pixels - rendering) < 1.01).all()


def test_a_prompt_has_the_features_of_its_words_and_suffix() -> None:
    encoder = HashedEncoder(TINY.transformer.text_width, TINY.transformer.text_length)
    plain = encode_prompt("  a red\n cup ", TINY, encoder)
    assert (plain.preset, plain.prompt) == ("tiny", "a red cup")
    assert torch.equal(torch.from_numpy(plain.features), encoder.encode("a red cup").features[0])
    assert list(plain.offsets) == encoder.offsets("a red cup")
    long = encode_prompt("a red cup", TINY, encoder, ", seen")
    assert long.prompt == "a red cup" and len(long.features) == len(plain.features) + 2
    assert list(long.offsets) == encoder.offsets("a red cup, seen")
    assert tokens_of_word(plain, "red cup") == (2, 4)
    with pytest.raises(UserError, match="blue"):
        tokens_of_word(plain, "blue")
