"""Invert a photograph: learn vectors appended to its prompt (stage 2), then LoRA (stage 3).

Source: EditInfinity (arXiv 2510.20217). The noise of iteration i depends only on (seed, training,
i), so a resumed training yields the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from editinfinity.compute import determinism, report_memory_faults, reseed
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter, OptimizerState, SoftPrompt, remove_adapter
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.inversion import gradient_checkpointing
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.recorded_iterations import choose_passes
from editinfinity.inversion.training import InversionLoss, Passes, Source, train
from editinfinity.models import fp8
from editinfinity.models.dispatch import choose_fp8
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import Preset
from editinfinity.prompts import SOFT_PROMPT_LENGTH
from editinfinity.settings.groups import LoraSettings, TrainingSettings

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)

SOFT_PROMPT, ADAPTER = "train_textembedding", "train_lora"
"""Names of the two trainings; the seeds of their iterations depend on these names."""


class TrainingCallbacks:
    """Callbacks of a training. This base class logs the losses and runs every iteration.

    A subclass may resume an earlier training, and may stop before the last iteration.
    """

    def on_start(
        self, model: nn.Module, parameters: Sequence[nn.Parameter]
    ) -> OptimizerState | None:
        """Load the parameters of an earlier training into the model, in place.

        Args:
            model: the transformer, with the adapter if an adapter is trained.
            parameters: the trained parameters; their order is always the same.

        Returns:
            The optimizer's state after the last completed iteration, or None if there is none.
        """
        return None

    def steps(self, iterations: Iterable[int]) -> Iterable[int]:
        """Return the iterations to run; the iterable may end early."""
        return iterations

    def on_iteration(self, name: str, iteration: int, last: int, loss: float) -> None:
        """Handle a completed iteration; ``last`` is the number of the training's last iteration."""
        log.info("%s: iteration %d of %d, loss %.4f", name, iteration, last, loss)

    def on_end(self, parameters: Sequence[nn.Parameter], state: OptimizerState) -> None:
        """Handle the end of the run; ``state`` holds the number of the last completed iteration."""


def source_of(
    photograph: ImageFeatures,
    prompt: PromptFeatures,
    device: torch.device,
    soft_prompt: Tensor | None = None,
) -> Source:
    """Return a photograph, its prompt and any soft prompt (N, Ct5) as training input."""
    raw = torch.from_numpy(photograph.raw)[None].to(device)
    if soft_prompt is not None:
        soft_prompt = soft_prompt.to(device)
    text = TextFeatures.of(prompt.features, device)
    return Source(raw, text, photograph.schedule, soft_prompt)


@dataclass(frozen=True)
class Trainer:
    """Trains vectors and adapters on one photograph.

    Every training leaves the transformer in ``eval`` mode and, but for ``train_adapter``, without
    an adapter.

    Attributes:
        transformer: the transformer; its weights are frozen.
        preset: the model's preset.
        training: hyperparameters of the trainings.
        callbacks: called during each training.
        checkpointing: value of the setting ``gradient_checkpointing``.
    """

    transformer: Infinity
    preset: Preset
    training: TrainingSettings
    callbacks: TrainingCallbacks = field(default_factory=TrainingCallbacks)
    checkpointing: str = "auto"

    def learn(
        self,
        source: Source,
        soft_prompt_iterations: int,
        adapter_iterations: int,
        lora: LoraSettings,
    ) -> tuple[SoftPrompt | None, Adapter | None]:
        """Learn a soft prompt, then an adapter on top of it; 0 iterations skip a training.

        Raises:
            UserError: for the same reasons as ``learn_soft_prompt``.
        """
        soft_prompt = adapter = None
        if soft_prompt_iterations:
            soft_prompt, _ = self.learn_soft_prompt(source, soft_prompt_iterations)
            vectors = soft_prompt.vectors.to(self.transformer.device)
            source = replace(source, soft_prompt=vectors)
        if adapter_iterations:
            adapter, _ = self.learn_adapter(source, adapter_iterations, lora)
        return soft_prompt, adapter

    def learn_soft_prompt(
        self, source: Source, iterations: int
    ) -> tuple[SoftPrompt, OptimizerState]:
        """Learn a soft prompt that completes the source prompt, starting from zeros (stage 2).

        Args:
            source: result of ``source_of``, without a soft prompt.
            iterations: number of the last iteration, which is the total number of updates.

        Returns:
            The soft prompt on the CPU, and the optimizer's state.

        Raises:
            UserError: no iteration is left to run, the loss is not finite, or the GPU ran out of
                memory.
        """
        start = torch.zeros(SOFT_PROMPT_LENGTH, self.preset.transformer.text_width)
        vectors = nn.Parameter(start.to(self.transformer.device))
        prompted = replace(source, soft_prompt=vectors)
        defaults = self.preset.training
        rate = self.training.embedding_learning_rate or defaults.embedding_learning_rate
        batch = self.training.batch_size or defaults.embedding_batch_size
        state = self._train(
            SOFT_PROMPT, self.transformer, [vectors], prompted, iterations, rate, batch
        )
        return SoftPrompt(vectors.detach().cpu(), state.iteration, self.preset.name), state

    def learn_adapter(
        self, source: Source, iterations: int, lora: LoraSettings
    ) -> tuple[Adapter, OptimizerState]:
        """Learn the style of the photograph in a new LoRA adapter (stage 3).

        Args:
            source: result of ``source_of``, with the soft prompt to use, if any.
            iterations: number of the last iteration, which is the total number of updates.
            lora: shape of the adapter, and weight of its KL loss.

        Returns:
            The adapter on the CPU, and the optimizer's state.

        Raises:
            UserError: for the same reasons as ``learn_soft_prompt``.
        """
        adapted = self.new_adapter(lora)
        try:
            state = self.train_adapter(adapted, source, iterations, lora)
            return Adapter.of(adapted), state
        finally:
            remove_adapter(self.transformer)

    def new_adapter(self, lora: LoraSettings) -> PeftModel:
        """Return the transformer, wrapped in place with a new LoRA adapter."""
        reseed(self.training.train_seed, ADAPTER, 0)
        return add_lora(self.transformer, lora).to(self.transformer.device)

    def train_adapter(
        self, adapted: PeftModel, source: Source, iterations: int, lora: LoraSettings
    ) -> OptimizerState:
        """Train the adapter of a result of ``new_adapter``, in place; see ``learn_adapter``.

        Raises:
            UserError: for the same reasons as ``learn_soft_prompt``, or the device does not support
                the setting ``precision``.
        """
        parameters = [tensor for tensor in adapted.parameters() if tensor.requires_grad]
        defaults = self.preset.training
        rate = self.training.lora_learning_rate or defaults.lora_learning_rate
        batch = self.training.batch_size or defaults.lora_batch_size
        with self._products_in(lora.precision, batch * source.schedule.tokens):
            return self._train(
                ADAPTER, adapted, parameters, source, iterations, rate, batch, lora.kl_weight
            )

    @contextmanager
    def _products_in(self, precision: str, tokens: int) -> Iterator[None]:
        """Compute the products with frozen matrices in a precision inside the block.

        Args:
            precision: the setting ``precision``.
            tokens: number of tokens of all samples of an iteration.
        """
        with ExitStack() as stack:
            if precision == "fp8":
                arithmetic = choose_fp8(self.transformer.device)
                if reason := fp8.reason_against(self.transformer, tokens):
                    log.info("precision: fp8: %s, so LoRA is trained in bf16", reason)
                else:
                    with report_memory_faults("set precision: auto, which needs less"):
                        stack.enter_context(fp8.in_fp8(self.transformer, arithmetic))
            yield

    def _train(
        self,
        name: str,
        model: nn.Module,
        parameters: Sequence[nn.Parameter],
        source: Source,
        iterations: int,
        learning_rate: float,
        batch_size: int,
        kl_weight: float = 0.0,
    ) -> OptimizerState:
        """Train the parameters until the total number of updates is ``iterations``.

        Args:
            name: name of the training, used for seeds and messages.
            model: the transformer, with the adapter if an adapter is trained.
            parameters: the parameters to train.
            source: the photograph and its prompt.
            iterations: number of the last iteration.
            learning_rate: learning rate of AdamW.
            batch_size: number of noisy copies of the photograph in an iteration.
            kl_weight: weight of the divergence in ``InversionLoss``.
        """
        callbacks, seed = self.callbacks, self.training.train_seed
        before = callbacks.on_start(model, parameters)
        done = 0 if before is None else before.iteration
        if iterations <= done:
            raise UserError(
                f"{name}: cannot train to iteration {iterations} from iteration {done}; "
                "choose a larger number of iterations"
            )

        def report(iteration: int, value: float) -> None:
            nonlocal done
            done = iteration
            callbacks.on_iteration(name, iteration, iterations, value)

        loss = InversionLoss(model, self.transformer, source, self.training, batch_size, kl_weight)
        passes = self._prepare(model, source.schedule.tokens, batch_size)
        try:
            with (
                report_memory_faults("lower batch_size, or choose a smaller pixel_budget"),
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
                    passes,
                )
        except FloatingPointError as error:
            raise UserError(f"{name}: {error}; lower the learning rate") from None
        finally:
            model.eval()
        states = [after.get(index, {}) for index in range(len(parameters))]
        saved = [{key: value.detach().cpu() for key, value in state.items()} for state in states]
        state = OptimizerState(saved, done, self.preset.name)
        callbacks.on_end(parameters, state)
        return state

    def _prepare(self, model: nn.Module, tokens: int, batch: int) -> Passes:
        """Prepare the model for training: ``train`` mode, drop path, checkpointing, recording."""
        self.transformer.set_drop_path(self.training.drop_path)
        model.train()
        recomputed = gradient_checkpointing.prepare(
            self.transformer, batch * tokens, self.checkpointing
        )
        return choose_passes(self.transformer, tokens, batch, recomputed)
