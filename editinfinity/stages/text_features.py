"""Stages ``text_features`` and ``edit_text_features``: a prompt as text-encoder features."""

from __future__ import annotations

from pathlib import Path

from editinfinity.stages.settings import ModelSettings


def extract_text_features(*, prompt: str, output: Path, model: ModelSettings) -> None:
    """Encode a prompt (with the caption suffix of the method) once.

    ``output`` (safetensors) holds ``features`` (T, Ct5), ``offsets`` (T, 2) int32 (each token's
    first and one-past-last character of the caption) and, as metadata, prompt and caption.

    Args:
        prompt: the source or the edit prompt, without suffix; may be empty.
        output: where the features go.
        model: which model and device.

    Raises:
        UserError: the prompt is too long, or the text encoder is missing.
    """
    raise NotImplementedError
