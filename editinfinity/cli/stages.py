"""``editinfinity stage NAME``: a command for each stage of the workflow.

The commands have the names of the workflow's rules. Each one imports torch and models only when it
runs, so that ``--help`` is instant.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from editinfinity.cli.options import Without, grouped, runs, setting_option
from editinfinity.cli.stage_options import (
    OF_MAPS,
    DrawModel,
    EncoderModel,
    Image,
    ImageFeatures,
    Iterations,
    Losses,
    Output,
    RegionOptions,
    RegionSettings,
    TextFeatures,
    Weights,
    WithoutEffect,
    Word,
    text_or_file,
)
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import BACKBONES
from editinfinity.prompts import CAPTION_SUFFIX
from editinfinity.settings.groups import (
    EvaluationSettings,
    FinishSettings,
    GuidanceSettings,
    InversionSettings,
    LoraSettings,
    MaskSettings,
    ModelSettings,
    PreservationSettings,
    SamplingSettings,
    TrainingSettings,
)

log = logging.getLogger(__name__)

stages = typer.Typer(
    help="""One stage of the workflow, without Snakemake.

    A whole edit, step by step (in a folder with cup.jpg and mask.png):

    \b
    run="editinfinity stage"
    $run image_features --image cup.jpg --output image.st
    $run text_features --prompt "a red cup" --output source.st
    $run train_textembedding --image-features image.st \\
        --text-features source.st --output embedding.st --iterations 10
    $run train_lora --image-features image.st --text-features source.st \\
        --embedding embedding.st --output-dir lora --iterations 50
    $run kernel --image-features image.st --mask mask.png --output kernel.st
    $run text_features --prompt "a blue cup" --output edit.st
    $run edit --image-features image.st --text-features edit.st \\
        --embedding embedding.st --lora-dir lora --kernel kernel.st \\
        --output edited.png
    $run rendering --image-features image.st --output rendering.png
    $run finish --edited edited.png --kernel kernel.st \\
        --rendering rendering.png --image cup.jpg --output done.png
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@stages.command("check")
@grouped
def check(
    *,
    image: Image,
    output: Output,
    prompt: Annotated[str, typer.Option(help="The edit prompt, or @FILE.")],
    case: Annotated[str, typer.Option(help="Name of the case, for messages.")] = "case",
    source_prompt: Annotated[str | None, typer.Option(help="The source prompt, or @FILE.")] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask.")] = None,
    blend: Annotated[Path | None, typer.Option(help="The blend mask, if it is your own.")] = None,
    target_word: Word = None,
    from_prompts: Annotated[
        bool, typer.Option(help="Whether the region is found from the prompts.")
    ] = False,
    settings: Annotated[MaskSettings, Without(*OF_MAPS)],
) -> None:
    """Check a photograph, its mask and its prompts, and report all errors at once."""
    from editinfinity.stages.check import EditInput, check_case

    word = None if target_word is None else text_or_file(target_word)
    check_case(
        case=case,
        image=image,
        source_prompt=None if source_prompt is None else text_or_file(source_prompt),
        edits=[EditInput("edit", text_or_file(prompt), mask, word, settings, blend, from_prompts)],
        output=output,
    )


@stages.command("jsonl")
def jsonl(
    image: Image,
    output: Output,
    source_prompt: Annotated[str, typer.Option(help="Source prompt, or @FILE; may be empty.")] = "",
) -> None:
    """Write the training table: one line of image path and source prompt."""
    from editinfinity.files.prompts import read_prompt
    from editinfinity.stages.jsonl import write_jsonl

    text = read_prompt(text_or_file(source_prompt), what="source prompt", may_be_empty=True)
    write_jsonl(image=image, source_prompt=text, output=output)


@stages.command("image_features")
@grouped
@runs("image_features", "extract_image_features")
def image_features(
    *,
    image: Image,
    output: Output,
    pixel_budget: Annotated[str | None, setting_option("pixel_budget")] = None,
    crop: Annotated[
        str, typer.Option(help="full, or a part as top,left,height,width in pixels.")
    ] = "full",
    model: EncoderModel,
) -> None:
    """Encode the photograph as the bits of every scale."""


@stages.command("text_features")
@grouped
def text_features(
    *,
    prompt: Annotated[str, typer.Option(help="A source or edit prompt, or @FILE.")],
    output: Output,
    suffix: Annotated[
        str, typer.Option(help="Text after the prompt; empty if no soft prompt is used with it.")
    ] = CAPTION_SUFFIX,
    model: EncoderModel,
) -> None:
    """Encode a prompt and, if a soft prompt is trained or used with it, the caption suffix."""
    from editinfinity.files.prompts import read_prompt
    from editinfinity.stages.text_features import extract_text_features

    extract_text_features(
        prompt=read_prompt(text_or_file(prompt), may_be_empty=True),
        output=output,
        model=model,
        suffix=suffix,
    )


@stages.command("train_textembedding")
@grouped
def train_textembedding(
    *,
    image_features: ImageFeatures,
    text_features: TextFeatures,
    output: Annotated[Path, typer.Option(help="Checkpoint to write; its state is put beside it.")],
    iterations: Iterations = InversionSettings.train_textembedding_iter,
    previous: Annotated[Path | None, typer.Option(help="Checkpoint to continue from.")] = None,
    losses: Losses = None,
    training: Annotated[TrainingSettings, Without("lora_learning_rate")],
    model: ModelSettings,
) -> None:
    """Train a soft prompt that completes the source prompt (stage 2 of the method)."""
    from editinfinity.stages.train_textembedding import train_textembedding as stage

    stage(
        image_features=image_features,
        text_features=text_features,
        output=output,
        state=_state_beside(output),
        previous=previous,
        previous_state=None if previous is None else _state_beside(previous),
        losses=losses,
        iterations=iterations,
        model=model,
        training=training,
    )


def _state_beside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.stem}.state{checkpoint.suffix}")


@stages.command("train_lora")
@grouped
@runs("train_lora", "train_lora")
def train_lora(
    *,
    image_features: ImageFeatures,
    text_features: TextFeatures,
    output_dir: Annotated[Path, typer.Option(help="Folder for the adapter, in PEFT's format.")],
    iterations: Iterations = InversionSettings.train_lora_iter,
    embedding: Annotated[Path | None, typer.Option(help="Soft prompt to train with.")] = None,
    previous_dir: Annotated[
        Path | None, typer.Option("--previous", help="Folder of an adapter to continue from.")
    ] = None,
    losses: Losses = None,
    lora: LoraSettings,
    training: Annotated[TrainingSettings, Without("embedding_learning_rate")],
    model: ModelSettings,
) -> None:
    """Train a LoRA adapter on the style of the photograph (stage 3 of the method)."""


@stages.command("attention_map")
@grouped
def attention_map(
    *,
    image_features: ImageFeatures,
    text_features: TextFeatures,
    target_word: Annotated[str, typer.Option(help="Word of the source prompt, or @FILE.")],
    output: Output,
    attention_scales: Annotated[
        str, setting_option("attention_scales")
    ] = MaskSettings.attention_scales,
    cfg: WithoutEffect = None,
    tau: WithoutEffect = None,
    model: DrawModel,
) -> None:
    """Find the region that a word of the source prompt attends to (the automatic mask)."""
    from editinfinity.files.prompts import read_target_word
    from editinfinity.stages.attention_map import collect_attention

    if cfg is not None or tau is not None:
        log.warning("--cfg, --tau: no longer have an effect on an attention map; leave them out")
    collect_attention(
        image_features=image_features,
        text_features=text_features,
        target_word=read_target_word(text_or_file(target_word)),
        output=output,
        model=model,
        scales=MaskSettings(attention_scales=attention_scales).attention_scales,
    )


@stages.command("prompt_map")
@grouped
@runs("prompt_map", "find_place")
def prompt_map(
    *,
    image_features: ImageFeatures,
    source_features: Annotated[Path, typer.Option(help="Plain features of the source prompt.")],
    target_features: Annotated[Path, typer.Option(help="Plain features of the edit prompt.")],
    output: Output,
    model: DrawModel,
) -> None:
    """Find the region of an edit by comparing both prompts (mask_source: words, bits or both)."""


@stages.command("kernel")
@grouped
@runs("kernel", "make_kernel")
def kernel(
    *,
    image_features: ImageFeatures,
    output: Output,
    region: RegionOptions,
    settings: RegionSettings,
    smoothing: Annotated[str, setting_option("smoothing")] = PreservationSettings.smoothing,
) -> None:
    """Make the blending weights (the kernel) from a mask, an attention map or a blend mask."""


@stages.command("mask_pictures")
@grouped
@runs("mask_pictures", "draw_mask_pictures")
def mask_pictures(
    *,
    image_features: ImageFeatures,
    mask_image: Annotated[Path, typer.Option(help="PNG to write, of the edited region.")],
    heatmap: Annotated[Path, typer.Option(help="PNG to write, of the region over the photograph.")],
    region: RegionOptions,
    settings: RegionSettings,
) -> None:
    """Draw pictures of the region of an edit."""


@stages.command("edit")
@grouped
def edit(
    *,
    image_features: ImageFeatures,
    text_features: Annotated[Path, typer.Option(help="Features of the edit prompt.")],
    output: Annotated[Path, typer.Option(help="PNG to write, with its settings as JSON beside.")],
    embedding: Annotated[Path | None, typer.Option(help="Soft prompt.")] = None,
    lora_dir: Annotated[Path | None, typer.Option(help="Folder of a LoRA adapter.")] = None,
    kernel: Annotated[Path | None, typer.Option(help="Else the whole image may change.")] = None,
    source_text: Annotated[
        Path | None,
        typer.Option(help="Features of the source prompt; alone: --guidance source_negative."),
    ] = None,
    guidance: GuidanceSettings,
    lock_scales: Annotated[int, setting_option("lock_scales")] = PreservationSettings.lock_scales,
    sampling: SamplingSettings,
    model: DrawModel,
) -> None:
    """Draw the edit prompt into the photograph (stage 4 of the method)."""
    from editinfinity.stages.edit import edit as stage

    if output.suffix.lower() != ".png":
        raise UserError(f"--output: {output} is not a PNG; end the name in .png")
    stage(
        image_features=image_features,
        text_features=text_features,
        output=output,
        settings=output.with_suffix(".json"),
        embedding=embedding,
        lora_dir=lora_dir,
        kernel=kernel,
        source_text=source_text,
        guidance=guidance,
        lock_scales=PreservationSettings(lock_scales=lock_scales).lock_scales,
        model=model,
        sampling=sampling,
    )


@stages.command("rendering")
@grouped
@runs("rendering", "render_photograph")
def rendering(*, image_features: ImageFeatures, output: Output, model: EncoderModel) -> None:
    """Render the photograph as the tokenizer shows it, for the stage finish."""


@stages.command("finish")
@grouped
@runs("finish", "finish")
def finish(
    *,
    edited: Annotated[Path, typer.Option(help="PNG written by the stage edit.")],
    image: Image,
    output: Annotated[Path, typer.Option(help="The file to write; its ending sets the format.")],
    kernel: Annotated[Path | None, typer.Option(help="Kernel of the edit, if it used one.")] = None,
    rendering: Annotated[
        Path | None,
        typer.Option(help="PNG written by the stage rendering; only --background detail uses it."),
    ] = None,
    settings: FinishSettings,
) -> None:
    """Paste the edit into the photograph, at the photograph's full size."""


@stages.command("metrics")
@grouped
def metrics(
    *,
    picture: Annotated[Path, typer.Option(help="PNG written by the stage edit.")],
    image: Annotated[Path, typer.Option(help="The photograph.")],
    output: Annotated[Path, typer.Option(help="JSON to write.")],
    mask: Annotated[Path | None, typer.Option(help="The user's mask.")] = None,
    attention: Annotated[Path | None, typer.Option(help="Used instead of a mask.")] = None,
    blend: Annotated[Path | None, typer.Option(help="Used instead of a mask.")] = None,
    settings: RegionSettings,
    lpips: Weights = None,
    clip: Weights = None,
    dino: Weights = None,
    image_reward: Weights = None,
    model: Annotated[
        ModelSettings,
        Without(
            "model", "model_dir", "attention_bias", "threads", "gradient_checkpointing", "memory"
        ),
    ],
) -> None:
    """Measure an edit: its background, its alignment, and the metrics that have a model."""
    chosen = {"lpips": lpips, "clip": clip, "dino": dino, "image_reward": image_reward}
    folders: dict[str, Any] = {name: BACKBONES[name].locate(at) for name, at in chosen.items()}
    from editinfinity.stages.metrics import measure_edit

    measure_edit(
        picture=picture,
        image=image,
        output=output,
        mask=mask,
        attention=attention,
        blend=blend,
        model=model,
        **asdict(settings),
        **folders,
    )


@stages.command("select")
def select(
    metrics: Annotated[list[Path], typer.Argument(help="Files of the stage metrics, in order.")],
    output: Annotated[Path, typer.Option(help="JSON to write: the choice and the reason.")],
    floor: Annotated[
        float, typer.Option(help="Minimum background PSNR, in decibels.")
    ] = EvaluationSettings.select_floor,
) -> None:
    """Choose the best-aligned variant among those that preserve the background."""
    from editinfinity.stages.select import select_variant

    by_variant = {path.name.removesuffix(".metrics.json"): path for path in metrics}
    if len(by_variant) < len(metrics):
        raise UserError("metrics: two files have the same name; give one file per variant")
    select_variant(metrics=by_variant, output=output, floor=floor)
