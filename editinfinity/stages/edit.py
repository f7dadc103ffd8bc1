"""Stage ``edit``: generate the edited image (stage 4)."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from editinfinity.compute import environment_on, report_memory_faults
from editinfinity.files.atomic import write_json
from editinfinity.files.checkpoints import Adapter, SoftPrompt, adapter_iteration
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.images import write_png
from editinfinity.files.maps import KERNEL, load_map
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.method.draw import adapted, decode, draw
from editinfinity.settings.groups import GuidanceSettings, ModelSettings, SamplingSettings
from editinfinity.settings.guidance import numbers_of
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import (
    open_features,
    open_settings,
    transformer_for_sampling,
)

log = logging.getLogger(__name__)


def edit(
    *,
    image_features: Path,
    text_features: Path,
    output: Path,
    settings: Path,
    model: ModelSettings,
    sampling: SamplingSettings = SamplingSettings(),
    embedding: Path | None = None,
    lora_dir: Path | None = None,
    kernel: Path | None = None,
    source_text: Path | None = None,
    guidance: GuidanceSettings = GuidanceSettings(),
    lock_scales: int = 0,
    host: Host = ALONE,
) -> None:
    """Sample a picture for the edit prompt; with a blend mask, blend it into its codes.

    Args:
        image_features: output of ``extract_image_features``.
        text_features: features of the *edit* prompt.
        output: PNG at the model's resolution, with its settings embedded as text.
        settings: JSON file for all settings and inputs that produced the picture.
        model: model and device; the preset must be that of the features.
        sampling: seed, guidance scale, temperature and cut-offs (top-k, top-p).
        embedding: file of the soft prompt; None for none.
        lora_dir: folder of the LoRA adapter; None for none.
        kernel: output of ``make_kernel``; None edits the whole image (upstream's
            ``infer_function 0``).
        source_text: features of the *source* prompt, for guidances that compare both prompts; None
            for plain classifier-free guidance.
        guidance: how the prompts decide the bits. With ``source_text``, the default means
            ``source_negative``.
        lock_scales: number of first scales that keep the photograph's codes.
        host: the process that runs the stage.

    Raises:
        UserError: a file is missing, or the files do not belong together.
    """
    preset, device = open_settings(model)
    photograph, prompt = open_features(image_features, text_features, preset)
    provenance = _provenance(model, sampling, photograph, prompt)
    source_prompt = None if source_text is None else PromptFeatures.load(source_text)
    if source_prompt is not None and guidance.guidance == "cfg":
        guidance = replace(guidance, guidance="source_negative")
    soft_prompt = blend_mask = adapter = None
    if embedding is not None:
        learned = SoftPrompt.load(embedding, preset.name, preset.transformer.text_width)
        soft_prompt = learned.vectors
        provenance["embedding_iterations"] = learned.iteration
    if kernel is not None:
        blend_mask, metadata = load_map(kernel, KERNEL, photograph.schedule.reference_grid)
        provenance["kernel"] = {key: value for key, value in metadata.items() if key != "kind"}
    if lock_scales:
        provenance["lock_scales"] = lock_scales
    if guidance.guidance != "cfg":
        provenance |= {key: getattr(guidance, key) for key in numbers_of(guidance.guidance)}
        provenance["guidance"] = guidance.guidance
    if lora_dir is not None:
        adapter = Adapter.load(lora_dir)
        provenance["lora_iterations"] = adapter_iteration(lora_dir)
    transformer = transformer_for_sampling(host, model, photograph.schedule)
    with adapted(transformer, adapter, lora_dir or "adapter"):
        code = draw(
            transformer,
            photograph,
            prompt,
            sampling,
            soft_prompt=soft_prompt,
            blend_mask=blend_mask,
            source_prompt=source_prompt,
            guidance=guidance,
            lock_scales=lock_scales,
        )
    del transformer  # free its memory for the decoder
    with report_memory_faults("choose a smaller pixel_budget"):
        tokenizer = host.load(load_tokenizer, preset, device, model.model_dir)
    picture = decode(tokenizer, code)
    write_json(settings, provenance)
    write_png(output, picture, json.dumps(provenance, sort_keys=True, ensure_ascii=False))
    log.info(
        "%s: %d×%d pixels, generated for %r",
        output,
        *picture.size,
        prompt.prompt,
        extra={"event": environment_on(device)},
    )


def _provenance(
    model: ModelSettings,
    sampling: SamplingSettings,
    photograph: ImageFeatures,
    prompt: PromptFeatures,
) -> dict[str, Any]:
    """Return the settings and inputs that produced an edit, with None for the optional ones.

    They contain no paths and no times.
    """
    return {
        "model": model.model,
        "attention_bias": model.attention_bias,
        "prompt": prompt.prompt,
        "ratio": photograph.schedule.ratio,
        "pixel_budget": photograph.schedule.pixel_budget,
        "geometry": photograph.geometry.to_dict(),
        "sampling": asdict(sampling),
        "embedding_iterations": None,
        "lora_iterations": None,
        "kernel": None,
    }
