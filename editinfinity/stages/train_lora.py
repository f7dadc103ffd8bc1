"""Stage ``train_lora``: learn the style of the photograph in a LoRA adapter (stage 3)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from editinfinity.compute import reseed
from editinfinity.files.checkpoints import (
    ADAPTER_STATE,
    Embedding,
    OptimizerState,
    restore_adapter,
    save_adapter,
)
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.inversion import lora as adapters
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.learning import inversion_loss, iterations_to_run, learn, open_source
from editinfinity.stages.opening import open_settings
from editinfinity.stages.settings import (
    DEFAULT_LORA,
    DEFAULT_TRAINING,
    LoraSettings,
    ModelSettings,
    Pause,
    TrainingSettings,
)

log = logging.getLogger(__name__)

STAGE = "train_lora"


def train_lora(
    *,
    image_features: Path,
    text_features: Path,
    output_dir: Path,
    iterations: int,
    model: ModelSettings,
    training: TrainingSettings = DEFAULT_TRAINING,
    lora: LoraSettings = DEFAULT_LORA,
    embedding: Path | None = None,
    previous_dir: Path | None = None,
    losses: Path | None = None,
    pause: Pause | None = None,
    host: Host = ALONE,
) -> None:
    """Train the adapter until ``iterations`` updates were made in all.

    Writes ``adapter_model.safetensors`` and ``adapter_config.json`` (PEFT's format; load with
    ``PeftModel`` or ``load_adapter``) and ``state.safetensors`` (the optimizer's) into
    ``output_dir``. Starts fresh, or from the three files of ``previous_dir``.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the source prompt.
        output_dir: the adapter's folder; made if missing.
        iterations: N; the adapter has seen N updates.
        model: which model and device; the same preset as the features.
        training: hyperparameters.
        lora: the adapter's shape and loss.
        embedding: the learnt vectors to train over; None for none.
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
    source = open_source(image_features, text_features, preset, device)
    if embedding is not None:
        learnt = Embedding.load(embedding, preset.name, preset.transformer.text_width)
        source = replace(source, learned=learnt.vectors.to(device))
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    reseed(training.seed, STAGE, 0)
    shape = adapters.LoraSettings(lora.rank, lora.alpha, lora.dropout)
    adapted = adapters.add_lora(transformer, shape).to(device)
    parameters = [tensor for _, tensor in adapted.named_parameters() if tensor.requires_grad]
    optimizer_state, first = None, 1
    if previous_dir is not None:
        restore_adapter(previous_dir, adapted)
        shapes = [tensor.shape for tensor in parameters]
        optimizer_state = OptimizerState.load(previous_dir / ADAPTER_STATE, preset.name, shapes)
        first = optimizer_state.iteration + 1
    to_run = iterations_to_run(STAGE, first, iterations)
    loss = inversion_loss(
        adapted,
        transformer,
        source,
        preset,
        training,
        lora.kl_weight,
        recomputed=model.gradient_checkpointing,
    )
    after = learn(
        STAGE,
        parameters,
        loss,
        training,
        training.learning_rate or preset.training.lora_learning_rate,
        to_run,
        optimizer_state,
        preset,
        losses,
        pause,
        host,
    )
    after.save(output_dir / ADAPTER_STATE)
    save_adapter(output_dir, adapted)
    log.info("%s: an adapter of %d numbers", output_dir, sum(t.numel() for t in parameters))
