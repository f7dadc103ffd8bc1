"""Stage ``train_textembedding``: learn 20 vectors that complete the source prompt (stage 2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Embedding, OptimizerState
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.invert import VECTORS, Trainer, source_of
from editinfinity.presets import Preset
from editinfinity.settings.groups import ModelSettings, TrainingSettings
from editinfinity.stages.host import ALONE, Host, Pause
from editinfinity.stages.loading import open_features, open_settings
from editinfinity.stages.training import Checkpoint, StageTraining, put_into

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
    pause: Pause | None = None,
    host: Host = ALONE,
) -> None:
    """Train the learned vectors until ``iterations`` updates were made in all.

    Starts from zeros, or from ``previous`` with its optimizer state; the iteration a checkpoint
    stands at is in its metadata. Continuing equals a straight run byte for byte on a CPU at equal
    threads, because iteration i draws its noise from (seed, stage, i).

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the source prompt.
        output: the checkpoint (safetensors, ``embedding`` (20, Ct5) fp32).
        state: the optimizer's state beside it (safetensors).
        iterations: N; the checkpoint has seen N updates.
        model: which model and device; the same preset as the features.
        training: hyperparameters.
        previous: an earlier checkpoint to grow from.
        previous_state: its optimizer state; needed with ``previous``.
        losses: where to write ``iteration<TAB>loss`` of the updates made here, if anywhere.
        pause: where to keep what is done when asked to stop, and to look for it first; if None,
            the work is lost.
        host: the process this runs in.

    Raises:
        UserError: files do not fit one another, or are missing.
        Stopped: the host asked to stop.
    """
    preset, device = open_settings(model)
    checkpoint = None if previous is None else _checkpoint(previous, previous_state, preset)
    photograph, prompt = open_features(image_features, text_features, preset)
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    callbacks = StageTraining(VECTORS, iterations, preset.name, host, checkpoint, losses, pause)
    trainer = Trainer(transformer, preset, training, callbacks, model.gradient_checkpointing)
    learned, after = trainer.learn_vectors(source_of(photograph, prompt, device), iterations)
    after.save(state)
    learned.save(output)
    log.info("%s: largest value %.3g", output, learned.vectors.abs().max())


def _checkpoint(previous: Path, previous_state: Path | None, preset: Preset) -> Checkpoint:
    """Vectors that were learned before, with the optimizer's state that belongs to them."""
    if previous_state is None:
        raise UserError(f"{previous}: its optimizer state is needed to continue it")
    earlier = Embedding.load(previous, preset.name, preset.transformer.text_width)
    state = OptimizerState.load(previous_state, preset.name, [earlier.vectors.shape])
    if state.iteration != earlier.iteration:
        raise UserError(
            f"{previous_state}: is of iteration {state.iteration}, the checkpoint beside it of "
            f"{earlier.iteration}; delete both and run again"
        )

    def restore(model: nn.Module, parameters: Sequence[nn.Parameter]) -> OptimizerState:
        put_into(parameters, [earlier.vectors])
        return state

    return restore
