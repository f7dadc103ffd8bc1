"""Fixtures of the training's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def lpips_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of random weights for :class:`training.lpips.Lpips`."""
    generator = torch.Generator().manual_seed(0)
    lpips = {}
    for index, (wide, before, side) in enumerate(
        [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    ):
        kernel = torch.randn(wide, before, side, side, generator=generator)
        lpips[f"convolutions.{index}.weight"] = kernel * 0.05
        lpips[f"convolutions.{index}.bias"] = torch.zeros(wide)
        lpips[f"heads.{index}"] = torch.rand(wide, generator=generator) / wide
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(lpips, path)
    return path
