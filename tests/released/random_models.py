"""Whole models with random weights, of any preset and on any device.

To see what the deep check says of a released model's full shapes, on a GPU:

    python -m tests.released.random_models infinity_2b
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from editinfinity.compute import block_dtype, pick_device
from editinfinity.models.text_encoder import TransformersEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset, preset
from editinfinity.released.deep_check import Models, deep_check, example_photographs
from tests.released.files import PIECES, vocabulary

XL: dict[str, Any] = {"d_ff": 5120, "num_layers": 24, "num_heads": 32, "d_kv": 64}
"""Sizes of flan-t5-xl beside its width."""


def random_models(chosen: Preset, device: torch.device, **t5: int) -> Models:
    """Build a model as before its training; ``t5`` are the sizes of its text encoder."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    with device:
        transformer = Infinity(chosen.transformer).set_block_dtype(block_dtype(device))
        tokenizer = Tokenizer(chosen.tokenizer)
        width = chosen.text_encoder.width
        config = T5Config(
            vocab_size=len(PIECES), d_model=width, feed_forward_proj="gated-gelu", **t5
        )
        text_encoder = TransformersEncoder(vocabulary(), T5EncoderModel(config), width, 492)
    parts = (transformer, tokenizer)
    frozen = [part.to(device).eval().requires_grad_(False) for part in parts]
    text_encoder.model.to(device)
    return Models(chosen, *frozen, text_encoder)  # type: ignore[arg-type]


if __name__ == "__main__":
    models = random_models(preset(sys.argv[1]), pick_device(), **XL)
    report = deep_check(models, example_photographs())
    for check in report.checks:
        print(check)
    print("trained:", report.trained)
