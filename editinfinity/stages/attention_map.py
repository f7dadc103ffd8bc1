"""Stage ``attention_map``: where the model looks for a word (the automatic mask of Example3)."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.files.maps import ATTENTION, save_map
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.attention import attention_map
from editinfinity.method.prompt import tokens_of_word
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import open_features, open_settings

log = logging.getLogger(__name__)


def collect_attention(
    *,
    image_features: Path,
    text_features: Path,
    target_word: str,
    output: Path,
    model: ModelSettings,
    host: Host = ALONE,
) -> None:
    """Average the cross-attention of the target word's tokens over all scales and layers.

    Runs over the photograph's own codes with the source prompt, without learned vectors or LoRA.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the *source* prompt, which must contain the word.
        target_word: a word, or several, of the source prompt.
        output: safetensors with ``attention`` (h, w) fp32 on the ratio's 1M last scale.
        model: which model and device; the same preset as the features.
        host: the process this runs in.

    Raises:
        UserError: the source prompt does not contain the word.
    """
    preset, device = open_settings(model)
    photograph, prompt = open_features(image_features, text_features, preset)
    span = tokens_of_word(prompt, target_word)
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    attention = attention_map(transformer, photograph, prompt, span)
    facts = {"preset": preset.name, "target_word": target_word}
    save_map(output, ATTENTION, attention, facts)
    log.info("%s: where %r is, of its tokens %d to %d", output, target_word, span[0], span[1] - 1)
