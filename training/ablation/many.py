"""Invert and generate many pictures at once, each with its own vectors and adapter.

Inverting one picture does not fill a GPU: its batches are small and launches dominate. Here, S
pictures share every pass. Each has its own parameters, gradient norm and random numbers. The only
difference from S runs of the workflow's stages is the values of these random numbers
(``tests/training/test_ablation.py`` compares the two).

Sample i of a batch belongs to picture i mod S.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.editing.guidance import SourceNegative
from editinfinity.inversion.teacher_forcing import (
    SelfCorrectionNoise,
    bit_loss,
    make_training_batch,
    token_weights,
)
from editinfinity.models.operations import PLAIN
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings


def together(texts: Sequence[Tensor], vectors: Tensor | None = None) -> TextFeatures:
    """Return texts (T_i, Ct5) as one padded batch, each followed by its vectors (S, N, Ct5)."""
    rows = list(texts)
    if vectors is not None:
        rows = [torch.cat([text, own]) for text, own in zip(texts, vectors, strict=True)]
    longest = max(len(row) for row in rows)
    features = torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    lengths = torch.tensor([len(row) for row in rows], device=features.device)
    return TextFeatures(features, torch.arange(longest, device=features.device) < lengths[:, None])


class ManyLora(nn.Module):
    """A linear layer with an adapter for each of S pictures, computed as PEFT does."""

    def __init__(self, layer: nn.Linear, pictures: int, settings: LoraSettings) -> None:
        super().__init__()
        device = layer.weight.device
        self.layer, self.pictures = layer, pictures
        self.scale = settings.lora_alpha / settings.lora_rank
        self.dropout = nn.Dropout(settings.lora_dropout)
        bound = layer.in_features**-0.5  # Kaiming-uniform with a = √5
        down = torch.empty(pictures, settings.lora_rank, layer.in_features, device=device)
        self.down = nn.Parameter(down.uniform_(-bound, bound))
        self.up = nn.Parameter(
            torch.zeros(pictures, layer.out_features, settings.lora_rank, device=device)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (n·S, L, inputs) to (n·S, L, outputs)."""
        result = self.layer(x)
        own = self.dropout(x.float()).unflatten(0, (-1, self.pictures))
        low = torch.einsum("nsli,sri->nslr", own, self.down)
        high = torch.einsum("nslr,sor->nslo", low, self.up).flatten(0, 1)
        return (result + self.scale * high).to(result.dtype)


class Adapted:
    """A copy of the transformer whose feed-forward layers have one adapter per picture.

    Attributes:
        model: the copy.
        parameters: parameters of the adapters, each (S, …).
    """

    def __init__(
        self, transformer: Infinity, pictures: int, settings: LoraSettings | None = None
    ) -> None:
        # Fused operations read the layers' weights directly and would ignore the adapters.
        self.model = copy.deepcopy(transformer).requires_grad_(False).use_operations(PLAIN)
        self.parameters: list[nn.Parameter] = []
        for block in self.model.blocks:
            for name in ("fc1", "fc2"):
                layer = ManyLora(getattr(block.ffn, name), pictures, settings or LoraSettings())
                setattr(block.ffn, name, layer)
                self.parameters += [layer.down, layer.up]
        self.fresh = self.state()

    def state(self) -> list[Tensor]:
        """Return a copy of the adapters' parameters, for :meth:`restore`."""
        return [parameter.detach().clone() for parameter in self.parameters]

    def restore(self, state: Sequence[Tensor] | None) -> Infinity:
        """Return the model with saved adapters or, for None, with new ones, which do nothing."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state or self.fresh, strict=True):
                parameter.copy_(value)
        return self.model.eval()


@dataclass(frozen=True)
class Sources:
    """The pictures to invert: raw features (S, d, H, W) and their prompts' (T_i, Ct5)."""

    features: Tensor
    texts: Sequence[Tensor]
    schedule: ScaleSchedule


class ManyLoss:
    """The inversion's loss (:class:`~editinfinity.inversion.training.InversionLoss`), summed over
    the pictures, so that each picture's gradient is that of its own loss.
    """

    def __init__(
        self, model: Infinity, sources: Sources, vectors: Tensor | None, noise: TrainingSettings,
        batch_size: int, kl_weight: float = 0.0,
    ) -> None:  # fmt: skip
        self.model, self.sources, self.vectors = model, sources, vectors
        self.noise, self.batch_size, self.kl_weight = noise, batch_size, kl_weight

    def __call__(self) -> Tensor:
        features = self.sources.features.repeat(self.batch_size, 1, 1, 1)
        plan = self.sources.schedule
        training_batch = make_training_batch(
            features, plan, SelfCorrectionNoise(self.noise.noise_strength)
        )
        logits = self.model(training_batch.inputs, self._text_with_dropout(), plan)
        loss = bit_loss(logits, training_batch.targets, plan)
        mean = loss.cross_entropy + self.kl_weight * loss.divergence
        return mean * len(self.sources.features)

    def _text_with_dropout(self) -> TextFeatures:
        text = together(self.sources.texts, self.vectors)
        assert text.mask is not None
        turns = self.batch_size
        text = TextFeatures(text.features.repeat(turns, 1, 1), text.mask.repeat(turns, 1))
        chance = torch.rand(len(text.features), 1, 1, device=text.features.device)
        drop = chance < self.noise.cond_drop
        without = self.model.unconditional(text).features
        return TextFeatures(torch.where(drop, without, text.features), text.mask)


def train_many(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    settings: TrainingSettings,
    learning_rate: float,
    iterations: Iterable[int],
    reseed: Callable[[int], None],
    after: Callable[[int], None] = lambda _: None,
) -> None:
    """Update parameters (S, …) once per iteration, clipping the gradient of each picture alone."""
    trained = list(parameters)
    optimizer = torch.optim.AdamW(
        trained, learning_rate, settings.betas, weight_decay=settings.weight_decay
    )
    for iteration in iterations:
        reseed(iteration)
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        for parameter in trained:
            if parameter.grad is None:  # of a block whose branch every sample dropped
                parameter.grad = torch.zeros_like(parameter)
        _clip_each(trained, settings.grad_clip)
        optimizer.step()
        after(iteration)


def _clip_each(parameters: Sequence[nn.Parameter], most: float) -> None:
    """Apply ``clip_grad_norm_`` to the gradients of each picture separately."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients])
    factor = (most / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))


@torch.no_grad()
def losses_of(model: Infinity, sources: Sources, vectors: Tensor | None) -> list[float]:
    """Return each picture's teacher-forced cross entropy, without noise."""
    plan = sources.schedule
    training_batch = make_training_batch(sources.features, plan)
    logits = model(training_batch.inputs, together(sources.texts, vectors), plan)
    margin = (logits[..., 1] - logits[..., 0]).float()
    entropy = F.softplus(torch.where(training_batch.targets, -margin, margin)).mean(-1)
    return (entropy * token_weights(plan, entropy.device)).sum(1).tolist()


class ManySourceNegative(SourceNegative):
    """``SourceNegative`` for pictures with different prompts and masks (S, H, W)."""

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return the rows [target…, no text…, source…], padded to the same length."""
        source = self.source
        assert text.mask is not None and source.mask is not None
        longest = max(text.features.shape[1], source.features.shape[1])
        padded, masks = [], []
        for part in (text, model.unconditional(text), source):
            assert part.mask is not None
            missing = longest - part.features.shape[1]
            padded.append(F.pad(part.features, (0, 0, 0, missing)))
            masks.append(F.pad(part.mask, (0, missing)))
        return TextFeatures(torch.cat(padded), torch.cat(masks))

    def _edit_mask_at(self, scale: int) -> Tensor:
        """Return the fraction of each token of a scale that is inside the mask, (S, L, 1)."""
        assert self.edit_mask is not None
        grid = self.schedule.scales[scale]
        return F.adaptive_avg_pool2d(self.edit_mask[:, None], grid).flatten(1)[..., None]
