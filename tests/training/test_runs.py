"""What keeps a training run going: checkpoints, weights alone, learning rate, exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from editinfinity.models.transformer import Infinity
from editinfinity.presets import preset
from training.state import (
    Average,
    Budget,
    Progress,
    export_weights,
    load_state,
    read_weights,
    save_state,
)


def _trained(updates: int, folder: Path | None, save: Path | None = None) -> torch.Tensor:
    """A small model after some updates, resumed from and saved to folders."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    average = Average(model, 0.9)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    progress = Progress()
    if folder:
        progress = load_state(folder, "tokenizer", model, average, optimizer)
    for step in range(progress.step, progress.step + updates):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
        average.update(model, step)
    if save:
        save_state(save, model, average, optimizer, Progress(progress.step + updates, 1.5))
    return average.model.weight.detach().clone()


def test_a_resumed_run_equals_a_straight_one(tmp_path: Path) -> None:
    _trained(3, None, tmp_path)
    assert not list(tmp_path.glob("*.partial"))
    torch.testing.assert_close(_trained(4, tmp_path), _trained(7, None), rtol=0, atol=0)


def test_a_run_continues_from_weights_alone(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    export_weights(model.state_dict(), tmp_path, "tokenizer")
    other = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(other.parameters())
    average = Average(other, 0.9)
    assert load_state(tmp_path, "tokenizer", other, average, optimizer) == Progress()
    torch.testing.assert_close(other.weight, model.weight, rtol=0, atol=1e-3)
    torch.testing.assert_close(average.model.weight, other.weight)
    with pytest.raises(SystemExit, match="transformer"):
        read_weights(tmp_path, "transformer")


def test_one_cosine_spans_several_calls() -> None:
    fresh = Budget(100, 400, Progress())
    half = Budget(100, 400, Progress(1000, 200.0))
    last = Budget(100, 400, Progress(1000, 399.99))
    rates = [budget.learning_rate(1.0, 1000, 10) for budget in (fresh, half, last)]
    assert rates == pytest.approx([1.0, 0.505, 0.01], abs=1e-3)
    assert fresh.learning_rate(1.0, 0, 10) == pytest.approx(0.1, abs=1e-3)
    assert Budget(100, 400, Progress(0, 400.0)).over


def test_exports_are_half_precision_small_files_with_released_names(tmp_path: Path) -> None:
    model = Infinity(preset("bundled").transformer)
    paths = export_weights(model.state_dict(), tmp_path, "transformer")
    assert all(path.stat().st_size <= 16 * 2**20 for path in paths)
    tensors = {k: v for path in paths for k, v in load_file(path).items()}
    assert all(v.dtype == torch.float16 for v in tensors.values())
    assert any(key.startswith("block_chunks.0.module.") for key in tensors)
    fresh = Infinity(preset("bundled").transformer)
    fresh.load_state_dict(read_weights(tmp_path, "transformer"))
    torch.testing.assert_close(fresh.head.weight, model.head.weight, rtol=0, atol=1e-3)
