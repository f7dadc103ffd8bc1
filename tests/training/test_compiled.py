"""Compiled parts that give other numbers than plain ones are noticed."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.captured import CapturedUpdate, SideStream
from training.loop import Recipe, Trainer
from training.state import Average

RECIPE = Recipe(0.1, 1, (0.9, 0.9), 0.0, 1.0, 0.9)


class _Course:
    """One weight to bring to zero; what is "compiled" may be off by a factor."""

    def __init__(self, model: nn.Linear, factor: float) -> None:
        self.model, self.factor = model, factor
        self.fed: list[int] = []

    def feed(self, step: int) -> None:
        self.fed.append(step)

    def prepare(self, step: int) -> None:
        pass

    def losses(self) -> dict[str, Tensor]:
        return {"loss": self.factor * self.plain()["loss"]}

    def plain(self) -> dict[str, Tensor]:
        return {"loss": (self.model.weight * (1 + torch.rand(1))).square().sum()}

    def check(self, average: nn.Module) -> Mapping[str, float]:
        return {}


def _trainer(factor: float, tmp_path: Path) -> tuple[Trainer, _Course]:
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    course = _Course(model, factor)
    options = argparse.Namespace(device="cpu", seed=3, state=tmp_path)
    return Trainer(model, Average(model, 0.9), course, RECIPE, options), course


@pytest.mark.parametrize(("factor", "level"), [(1.0, logging.INFO), (1.05, logging.ERROR)])
def test_the_guard_compares_the_same_randomness(
    factor: float, level: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, _ = _trainer(factor, tmp_path)
    with caplog.at_level(logging.INFO):
        trainer.guard(5)
    assert caplog.records[-1].levelno == level, caplog.text


def test_an_update_feeds_steps_and_moves_the_weights(tmp_path: Path) -> None:
    trainer, course = _trainer(1.0, tmp_path)
    before = abs(float(course.model.weight.detach()))
    for step in range(5):
        values = trainer.step(step, 1.0)
    assert course.fed == [0, 1, 2, 3, 4]
    assert abs(float(course.model.weight.detach())) < before
    assert set(values) == {"loss", "norm"}
    kept = course.model.weight.detach().clone()
    trainer.step(5, 0.0)
    torch.testing.assert_close(course.model.weight.detach(), kept)


def test_without_a_gpu_updates_and_streams_are_plain() -> None:
    device, made = torch.device("cpu"), []

    def make(key: int) -> tuple[Tensor, ...]:
        made.append(key)
        return (torch.tensor(key),)

    source = SideStream(make, device)
    source.start(1)
    assert [int(source.take(key)[0]) for key in (1, 2)] == [1, 2]
    assert made == [1, 2]
    calls = []
    update = CapturedUpdate(lambda: calls.append(1) or {}, device)  # type: ignore[func-returns-value]
    for _ in range(6):
        update()
    assert len(calls) == 6
