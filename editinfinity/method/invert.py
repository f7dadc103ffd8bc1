"""Invert a photograph: learn vectors behind its prompt (stage 2), then a LoRA adapter (stage 3).

Source: EditInfinity (arXiv 2510.20217). Iteration i draws its noise from (seed, training, i), so a
continued training learns the same numbers as a straight one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from editinfinity.compute import determinism, reseed, telling_memory_faults
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter, Embedding, OptimizerState
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.inversion import gradient_checkpointing
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.training import InversionLoss, Source, train
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import Preset
from editinfinity.prompts import LEARNED_VECTORS
from editinfinity.settings.groups import LoraSettings, TrainingSettings

log = logging.getLogger(__name__)

VECTORS, ADAPTER = "train_textembedding", "train_lora"
"""Names of the two trainings, of which their seeds are made."""


class TrainingCallbacks:
    """What a training calls on its way: this one logs the losses and runs every iteration.

    A subclass may begin with what an earlier training has learned, and leave off before the end.
    """

    def on_start(
        self, model: nn.Module, parameters: Sequence[nn.Parameter]
    ) -> OptimizerState | None:
        """Put what an earlier training has learned into the model, in place.

        Args:
            model: the transformer, with the adapter that trains if one does.
            parameters: what trains, in an order that is the same every time.

        Returns:
            The optimizer's state after the last iteration that was made, or None before the first.
        """
        return None

    def steps(self, iterations: Iterable[int]) -> Iterable[int]:
        """The iterations to run; they may end early."""
        return iterations

    def on_iteration(self, name: str, iteration: int, last: int, loss: float) -> None:
        """An iteration of a training is done; ``last`` is the number of its last one."""
        log.info("%s: iteration %d of %d, loss %.4f", name, iteration, last, loss)

    def on_end(self, parameters: Sequence[nn.Parameter], state: OptimizerState) -> None:
        """No further iteration will be run; ``state`` tells the number of the one made last."""


def source_of(
    photograph: ImageFeatures,
    prompt: PromptFeatures,
    device: torch.device,
    vectors: Tensor | None = None,
) -> Source:
    """A photograph and its prompt to learn from, with vectors (N, Ct5) that were learned before."""
    raw = torch.from_numpy(photograph.raw)[None].to(device)
    learned = None if vectors is None else vectors.to(device)
    text = TextFeatures.of(prompt.features, device)
    return Source(raw, text, photograph.schedule, learned)


@dataclass(frozen=True)
class Trainer:
    """Trains on one photograph; the transformer leaves as it came, bare and in ``eval`` mode.

    Attributes:
        transformer: frozen; what is learned lies beside its weights.
        preset: the model.
        training: hyperparameters of the trainings.
        callbacks: called on the way.
        recomputed: the setting ``gradient_checkpointing``.
    """

    transformer: Infinity
    preset: Preset
    training: TrainingSettings
    callbacks: TrainingCallbacks = field(default_factory=TrainingCallbacks)
    recomputed: str = "auto"

    def learn(
        self, source: Source, vector_iterations: int, adapter_iterations: int, lora: LoraSettings
    ) -> tuple[Embedding | None, Adapter | None]:
        """Learn vectors, then an adapter over them; 0 iterations leave one out.

        Raises:
            UserError: as ``learn_vectors``.
        """
        embedding = adapter = None
        if vector_iterations:
            embedding, _ = self.learn_vectors(source, vector_iterations)
            learned = embedding.vectors.to(self.transformer.device)
            source = replace(source, learned=learned)
        if adapter_iterations:
            adapter, _ = self.learn_adapter(source, adapter_iterations, lora)
        return embedding, adapter

    def learn_vectors(self, source: Source, iterations: int) -> tuple[Embedding, OptimizerState]:
        """Learn vectors that complete the source prompt, from zeros (stage 2).

        Args:
            source: of ``source_of``, without vectors.
            iterations: number of the last one; the vectors have seen as many updates.

        Returns:
            The vectors on the CPU, and the optimizer's state.

        Raises:
            UserError: no iteration is left to run, the loss became infinite, or memory ran out.
        """
        start = torch.zeros(LEARNED_VECTORS, self.preset.transformer.text_width)
        vectors = nn.Parameter(start.to(self.transformer.device))
        learned = replace(source, learned=vectors)
        own = self.preset.training.embedding_learning_rate
        rate = self.training.embedding_learning_rate or own
        state = self._train(VECTORS, self.transformer, [vectors], learned, iterations, rate)
        return Embedding(vectors.detach().cpu(), state.iteration, self.preset.name), state

    def learn_adapter(
        self, source: Source, iterations: int, lora: LoraSettings
    ) -> tuple[Adapter, OptimizerState]:
        """Learn the style of the photograph in a fresh LoRA adapter (stage 3).

        Args:
            source: of ``source_of``, with the vectors to train over if any.
            iterations: number of the last one; the adapter has seen as many updates.
            lora: the adapter's shape and loss.

        Returns:
            The adapter on the CPU, and the optimizer's state.

        Raises:
            UserError: as ``learn_vectors``.
        """
        reseed(self.training.train_seed, ADAPTER, 0)
        adapted = add_lora(self.transformer, lora).to(self.transformer.device)
        parameters = [tensor for tensor in adapted.parameters() if tensor.requires_grad]
        rate = self.training.lora_learning_rate or self.preset.training.lora_learning_rate
        try:
            state = self._train(
                ADAPTER, adapted, parameters, source, iterations, rate, lora.kl_weight
            )
            return Adapter.of(adapted), state
        finally:
            adapted.unload()

    def _train(
        self,
        name: str,
        model: nn.Module,
        parameters: Sequence[nn.Parameter],
        source: Source,
        iterations: int,
        learning_rate: float,
        kl_weight: float = 0.0,
    ) -> OptimizerState:
        """Update the parameters until ``iterations`` updates were made in all.

        Args:
            name: of the training; seeds and messages carry it.
            model: the transformer, with the adapter that trains if one does.
            parameters: what trains.
            source: what to learn.
            iterations: number of the last one.
            learning_rate: of AdamW.
            kl_weight: of ``InversionLoss``.
        """
        callbacks, seed = self.callbacks, self.training.train_seed
        before = callbacks.on_start(model, parameters)
        done = 0 if before is None else before.iteration
        if iterations <= done:
            raise UserError(
                f"{name}: cannot make iteration {iterations} from iteration {done}; "
                "ask for more iterations, from 1 up"
            )

        def report(iteration: int, value: float) -> None:
            nonlocal done
            done = iteration
            callbacks.on_iteration(name, iteration, iterations, value)

        loss = self._loss(model, source, kl_weight)
        try:
            with (
                telling_memory_faults("lower batch_size, or choose a smaller pixel_budget"),
                determinism(self.training.deterministic),
            ):
                after = train(
                    parameters,
                    loss,
                    self.training,
                    learning_rate,
                    callbacks.steps(range(done + 1, iterations + 1)),
                    lambda iteration: reseed(seed, name, iteration),
                    None if before is None else dict(enumerate(before.parameters)),
                    report,
                )
        except FloatingPointError as error:
            raise UserError(f"{name}: {error}; lower the learning rate") from None
        finally:
            model.eval()
        states = [after.get(index, {}) for index in range(len(parameters))]
        kept = [{name: value.detach().cpu() for name, value in of.items()} for of in states]
        state = OptimizerState(kept, done, self.preset.name)
        callbacks.on_end(parameters, state)
        return state

    def _loss(self, model: nn.Module, source: Source, kl_weight: float) -> InversionLoss:
        """The loss of a model in ``train`` mode."""
        settings = self.training
        batch = settings.batch_size or self.preset.training.batch_size
        self.transformer.set_drop_path(settings.drop_path)
        model.train()
        gradient_checkpointing.prepare(
            self.transformer, batch * source.schedule.tokens, self.recomputed
        )
        return InversionLoss(model, self.transformer, source, settings, batch, kl_weight)
