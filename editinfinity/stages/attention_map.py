"""Stage ``attention_map``: where the model looks for a word (the automatic mask of Example3)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from editinfinity.compute import telling_memory_faults
from editinfinity.editing import sampler
from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.guidance import Unguided
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.files.maps import ATTENTION, save_map
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.prompts import find_word, tokens_of
from editinfinity.stages.conditioning import text_of
from editinfinity.stages.drawing import sampler_settings, source_codes
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.opening import open_settings
from editinfinity.stages.settings import DEFAULT_SAMPLING, ModelSettings, SamplingSettings

log = logging.getLogger(__name__)


def collect_attention(
    *,
    image_features: Path,
    text_features: Path,
    target_word: str,
    output: Path,
    model: ModelSettings,
    sampling: SamplingSettings = DEFAULT_SAMPLING,
    host: Host = ALONE,
) -> None:
    """Average the cross-attention of the target word's tokens over all scales and layers.

    Runs over the photograph's own codes with the source prompt, without learnt vectors or LoRA.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the *source* prompt, which must contain the word.
        target_word: a word, or several, of the source prompt.
        output: safetensors with ``attention`` (h, w) fp32 on the ratio's 1M last scale.
        model: which model and device; the same preset as the features.
        sampling: of the sampler; the photograph's own codes replace what it draws.
        host: the process this runs in.

    Raises:
        UserError: the source prompt does not contain the word.
    """
    preset, device = open_settings(model)
    source, prompt = ImageFeatures.load(image_features), PromptFeatures.load(text_features)
    for path, found in ((image_features, source.preset), (text_features, prompt.preset)):
        require_preset(found, preset.name, path)
    span = tokens_of(find_word(prompt.prompt, target_word), prompt.offsets)
    collector = AttentionCollector(source.schedule, span)
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    with telling_memory_faults("choose a smaller pixel_budget"):
        sampler.sample(
            transformer,
            text_of(prompt, device),
            source.schedule,
            sampler_settings(sampling),
            torch.Generator().manual_seed(sampling.seed),
            edit=ReplaySource(source_codes(source, device)),
            watcher=collector,
            guidance=Unguided(),
        )
    facts = {"preset": preset.name, "target_word": target_word}
    save_map(output, ATTENTION, collector.mean.cpu().numpy(), facts)
    log.info("%s: where %r is, of its tokens %d to %d", output, target_word, span[0], span[1] - 1)
