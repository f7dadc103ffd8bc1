"""Stage ``train_textembedding``: learn 20 vectors that complete the source prompt (stage 2)."""

from __future__ import annotations

from pathlib import Path

from editinfinity.stages.settings import DEFAULT_TRAINING, ModelSettings, TrainingSettings


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

    Raises:
        UserError: files do not fit one another, or are missing.
    """
    raise NotImplementedError
