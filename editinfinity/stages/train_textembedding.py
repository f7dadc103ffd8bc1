"""Stage ``train_textembedding``: learn a soft prompt that completes the source prompt (stage 2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from editinfinity.errors import UserError
from editinfinity.files.checkpoints import OptimizerState, SoftPrompt
from editinfinity.method.invert import SOFT_PROMPT, Trainer, source_of
from editinfinity.presets import Preset
from editinfinity.settings.groups import ModelSettings, TrainingSettings
from editinfinity.stages.host import ALONE, Host, PauseFile
from editinfinity.stages.loading import (
    open_features,
    open_settings,
    transformer_for_training,
)
from editinfinity.stages.training import Checkpoint, StageTraining, copy_into

log = logging.getLogger(__name__)


def train_textembedding(
    *,
    image_features: Path,
    text_features: Path,
    output: Path,
    state: Path,
    iterations: int,
    model: ModelSettings,
    training: TrainingSettings = TrainingSettings(),
    previous: Path | None = None,
    previous_state: Path | None = None,
    losses: Path | None = None,
    pause: PauseFile | None = None,
    host: Host = ALONE,
) -> None:
    """Train the soft prompt until the total number of updates is ``iterations``.

    Starts from zeros, or continues from ``previous`` with its optimizer state. The metadata of a
    checkpoint contains its iteration. On a CPU with the same number of threads, a continued run
    equals an uninterrupted run byte for byte, because the noise of iteration i depends only on
    (seed, stage, i).

    Args:
        image_features: output of ``extract_image_features``.
        text_features: features of the source prompt.
        output: file for the checkpoint (safetensors, ``embedding`` (20, Ct5) fp32).
        state: file for the optimizer's state (safetensors).
        iterations: N, the total number of updates of the vectors.
        model: model and device; the preset must be that of the features.
        training: hyperparameters.
        previous: an earlier checkpoint to continue from.
        previous_state: optimizer state of ``previous``; required with it.
        losses: file for lines of ``iteration<TAB>loss`` for all updates since ``previous`` (or
            since the start); None writes no file.
        pause: file that stores the progress when a stop is requested, and from which the training
            resumes if it exists. With None, the progress is lost.
        host: the process that runs the stage.

    Raises:
        UserError: a file is missing, or the files do not belong together.
        Stopped: the host requested a stop.
    """
    preset, device = open_settings(model)
    checkpoint = None if previous is None else _checkpoint(previous, previous_state, preset)
    photograph, prompt = open_features(image_features, text_features, preset)
    batch = training.batch_size or preset.training.embedding_batch_size
    transformer = transformer_for_training(host, model, photograph.schedule, batch)
    callbacks = StageTraining(SOFT_PROMPT, iterations, preset.name, host, checkpoint, losses, pause)
    trainer = Trainer(transformer, preset, training, callbacks, model.gradient_checkpointing)
    learned, after = trainer.learn_soft_prompt(source_of(photograph, prompt, device), iterations)
    after.save(state)
    learned.save(output)
    log.info("%s: largest value %.3g", output, learned.vectors.abs().max())


def _checkpoint(previous: Path, previous_state: Path | None, preset: Preset) -> Checkpoint:
    """Return a function that restores earlier vectors and returns their optimizer state."""
    if previous_state is None:
        raise UserError(f"{previous}: its optimizer state is missing; give previous_state as well")
    earlier = SoftPrompt.load(previous, preset.name, preset.transformer.text_width)
    state = OptimizerState.load(previous_state, preset.name, [earlier.vectors.shape])
    if state.iteration != earlier.iteration:
        raise UserError(
            f"{previous_state}: belongs to iteration {state.iteration}, but the checkpoint to "
            f"iteration {earlier.iteration}; delete both and run again"
        )

    def restore(model: nn.Module, parameters: Sequence[nn.Parameter]) -> OptimizerState:
        copy_into(parameters, [earlier.vectors])
        return state

    return restore
