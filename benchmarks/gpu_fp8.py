"""What ``precision: fp8`` gains and changes on a GPU, with random weights at full size.

    python benchmarks/gpu_fp8.py [--preset infinity_2b] [--budget 1M] [--iterations 50]

Prints three things, for LoRA with dropout, drop path and noise as in a training:

- the time and memory of an iteration with one and two samples, in bf16 and in FP8, whether or not
  the setting would use FP8 there (``MIN_SIZE`` in ``editinfinity/models/fp8.py``);
- how far the gradient of one iteration is from that in bf16;
- how far losses and adapter are apart after some iterations with the same noise.

Two runs in bf16 differ too, since attention adds up gradients in varying order; they are printed
beside. It takes about three minutes on an H200. ``benchmarks/fp8_learning.py`` has real weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
import torch.nn.functional as F
from gpu import DEVICE, Bench, iterations
from gpu_models import random_source, random_transformer, schedule_of, with_learned
from torch import Tensor, nn

from editinfinity.compute import reseed
from editinfinity.inversion.gradient_checkpointing import prepare
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.training import InversionLoss, run_passes, train
from editinfinity.models.dispatch import choose_fp8
from editinfinity.models.fp8 import in_fp8, reason_against
from editinfinity.presets import PRESETS, preset
from editinfinity.settings.groups import LoraSettings, TrainingSettings

Products = Callable[[], AbstractContextManager[None]]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().float().flatten() for tensor in tensors])


def compare(what: str, ours: Tensor, theirs: Tensor) -> None:
    error = float((ours - theirs).norm() / theirs.norm())
    cosine = float(F.cosine_similarity(ours, theirs, dim=0))
    print(f"{what:40} relative error {error:.2e}, cosine {cosine:.5f}", flush=True)


def gradient_of(loss: InversionLoss, matrices: list[nn.Parameter]) -> Tensor:
    """Return the gradient of an iteration, always with the same noise."""
    reseed(42, "train_lora", 1)
    run_passes(loss, matrices)
    return flat([matrix.grad for matrix in matrices if matrix.grad is not None])


def learn(
    loss: InversionLoss, matrices: list[nn.Parameter], rate: float, count: int
) -> tuple[list[float], Tensor]:
    """Train from the current values, restore these, and return the losses and the change."""
    before, losses = [matrix.detach().clone() for matrix in matrices], list[float]()
    train(
        matrices, loss, TrainingSettings(), rate, range(1, count + 1),
        lambda iteration: reseed(42, "train_lora", iteration), None,
        lambda iteration, value: losses.append(value),
    )  # fmt: skip
    change = flat(matrices) - flat(before)
    with torch.no_grad():
        for matrix, value in zip(matrices, before, strict=True):
            matrix.copy_(value)
    return losses, change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="infinity_2b", choices=sorted(PRESETS))
    parser.add_argument("--budget", default="1M")
    parser.add_argument("--iterations", type=int, default=50)
    options = parser.parse_args()
    chosen, bench = preset(options.preset), Bench()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.preset}")
    model, scales = random_transformer(chosen, DEVICE), schedule_of(chosen, options.budget)
    vectors = torch.randn(20, chosen.transformer.text_width, device=DEVICE) * 1e-3
    source = with_learned(random_source(chosen, scales, DEVICE), vectors)
    adapted = add_lora(model, LoraSettings()).to(DEVICE).train()
    model.set_drop_path(0.1)
    matrices = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for matrix in matrices:  # an adapter that has learned something: B starts at zero
            if not matrix.any():
                matrix.normal_(0, 1e-3)
    in_eight_bits = partial(in_fp8, model, choose_fp8(DEVICE))
    ways: dict[str, Products] = {"bf16": nullcontext, "fp8": in_eight_bits}
    for batch in (1, 2):
        print(f"\nbatch {batch}: {reason_against(model, batch * scales.tokens) or 'FP8 is used'}")
        loss = InversionLoss(adapted, model, source, TrainingSettings(), batch, 2e-7)
        seconds = {}
        for way, products in ways.items():
            with products():
                prepare(model, batch * scales.tokens, "auto")
                what = f"LoRA iteration, batch {batch}, {way}"
                seconds[way] = iterations(bench, what, options.budget, matrices, loss)
        print(f"fp8 / bf16: {seconds['fp8'] / seconds['bf16']:.3f}")
        exact = gradient_of(loss, matrices)
        compare("gradient in bf16, again", gradient_of(loss, matrices), exact)
        with in_eight_bits():
            compare("gradient in FP8", gradient_of(loss, matrices), exact)
        rate = chosen.training.lora_learning_rate
        losses, change = learn(loss, matrices, rate, options.iterations)
        for way, products in {"bf16, again": nullcontext, "fp8": in_eight_bits}.items():
            with products():
                others, other_change = learn(loss, matrices, rate, options.iterations)
            apart = [abs(a - b) for a, b in zip(losses, others, strict=True)]
            compare(f"what {options.iterations} iterations learn, {way}", other_change, change)
            print(
                f"losses: {mean(others[-10:]):.5f} in the end, {mean(losses[-10:]):.5f} in bf16; "
                f"{mean(apart):.5f} apart, at most {max(apart):.5f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
