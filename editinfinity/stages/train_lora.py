"""Stage ``train_lora``: learn the style of the photograph in a LoRA adapter (stage 3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

from editinfinity.files.checkpoints import (
    ADAPTER_STATE,
    Adapter,
    OptimizerState,
    SoftPrompt,
    restore_adapter,
)
from editinfinity.method.invert import ADAPTER, Trainer, source_of
from editinfinity.method.memory import stays_in_ram
from editinfinity.settings.groups import LoraSettings, ModelSettings, TrainingSettings
from editinfinity.stages import kept_training
from editinfinity.stages.host import ALONE, Host, PauseFile
from editinfinity.stages.loading import (
    open_features,
    open_settings,
    transformer_for_training,
)
from editinfinity.stages.training import Checkpoint, StageTraining

log = logging.getLogger(__name__)


def train_lora(
    *,
    image_features: Path,
    text_features: Path,
    output_dir: Path,
    iterations: int,
    model: ModelSettings,
    training: TrainingSettings = TrainingSettings(),
    lora: LoraSettings = LoraSettings(),
    embedding: Path | None = None,
    previous_dir: Path | None = None,
    losses: Path | None = None,
    pause: PauseFile | None = None,
    host: Host = ALONE,
) -> None:
    """Train the adapter until the total number of updates is ``iterations``.

    Writes ``adapter_model.safetensors`` and ``adapter_config.json`` (PEFT's format; load with
    ``PeftModel``) and ``state.safetensors`` (the optimizer's state) into ``output_dir``. Starts
    with a new adapter, or continues from the three files in ``previous_dir``.

    Args:
        image_features: output of ``extract_image_features``.
        text_features: features of the source prompt.
        output_dir: folder for the adapter; created if missing.
        iterations: N, the total number of updates of the adapter.
        model: model and device; the preset must be that of the features.
        training: hyperparameters.
        lora: shape of the adapter, and weight of its KL loss.
        embedding: file of the soft prompt to use during training; None for none.
        previous_dir: folder of an earlier checkpoint to continue from.
        losses: file for lines of ``iteration<TAB>loss`` for all updates since ``previous_dir`` (or
            since the start); None writes no file.
        pause: file that stores the progress when a stop is requested, and from which the training
            resumes if it exists. With None, the progress is lost.
        host: the process that runs the stage.

    Raises:
        UserError: a file is missing, or the files do not belong together.
        Stopped: the host requested a stop.
    """
    preset, device = open_settings(model)
    photograph, prompt = open_features(image_features, text_features, preset)
    vectors = None
    if embedding is not None:
        vectors = SoftPrompt.load(embedding, preset.name, preset.transformer.text_width).vectors
    kept = kept_training.take(host, previous_dir, model, lora)
    checkpoint: Checkpoint | None = None
    if kept is not None:
        transformer, checkpoint = kept.transformer, kept.restore
        log.info("continues from %s in memory", previous_dir)
    else:
        batch = training.batch_size or preset.training.lora_batch_size
        transformer = transformer_for_training(host, model, photograph.schedule, batch)
        if previous_dir is not None:
            checkpoint = partial(_restore, previous_dir, preset.name)
    callbacks = StageTraining(ADAPTER, iterations, preset.name, host, checkpoint, losses, pause)
    trainer = Trainer(transformer, preset, training, callbacks, model.gradient_checkpointing)
    source = source_of(photograph, prompt, device, vectors)
    adapted = trainer.new_adapter(lora) if kept is None else kept.adapted
    after = trainer.train_adapter(adapted, source, iterations, lora)
    adapter = Adapter.of(adapted)
    after.save(output_dir / ADAPTER_STATE)
    adapter.save(output_dir)
    if not stays_in_ram(model.memory, preset, device):  # else it would take the next job's room
        kept_training.keep(host, output_dir, model, lora, transformer, adapted, after)
    count = sum(tensor.numel() for tensor in adapter.weights.values())
    log.info("%s: adapter with %d parameters", output_dir, count)


def _restore(
    folder: Path, preset: str, model: nn.Module, parameters: Sequence[nn.Parameter]
) -> OptimizerState:
    """Load an earlier checkpoint into a new adapter, and return its optimizer state."""
    restore_adapter(folder, model)
    shapes = [tensor.shape for tensor in parameters]
    return OptimizerState.load(folder / ADAPTER_STATE, preset, shapes)
