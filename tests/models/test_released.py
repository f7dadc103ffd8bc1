import pytest
import torch

from editinfinity.models.released import (
    released_transformer_key,
    tokenizer_state,
    transformer_key,
    transformer_state,
)
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import TransformerConfig, preset

CONFIG = TransformerConfig(width=32, depth=6, heads=2, chunks=3, bits=4, text_width=32)


def test_block_names_survive_the_round_trip() -> None:
    model = Infinity(CONFIG)
    for key in model.state_dict():
        assert transformer_key(released_transformer_key(key, CONFIG), CONFIG) == key
    assert released_transformer_key("blocks.5.ca_norm.bias", CONFIG) == (
        "block_chunks.2.module.1.ca_norm.bias"
    )


@pytest.mark.parametrize("layout", [(1, 2, 1, 1), (1, 1, 2, 1)])
def test_both_layouts_of_the_temperature_load(layout: tuple[int, ...]) -> None:
    state = transformer_state(
        {
            "block_chunks.0.module.0.sa.scale_mul_1H11": torch.tensor([1.0, 2.0]).reshape(layout),
            "block_chunks.0.module.0.sa.zero_k_bias": torch.zeros(32),
        },
        CONFIG,
    )
    assert list(state) == ["blocks.0.sa.scale_mul_1H11"]
    assert state["blocks.0.sa.scale_mul_1H11"].shape == (1, 2, 1, 1)


def test_wrapped_and_plain_tokenizer_keys_are_one() -> None:
    plain = Tokenizer(preset("tiny").tokenizer).state_dict()
    wrapped = {"quantize.lfq.mask": torch.zeros(8), "loss.weight": torch.zeros(1)}
    for key, tensor in plain.items():
        *path, layer, leaf = key.split(".")
        wrapper = "norm" if "norm" in layer else "conv"
        wrapped[".".join([*path, layer, wrapper, leaf])] = tensor
    assert tokenizer_state(wrapped).keys() == plain.keys()
    assert tokenizer_state(plain).keys() == plain.keys()
