"""Stage ``train_textembedding``: learn 20 vectors that complete the source prompt (stage 2)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Embedding, OptimizerState
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.prompts import LEARNED_VECTORS
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.learning import (
    inversion_loss,
    iterations_to_run,
    learn,
    open_source,
    require_same_iteration,
)
from editinfinity.stages.opening import open_settings
from editinfinity.stages.settings import DEFAULT_TRAINING, ModelSettings, Pause, TrainingSettings

log = logging.getLogger(__name__)

STAGE = "train_textembedding"


def train_textembedding(
    *,
    image_features: Path,
    text_features: Path,
    output: Path,
    state: Path,
    iterations: int,
    model: ModelSettings,
    training: TrainingSettings = DEFAULT_TRAINING,
    previous: Path | None = None,
    previous_state: Path | None = None,
    losses: Path | None = None,
    pause: Pause | None = None,
    host: Host = ALONE,
) -> None:
    """Train the learnable vectors until ``iterations`` updates were made in all.

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
    width = preset.transformer.text_width
    start, optimizer_state = torch.zeros(LEARNED_VECTORS, width), None
    first = 1
    if previous is not None:
        if previous_state is None:
            raise UserError(f"{previous}: its optimizer state is needed to continue it")
        earlier = Embedding.load(previous, preset.name, width)
        start, first = earlier.vectors, earlier.iteration + 1
        optimizer_state = OptimizerState.load(previous_state, preset.name, [start.shape])
        require_same_iteration(earlier.iteration, optimizer_state, previous_state)
    to_run = iterations_to_run(STAGE, first, iterations)
    source = open_source(image_features, text_features, preset, device)
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    vectors = nn.Parameter(start.to(device))
    loss = inversion_loss(
        transformer,
        transformer,
        replace(source, learned=vectors),
        preset,
        training,
        recomputed=model.gradient_checkpointing,
    )
    after = learn(
        STAGE,
        [vectors],
        loss,
        training,
        training.learning_rate or preset.training.embedding_learning_rate,
        to_run,
        optimizer_state,
        preset,
        losses,
        pause,
        host,
    )
    after.save(state)
    Embedding(vectors, iterations, preset.name).save(output)
    log.info("%s: largest value %.3g", output, vectors.detach().abs().max())
