"""Stages ``text_features`` and ``edit_text_features``: encode a prompt with the text encoder."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.files.prompts import read_prompt
from editinfinity.files.text_encoder_weights import load_text_encoder
from editinfinity.method.prompt import encode_prompt
from editinfinity.models.text_encoder import PromptTooLongError
from editinfinity.prompts import CAPTION_SUFFIX
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import open_settings

log = logging.getLogger(__name__)


def extract_text_features(
    *,
    prompt: str,
    output: Path,
    model: ModelSettings,
    origin: str = "prompt",
    suffix: str = CAPTION_SUFFIX,
    host: Host = ALONE,
) -> None:
    """Encode a prompt and, if a soft prompt is trained or used with it, the caption suffix.

    ``output`` (safetensors) contains ``features`` (T, Ct5), ``offsets`` (T, 2) int32 (each token's
    first and one-past-last character of the encoded text) and, as metadata, the prompt.

    Args:
        prompt: the source or the edit prompt, without suffix; may be empty.
        output: file for the features.
        model: model and device.
        origin: file or other source of the prompt, for error messages.
        suffix: text that is encoded after the prompt; empty if no soft prompt follows.
        host: the process that runs the stage.

    Raises:
        UserError: the prompt is too long, or the text encoder is missing.
    """
    preset, device = open_settings(model)
    text = read_prompt(prompt, may_be_empty=True)
    encoder = host.load(
        load_text_encoder, preset, device, model.model_dir, model.text_encoder_dtype
    )
    try:
        features = encode_prompt(text, preset, encoder, suffix)
    except PromptTooLongError as error:
        raise PromptTooLongError(error.tokens, error.limit, origin) from None
    features.save(output)
    log.info("%s: %d tokens of %r", output, len(features.features), text)
