"""Encode a prompt, and find the tokens of a word in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editinfinity.compute import report_memory_faults
from editinfinity.files.features import PromptFeatures
from editinfinity.presets import Preset
from editinfinity.prompts import Span, find_word, tokens_of

if TYPE_CHECKING:
    from editinfinity.models.text_encoder import TextEncoder


@report_memory_faults("use device: cpu for the text stages")
def encode_prompt(
    prompt: str, preset: Preset, encoder: TextEncoder, suffix: str = ""
) -> PromptFeatures:
    """Encode a prompt; runs of white space become single spaces.

    Args:
        prompt: the prompt.
        preset: the model's preset.
        encoder: the text encoder.
        suffix: text that follows the prompt: ``CAPTION_SUFFIX`` if a soft prompt is trained or used
            with it, else nothing.

    Raises:
        PromptTooLongError: the prompt has more tokens than the encoder accepts.
        GpuMemoryError: the GPU ran out of memory.
    """
    text = " ".join(prompt.split())
    features = encoder.encode(text + suffix).features[0].cpu().numpy()
    return PromptFeatures(preset.name, text, features, encoder.offsets(text + suffix))


def tokens_of_word(prompt: PromptFeatures, word: str) -> Span:
    """Return the token range of one or more words of a prompt: first, and one past the last.

    Raises:
        UserError: the prompt does not contain the word.
    """
    return tokens_of(find_word(prompt.prompt, word), prompt.offsets)
