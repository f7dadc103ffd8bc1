"""Stage ``attention_map``: where the model looks for a word (the automatic mask of Example3)."""

from __future__ import annotations

from pathlib import Path

from editinfinity.stages.settings import DEFAULT_SAMPLING, ModelSettings, SamplingSettings


def collect_attention(
    *,
    image_features: Path,
    text_features: Path,
    target_word: str,
    output: Path,
    model: ModelSettings,
    sampling: SamplingSettings = DEFAULT_SAMPLING,
) -> None:
    """Average the cross-attention of the target word's tokens over all scales and layers.

    Runs over the photograph's own codes with the source prompt, without learnt vectors or LoRA.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the *source* prompt, which must contain the word.
        target_word: a word, or several, of the source prompt.
        output: safetensors with ``attention`` (h, w) fp32 on the ratio's 1M last scale.
        model: which model and device; the same preset as the features.
        sampling: only cfg and tau can matter here.

    Raises:
        UserError: the source prompt does not contain the word.
    """
    raise NotImplementedError
