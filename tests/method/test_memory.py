"""Where a transformer's weights stay, by what a GPU has free; the GPU is a stand-in."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editinfinity.files.loading import build_on_meta
from editinfinity.inversion.gradient_checkpointing import recomputed_training_bytes
from editinfinity.method import memory
from editinfinity.models.scale_cache import all_sampling_bytes
from editinfinity.models.transformer import Infinity
from editinfinity.presets import PRESETS
from editinfinity.scales import schedule

CARD, BIG = torch.device("cuda"), PRESETS["infinity_2b"]
GIB = 2**30


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Free bytes of the GPU, which a test changes; an edit and a training need 10 GiB."""
    found = [0]
    monkeypatch.setattr(memory, "free_bytes", lambda device: found[0])
    monkeypatch.setattr(memory, "block_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr(memory, "fast_bytes", lambda preset, dtype: 10 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 * GIB)
    memory.stays_in_ram.cache_clear()
    yield found
    memory.stays_in_ram.cache_clear()


@pytest.mark.parametrize(
    ("setting", "device", "gib", "expected"),
    [
        ("auto", CARD, 7, False),  # with 3 that the process itself holds
        ("auto", CARD, 6.99, True),
        ("low", CARD, 100, True),
        ("low", torch.device("cpu"), 0, False),
        ("low", torch.device("mps"), 0, False),
    ],
)
def test_the_weights_stay_in_ram_where_the_gpu_is_too_small(
    free: list[int], setting: str, device: torch.device, gib: float, expected: bool
) -> None:
    free[0] = int(gib * GIB)
    assert memory.stays_in_ram(setting, BIG, device) is expected


def test_it_is_decided_once_and_told_in_gib(
    free: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    free[0] = 2 * GIB
    with caplog.at_level(logging.INFO):
        assert memory.stays_in_ram("auto", BIG, CARD)
    assert "5.0 GiB free" in caplog.text and "fastest with 10.0" in caplog.text
    free[0] = 100 * GIB
    assert memory.stays_in_ram("auto", BIG, CARD)


def test_the_fast_way_needs_the_weights_and_the_larger_of_an_edit_and_a_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, dtype = BIG.transformer, torch.bfloat16
    model = build_on_meta(lambda: Infinity(config).set_block_dtype(dtype))
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    scales = schedule(1.0, BIG.pixel_budget, config.patchify)
    edit = all_sampling_bytes(config, scales, 2, dtype)  # with and without the text
    batch = max(BIG.training.lora_batch_size, BIG.training.embedding_batch_size)
    training = recomputed_training_bytes(model, batch * scales.tokens)
    assert memory.fast_bytes(BIG, dtype) == weights + max(edit, training)
    monkeypatch.setattr(memory, "recomputed_training_bytes", lambda model, tokens: 0)
    assert memory.fast_bytes(BIG, dtype) == weights + edit


def test_the_work_is_told_what_it_needs_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawing up to three rows of text, in the precision of the blocks; a training its tokens."""
    asked: list[tuple[Any, ...]] = []
    model: Any = SimpleNamespace(
        config="config", blocks=[SimpleNamespace(ffn_dtype=torch.bfloat16)]
    )
    monkeypatch.setattr(memory, "least_sampling_bytes", lambda *given: ("drawing", *given))
    monkeypatch.setattr(memory, "least_training_bytes", lambda *given: ("training", *given))
    monkeypatch.setattr(memory, "on_device", lambda *given: asked.append(given))
    scales = schedule(1.0, "0.06M")
    memory.for_sampling(model, CARD, scales)
    memory.for_training(model, CARD, 521)
    assert asked == [
        (model, CARD, ("drawing", "config", scales, 3, torch.bfloat16)),
        (model, CARD, ("training", model, 521)),
    ]
