"""The training loop of both inversion stages: one image, few iterations, few parameters.

Source: EditInfinity (arXiv 2510.20217) and the design document "method", "Training facts". N
iterations are N updates. Every iteration seeds its own randomness, so a resumed run equals a
straight one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from editinfinity.inversion.teacher_forcing import SelfCorrectionNoise, bit_loss, make_lesson
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule

Loss = Callable[[], Tensor]
Reseed = Callable[[int], None]

ParameterState = dict[str, Tensor]
"""What AdamW keeps of one parameter: ``step`` and two running means of its shape."""


@dataclass(frozen=True)
class NoiseSettings:
    """The randomness of a training sample.

    Attributes:
        strength: largest probability of flipping a bit.
        condition_drop: probability of replacing the whole text by "no text".
    """

    strength: float = 0.3
    condition_drop: float = 0.1


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW at a constant rate.

    Attributes:
        learning_rate: of every update.
        betas: decay of the running means of the gradient and of its square.
        grad_clip: largest norm of the gradient of all parameters together.
        weight_decay: AdamW's; upstream has none.
    """

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.97)
    grad_clip: float = 5.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Source:
    """The image to invert, as the transformer sees it.

    Attributes:
        features: raw tokenizer features, (1, d, H, W) fp32.
        text: the source prompt's features, (1, T, Ct5), suffix included.
        learned: the learned vectors that follow it, (N, Ct5), or None.
    """

    features: Tensor
    text: TextFeatures
    schedule: ScaleSchedule
    learned: Tensor | None = None

    def batch_text(self, batch: int) -> TextFeatures:
        """The text with the learned vectors, (batch, T + N, Ct5)."""
        text = self.text if self.learned is None else self.text.append(self.learned)
        return TextFeatures(text.features.expand(batch, -1, -1))


class InversionLoss:
    """Draws a noisy batch of the source and returns the teacher-forced loss.

    The loss is the weighted cross entropy plus ``kl_weight`` times the divergence.
    """

    def __init__(
        self,
        model: nn.Module,
        base: Infinity,
        source: Source,
        noise: NoiseSettings,
        batch_size: int,
        kl_weight: float = 0.0,
    ) -> None:
        """``model`` is ``base`` or ``base`` with an adapter."""
        self.model, self.base, self.source = model, base, source
        self.noise = noise
        self.corrupt = SelfCorrectionNoise(noise.strength)
        self.batch_size = batch_size
        self.kl_weight = kl_weight

    def __call__(self) -> Tensor:
        source, batch = self.source, self.batch_size
        lesson = make_lesson(
            source.features.expand(batch, -1, -1, -1), source.schedule, self.corrupt
        )
        logits = self.model(lesson.inputs, self._draw_text(), source.schedule)
        loss = bit_loss(logits, lesson.targets, source.schedule)
        return loss.cross_entropy + self.kl_weight * loss.divergence

    def _draw_text(self) -> TextFeatures:
        text = self.source.batch_text(self.batch_size)
        chance = torch.rand(self.batch_size, 1, 1, device=text.features.device)
        # torch.where keeps the graph when every sample drops its text: the gradient is then zero.
        return TextFeatures(
            torch.where(
                chance < self.noise.condition_drop,
                self.base.unconditional(text).features,
                text.features,
            )
        )


def train(
    parameters: Iterable[nn.Parameter],
    loss: Loss,
    settings: OptimizerSettings,
    iterations: Iterable[int],
    reseed: Reseed,
    state: Mapping[int, ParameterState] | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> dict[int, ParameterState]:
    """Update ``parameters`` once an iteration.

    Args:
        iterations: numbers of the iterations to run; they continue over resumed runs, and may end
            early.
        reseed: called with an iteration's number before it draws anything.
        state: AdamW's state after the iteration before the first, by the parameters' order.
        on_iteration: called with the iteration's number and loss after its update.

    Returns:
        AdamW's state after the last iteration.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(
        trained,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    if state is not None:
        # Only the running means are an earlier run's; the rates are this one's.
        optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
    for iteration in iterations:
        reseed(iteration)
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        # Waits for the device, so not before all its work is under way.
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss of iteration {iteration} is {value.item()}")
        for parameter in trained:
            if (
                parameter.grad is None
            ):  # of a block whose branch was dropped: not moved, but decayed
                parameter.grad = torch.zeros_like(parameter)
        nn.utils.clip_grad_norm_(trained, settings.grad_clip)
        optimizer.step()
        if on_iteration is not None:
            on_iteration(iteration, value.item())
    return optimizer.state_dict()["state"]
