"""Stage ``train_lora``: learn the style of the photograph in a LoRA adapter (stage 3)."""

from __future__ import annotations

from pathlib import Path

from editinfinity.stages.settings import (
    DEFAULT_LORA,
    DEFAULT_TRAINING,
    LoraSettings,
    ModelSettings,
    TrainingSettings,
)

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_STATE = "state.safetensors"


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

    Raises:
        UserError: files do not fit one another, or are missing.
    """
    raise NotImplementedError
