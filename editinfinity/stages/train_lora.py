"""Stage ``train_lora``: learn the style of the photograph in a LoRA adapter (stage 3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

from editinfinity.files.checkpoints import ADAPTER_STATE, Embedding, OptimizerState, restore_adapter
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.invert import ADAPTER, Trainer, source_of
from editinfinity.settings.groups import LoraSettings, ModelSettings, TrainingSettings
from editinfinity.stages.host import ALONE, Host, Pause
from editinfinity.stages.loading import open_features, open_settings
from editinfinity.stages.training import StageTraining

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
    pause: Pause | None = None,
    host: Host = ALONE,
) -> None:
    """Train the adapter until ``iterations`` updates were made in all.

    Writes ``adapter_model.safetensors`` and ``adapter_config.json`` (PEFT's format; load with
    ``PeftModel``) and ``state.safetensors`` (the optimizer's) into
    ``output_dir``. Starts fresh, or from the three files of ``previous_dir``.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the source prompt.
        output_dir: the adapter's folder; made if missing.
        iterations: N; the adapter has seen N updates.
        model: which model and device; the same preset as the features.
        training: hyperparameters.
        lora: the adapter's shape and loss.
        embedding: the learned vectors to train over; None for none.
        previous_dir: folder of an earlier checkpoint to grow from.
        losses: where to write ``iteration<TAB>loss`` of the updates made here, if anywhere.
        pause: where to keep what is done when asked to stop, and to look for it first; if None,
            the work is lost.
        host: the process this runs in.

    Raises:
        UserError: files do not fit one another, or are missing.
        Stopped: the host asked to stop.
    """
    preset, device = open_settings(model)
    photograph, prompt = open_features(image_features, text_features, preset)
    vectors = None
    if embedding is not None:
        vectors = Embedding.load(embedding, preset.name, preset.transformer.text_width).vectors
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    checkpoint = None if previous_dir is None else partial(_restore, previous_dir, preset.name)
    callbacks = StageTraining(ADAPTER, iterations, preset.name, host, checkpoint, losses, pause)
    trainer = Trainer(transformer, preset, training, callbacks, model.gradient_checkpointing)
    source = source_of(photograph, prompt, device, vectors)
    adapter, after = trainer.learn_adapter(source, iterations, lora)
    after.save(output_dir / ADAPTER_STATE)
    adapter.save(output_dir)
    numbers = sum(tensor.numel() for tensor in adapter.weights.values())
    log.info("%s: an adapter of %d numbers", output_dir, numbers)


def _restore(
    folder: Path, preset: str, model: nn.Module, parameters: Sequence[nn.Parameter]
) -> OptimizerState:
    """Give a fresh adapter the numbers of an earlier checkpoint."""
    restore_adapter(folder, model)
    shapes = [tensor.shape for tensor in parameters]
    return OptimizerState.load(folder / ADAPTER_STATE, preset, shapes)
