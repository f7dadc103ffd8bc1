"""Training loop of both inversion stages, for one image, few iterations and few parameters.

Source: EditInfinity (arXiv 2510.20217) and docs/method.md, "What training shows the
model". N iterations are N updates. The random generators are seeded in every iteration, so a
resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from editinfinity.inversion.teacher_forcing import (
    SelfCorrectionNoise,
    bit_loss,
    make_training_batch,
)
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import TrainingSettings

_MAX_PENDING = 1
"""Number of iterations that may still run on the device while Python queues the next one."""

Loss = Callable[[], Tensor]
Reseed = Callable[[int], None]

Passes = Callable[[Loss, Sequence[nn.Parameter]], Tensor]
"""Computes a loss and the gradients of parameters, and returns the loss without its graph."""

ParameterState = dict[str, Tensor]
"""AdamW's state for one parameter: ``step``, and two running means of the parameter's shape."""


@dataclass(frozen=True)
class Source:
    """The image to invert, as input for the transformer.

    Attributes:
        features: raw tokenizer features, (1, d, H, W) fp32.
        text: features of the source prompt including the caption suffix, (1, T, Ct5).
        soft_prompt: learned vectors that are appended to the text, (N, Ct5), or None.
    """

    features: Tensor
    text: TextFeatures
    schedule: ScaleSchedule
    soft_prompt: Tensor | None = None

    def batch_text(self, batch: int) -> TextFeatures:
        """Return the text followed by the soft prompt, (batch, T + N, Ct5)."""
        text = self.text if self.soft_prompt is None else self.text.append(self.soft_prompt)
        return TextFeatures(text.features.expand(batch, -1, -1))


class InversionLoss:
    """Callable that draws a noisy batch of the source image and returns its teacher-forced loss.

    The loss is the weighted cross entropy plus ``kl_weight`` times the divergence.
    """

    def __init__(
        self,
        model: nn.Module,
        base: Infinity,
        source: Source,
        training: TrainingSettings,
        batch_size: int,
        kl_weight: float = 0.0,
    ) -> None:
        """``model`` is ``base``, with or without an adapter; ``training`` sets the noise."""
        self.model, self.base, self.source = model, base, source
        self.cond_drop = training.cond_drop
        self.corrupt = SelfCorrectionNoise(training.noise_strength)
        self.batch_size = batch_size
        self.kl_weight = kl_weight

    def __call__(self) -> Tensor:
        source, batch = self.source, self.batch_size
        training_batch = make_training_batch(
            source.features.expand(batch, -1, -1, -1), source.schedule, self.corrupt
        )
        logits = self.model(training_batch.inputs, self._text_with_dropout(), source.schedule)
        loss = bit_loss(logits, training_batch.targets, source.schedule)
        return loss.cross_entropy + self.kl_weight * loss.divergence

    def _text_with_dropout(self) -> TextFeatures:
        """Return the text of the batch, which each sample drops with probability ``cond_drop``."""
        text = self.source.batch_text(self.batch_size)
        dropped = torch.rand(self.batch_size, 1, 1, device=text.features.device) < self.cond_drop
        no_text = self.base.unconditional(text).features
        # torch.where keeps the soft prompt in the autograd graph even if every sample drops its
        # text; the gradient is zero then.
        return TextFeatures(torch.where(dropped, no_text, text.features))


def run_passes(loss: Loss, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Compute the loss, and ``grad`` of each parameter; return the loss.

    A parameter of which the loss does not depend gets no gradient (None).
    """
    for parameter in parameters:
        parameter.grad = None
    value = loss()
    value.backward()
    return value.detach()


def train(
    parameters: Iterable[nn.Parameter],
    loss: Loss,
    settings: TrainingSettings,
    learning_rate: float,
    iterations: Iterable[int],
    reseed: Reseed,
    state: Mapping[int, ParameterState] | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
    passes: Passes = run_passes,
) -> dict[int, ParameterState]:
    """Train ``parameters`` with AdamW, one update per iteration.

    Args:
        parameters: the parameters to train.
        loss: function that draws a batch and returns its loss.
        settings: betas, weight decay and the maximum gradient norm.
        learning_rate: constant learning rate of AdamW.
        iterations: numbers of the iterations to run. A resumed run continues the numbering. The
            iterable may end early.
        reseed: called with the iteration's number before the iteration draws random numbers.
        state: AdamW's state from before the first of these iterations, by parameter index.
        on_iteration: called with the iteration's number and loss after its update, in order. The
            call for the last iteration happens before this function returns.
        passes: runs the forward and backward passes of an iteration.

    Returns:
        AdamW's state after the last iteration.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(
        trained,
        lr=learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    if state is not None:
        # Restore only the running means; learning rate, betas and decay come from this run.
        optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
    pending: deque[tuple[int, Tensor]] = deque()

    def report() -> None:
        """Wait for the oldest pending iteration, and check and report its loss."""
        iteration, value = pending.popleft()
        if not math.isfinite(number := value.item()):
            raise FloatingPointError(f"the loss of iteration {iteration} is {number}")
        if on_iteration is not None:
            on_iteration(iteration, number)

    for iteration in iterations:
        reseed(iteration)
        value = passes(loss, trained)
        for parameter in trained:
            if parameter.grad is None:  # dropped branch: AdamW's momentum still has to move it
                parameter.grad = torch.zeros_like(parameter)
        nn.utils.clip_grad_norm_(trained, settings.grad_clip)
        optimizer.step()
        pending.append((iteration, value))
        if len(pending) > _MAX_PENDING:
            report()
    while pending:
        report()
    return optimizer.state_dict()["state"]
