"""On a card, what is loaded for it gives the plain operations' logits, gradients and bits.

At sizes that users have, several ratios and both precisions, on a narrow model; the recordings of
the reference run pass there too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tests.parity as parity
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.inversion.lora import add_lora
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.operations import PLAIN, Operations
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.pipeline import EditInfinityPipeline
from editinfinity.presets import TransformerConfig
from editinfinity.scales import schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CARD = torch.device("cuda")
DATA = Path(__file__).parents[1] / "parity_data"
SHAPES = [(1.0, "0.06M"), (1.5, "0.06M"), (0.5, "0.25M"), (1.0, "1M"), (3.0, "1M")]
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""Largest error over the range of what is compared."""


def model(dtype: torch.dtype) -> tuple[Infinity, list[torch.nn.Parameter]]:
    """A narrow model with an adapter that does something, and the adapter's matrices."""
    torch.manual_seed(1)
    config = TransformerConfig(
        width=256, depth=3, heads=2, chunks=1, bits=8, text_width=128, text_length=64
    )
    base = Infinity(config).requires_grad_(False)
    adapted = add_lora(base, LoraSettings(lora_dropout=0.0)).to(CARD)
    base.set_block_dtype(dtype)
    matrices = [p for p in adapted.parameters() if p.requires_grad]
    with torch.no_grad():
        for matrix in matrices:
            matrix.data = torch.randn(matrix.shape, device=CARD) * 0.05
    return base, matrices


def apart(ours: torch.Tensor, plain: torch.Tensor) -> float:
    """Largest error over the range."""
    span = plain.max() - plain.min()
    return ((ours.float() - plain.float()).abs().max() / span).item()


@pytest.mark.parametrize(("ratio", "budget"), SHAPES)
@pytest.mark.parametrize("dtype", CLOSE)
def test_logits_and_gradients(ratio: float, budget: str, dtype: torch.dtype) -> None:
    base, matrices = model(dtype)
    s = schedule(ratio, budget)
    inputs = torch.randn(1, s.tokens - 1, 8, device=CARD)
    vectors = torch.randn(20, 128, device=CARD, requires_grad=True)
    words = TextFeatures(torch.randn(1, 9, 128, device=CARD))
    weights = torch.randn(1, s.tokens, 8, 2, device=CARD)

    def run(operations: Operations) -> list[torch.Tensor]:
        base.use_operations(operations)
        logits = base(inputs, words.append(vectors), s)
        return [logits, *torch.autograd.grad((logits * weights).sum(), [vectors, *matrices])]

    plain, ours = run(PLAIN), run(choose_operations(CARD).result())
    errors = [apart(a.detach(), b.detach()) for a, b in zip(ours, plain, strict=True)]
    assert max(errors) <= CLOSE[dtype], errors


@pytest.mark.parametrize(("ratio", "budget"), SHAPES)
def test_bits(ratio: float, budget: str) -> None:
    base, _ = model(torch.float32)
    base.eval()
    s = schedule(ratio, budget)
    text = TextFeatures(torch.randn(1, 9, 128, device=CARD))
    drawn = []
    for operations in (PLAIN, choose_operations(CARD).result()):
        base.use_operations(operations)
        drawn.append(sample(base, text, s, SamplingSettings(), torch.Generator().manual_seed(3)))
    for a, b in zip(drawn[0].bits[:3], drawn[1].bits[:3], strict=True):
        assert torch.equal(a, b)  # before a tie may flip, and spread
    wrong = [(a != b).float().mean().item() for a, b in zip(*(d.bits for d in drawn), strict=True)]
    assert max(wrong) <= 0.01, wrong


@pytest.mark.parametrize("folder", ["square_256", "square_256_no_attention_bias"])
def test_recordings(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    results = parity.compare(DATA / folder, CARD)
    assert [r.name for r in results if r.verdict == "FAIL"] == []


def test_equal_trainings_learn_equal_numbers_if_asked_to() -> None:
    pipe = EditInfinityPipeline.from_pretrained("tiny", device="cuda")
    photograph = Image.effect_noise((320, 256), 60).convert("RGB")
    few: dict[str, Any] = {"embedding_iterations": 4, "lora_iterations": 4, "pixel_budget": "0.60M"}
    settings = TrainingSettings(deterministic=True)
    first, second = (pipe.invert(photograph, "a dog", training=settings, **few) for _ in range(2))
    assert first.embedding and second.embedding and first.adapter and second.adapter
    assert torch.equal(first.embedding.vectors, second.embedding.vectors)
    for name, tensor in first.adapter.weights.items():
        assert torch.equal(tensor, second.adapter.weights[name]), name
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_second_card_does_what_the_first_does() -> None:
    """Kernels and recordings run where they are told, else on the current device."""
    photograph = Image.effect_noise((160, 128), 60).convert("RGB")
    edited = []
    for name in ("cuda:0", "cuda:1"):
        pipe = EditInfinityPipeline.from_pretrained("tiny", device=name)
        inversion = pipe.invert(photograph, "a dog", embedding_iterations=2, lora_iterations=2)
        # From the second on they are drawn by recorded passes, which must see each its own prompt.
        prompts = ["a cat", "a dog", "a cow", "a fox"]
        edited.append([np.asarray(each) for each in pipe.edit(inversion, prompts)])
    assert torch.cuda.current_device() == 0
    assert np.array_equal(*edited)
