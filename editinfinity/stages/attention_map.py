"""Stage ``attention_map``: attention map of a word (for the automatic mask of Example3)."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.files.maps import ATTENTION, save_map
from editinfinity.method.attention import attention_map
from editinfinity.method.prompt import tokens_of_word
from editinfinity.settings.groups import MaskSettings, ModelSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import (
    open_features,
    open_settings,
    transformer_for_sampling,
)

log = logging.getLogger(__name__)


def collect_attention(
    *,
    image_features: Path,
    text_features: Path,
    target_word: str,
    output: Path,
    model: ModelSettings,
    scales: str = MaskSettings.attention_scales,
    host: Host = ALONE,
) -> None:
    """Average the cross-attention of the target word's tokens over scales and layers.

    Runs the transformer on the photograph's own codes with the source prompt, without learned
    vectors and LoRA.

    Args:
        image_features: output of ``extract_image_features``.
        text_features: features of the *source* prompt, which must contain the word.
        target_word: one or more words of the source prompt.
        output: safetensors file with ``attention`` (h, w) fp32 on ``schedule.reference_grid``.
        model: model and device; the preset must be that of the features.
        scales: ``all``, or ``fine`` for those that show places.
        host: the process that runs the stage.

    Raises:
        UserError: the source prompt does not contain the word.
    """
    preset, _ = open_settings(model)
    photograph, prompt = open_features(image_features, text_features, preset)
    span = tokens_of_word(prompt, target_word)
    transformer = transformer_for_sampling(host, model, photograph.schedule)
    attention = attention_map(transformer, photograph, prompt, span, scales)
    metadata = {"preset": preset.name, "target_word": target_word}
    if scales != "all":
        metadata["attention_scales"] = scales
    save_map(output, ATTENTION, attention, metadata)
    log.info("%s: attention to %r, tokens %d to %d", output, target_word, span[0], span[1] - 1)
