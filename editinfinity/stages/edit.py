"""Stage ``edit``: draw the edited image (stage 4)."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from editinfinity.compute import telling_memory_faults
from editinfinity.editing import sampler
from editinfinity.files.atomic import write_json
from editinfinity.files.checkpoints import Embedding, adapter_iteration, load_adapter
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.files.images import from_model, write_png
from editinfinity.files.maps import KERNEL, load_map
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.stages.conditioning import text_of
from editinfinity.stages.drawing import sampler_settings, steering
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.opening import open_settings
from editinfinity.stages.settings import DEFAULT_SAMPLING, ModelSettings, SamplingSettings

log = logging.getLogger(__name__)


def edit(
    *,
    image_features: Path,
    text_features: Path,
    output: Path,
    settings: Path,
    model: ModelSettings,
    sampling: SamplingSettings = DEFAULT_SAMPLING,
    embedding: Path | None = None,
    lora_dir: Path | None = None,
    kernel: Path | None = None,
    source_text: Path | None = None,
    lock_scales: int = 0,
    host: Host = ALONE,
) -> None:
    """Sample the edit prompt, blended with the photograph's codes where there is a kernel.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the *edit* prompt.
        output: PNG at the model's resolution, its settings embedded as text.
        settings: JSON of everything that made it.
        model: which model and device; the same preset as the features.
        sampling: seed, guidance, temperature and cut-offs.
        embedding: learnt vectors; None to edit without.
        lora_dir: folder of a LoRA adapter; None to edit without.
        kernel: of ``make_kernel``; None edits the whole image (upstream's ``infer_function 0``).
        source_text: of the *source* prompt, to lead away from what it says (guidance
            ``source_negative``); None for plain guidance.
        lock_scales: first scales that stay the photograph's.
        host: the process this runs in.

    Raises:
        UserError: files do not fit one another, or are missing.
    """
    preset, device = open_settings(model)
    source, prompt = ImageFeatures.load(image_features), PromptFeatures.load(text_features)
    for path, found in ((image_features, source.preset), (text_features, prompt.preset)):
        require_preset(found, preset.name, path)
    made_by = _facts(model, sampling, source, prompt)
    text = text_of(prompt, device)
    away = None if source_text is None else text_of(PromptFeatures.load(source_text), device)
    if embedding is not None:
        learnt = Embedding.load(embedding, preset.name, preset.transformer.text_width)
        vectors = learnt.vectors.to(device)
        text, away = text.append(vectors), away and away.append(vectors)
        made_by["embedding_iterations"] = learnt.iteration
    weights = None
    if kernel is not None:
        weights, facts = load_map(kernel, KERNEL, source.schedule.reference_grid)
        made_by["kernel"] = {key: value for key, value in facts.items() if key != "kind"}
    if lock_scales:
        made_by["lock_scales"] = lock_scales
    if away is not None:
        made_by["guidance"] = "source_negative"
    blend, guidance = steering(source, weights, away, sampling.cfg, lock_scales, device)
    transformer = host.load(load_transformer, preset, device, model.model_dir, model.attention_bias)
    if lora_dir is not None:
        load_adapter(lora_dir, transformer, device)  # wraps the transformer's layers in place
        made_by["lora_iterations"] = adapter_iteration(lora_dir)
    with telling_memory_faults("choose a smaller pixel_budget"), torch.inference_mode():
        drawn = sampler.sample(
            transformer,
            text,
            source.schedule,
            sampler_settings(sampling),
            torch.Generator().manual_seed(sampling.seed),
            edit=blend,
            guidance=guidance,
        )
        del transformer  # its memory serves the decoder
        tokenizer = host.load(load_tokenizer, preset, device, model.model_dir)
        pixels = tokenizer.decode(drawn.code)[0].float().cpu().numpy()
    write_json(settings, made_by)
    write_png(output, from_model(pixels), json.dumps(made_by, sort_keys=True, ensure_ascii=False))
    log.info("%s: %r drawn at %d×%d", output, prompt.prompt, pixels.shape[2], pixels.shape[1])


def _facts(
    model: ModelSettings,
    sampling: SamplingSettings,
    source: ImageFeatures,
    prompt: PromptFeatures,
) -> dict[str, Any]:
    """Everything that made an edit, but for what is optional. No paths, no times."""
    return {
        "model": model.preset,
        "attention_bias": model.attention_bias,
        "prompt": prompt.prompt,
        "ratio": source.schedule.ratio,
        "pixel_budget": source.schedule.pixel_budget,
        "geometry": source.geometry.to_dict(),
        "sampling": asdict(sampling),
        "embedding_iterations": None,
        "lora_iterations": None,
        "kernel": None,
    }
