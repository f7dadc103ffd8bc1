"""Kept models on a real card."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from editinfinity.worker.memory import CARD_SHARE, MemoryBudget
from editinfinity.worker.warm import WarmModels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def load(number: int, width: int) -> nn.Module:
    model = nn.Linear(width, width, dtype=torch.bfloat16).cuda()
    nn.init.constant_(model.weight, number)
    return model.requires_grad_(False)


def test_parked_models_free_the_card_and_come_back_unharmed() -> None:
    device = torch.device("cuda")
    memory = MemoryBudget(device)
    total = torch.cuda.get_device_properties(device).total_memory
    assert memory.card_budget == int(total * CARD_SHARE)
    memory.card_budget = 300 * 2**20
    models, width = WarmModels(memory), 10240  # 200 MiB each
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    models.load(load, 1, width)
    models.finish_job("edit")
    second = models.load(load, 2, width)
    assert torch.cuda.memory_allocated() - before < 250 * 2**20, "only one is there"
    assert second.weight.device.type == "cuda"
    del second
    models.finish_job("edit")
    again = models.load(load, 1, width)
    assert again.weight.device.type == "cuda" and again.weight.float().mean() == 1
