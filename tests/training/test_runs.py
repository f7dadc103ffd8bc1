"""What keeps a training run going: checkpoints, weights alone, learning rate, exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from editinfinity.models.transformer import Infinity
from editinfinity.presets import preset
from training.muon import Muon, orthogonalised
from training.state import (
    Average,
    Budget,
    Progress,
    build_upon,
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
    optimizers = [
        torch.optim.AdamW([model.bias], 0.1),
        Muon([model.weight], torch.tensor(0.1)),
    ]
    progress = Progress()
    if folder:
        progress = load_state(folder, "tokenizer", model, average, optimizers)
    for step in range(progress.step, progress.step + updates):
        torch.manual_seed(step)
        model.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update(step)
    if save:
        save_state(save, model, average, optimizers, Progress(progress.step + updates, 1.5))
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
    assert load_state(tmp_path, "tokenizer", other, average, [optimizer]) == Progress()
    torch.testing.assert_close(other.weight, model.weight, rtol=0, atol=1e-3)
    torch.testing.assert_close(average.model.weight, other.weight)
    with pytest.raises(SystemExit, match="transformer"):
        read_weights(tmp_path, "transformer")


def test_a_run_does_not_go_on_over_another_tokenizer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("one", "other"):
        export_weights(nn.Linear(3, 2).state_dict(), tmp_path / name, "tokenizer")
    build_upon(run, tmp_path / "other", "tokenizer")
    build_upon(run, tmp_path / "one", "tokenizer")  # nothing was trained yet
    _trained(3, None, run)
    build_upon(run, tmp_path / "one", "tokenizer")
    with pytest.raises(SystemExit, match="another tokenizer"):
        build_upon(run, tmp_path / "other", "tokenizer")


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


def test_muons_updates_are_orthogonal_and_of_adams_size() -> None:
    torch.manual_seed(0)
    for shape in ((3, 24, 8), (3, 8, 24)):
        found = orthogonalised(torch.randn(shape))
        singular = torch.linalg.svdvals(found)
        assert 0.5 < singular.min() <= singular.max() < 1.5
    weight = nn.Parameter(torch.randn(64, 32))
    before = weight.detach().clone()
    weight.grad = torch.randn(64, 32)
    Muon([weight], torch.tensor(0.01), weight_decay=0.0).step()
    assert float((weight - before).square().mean().sqrt()) == pytest.approx(0.002, rel=0.4)


def test_muon_goes_downhill_and_follows_its_rate() -> None:
    torch.manual_seed(1)
    wanted, inputs = torch.randn(6, 4), torch.randn(32, 4)
    weight, rate = nn.Parameter(torch.zeros(6, 4)), torch.tensor(0.3)
    optimizer = Muon([weight], rate, weight_decay=0.0)
    losses = []
    for _ in range(60):
        loss = (inputs @ (weight - wanted).T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]
    rate.zero_()
    kept = weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), kept)
