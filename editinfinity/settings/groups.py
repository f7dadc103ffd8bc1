"""Every setting of the project: its type, its default and what it does, declared once.

Names and meanings of the training and inference switches are those of the original guide; defaults
are those of the original implementation, EditInfinity (arXiv 2510.20217), except where
docs/migrating.md names another. A null means the model's own default, kept with its preset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from editinfinity.names import PATH_VARIABLE
from editinfinity.presets import PRESETS
from editinfinity.scales import PIXEL_BUDGETS
from editinfinity.settings.setting import (
    Setting,
    SettingsGroup,
    accept_former_names,
    case,
    edit,
    run,
)
from editinfinity.settings.types import Choice, Either, FilePath, Flag, Number, Numbers, Text, Whole

METHODS = ("inversion", "training_free", "editmod", "aredit", "bitresedit")
"""How an edit is made; with all but ``inversion`` nothing is learned."""

GUIDANCES = ("cfg", "source_negative", "editmod", "aredit", "bitresedit")
"""How the prompts decide the bits of a drawing (``editinfinity.method.approach``)."""

NEED_SOURCE_PROMPT = ("editmod", "aredit", "bitresedit")
"""Guidances that are of no use without a source prompt."""

EDITMOD_PRESETS = ("preserve", "target")
"""Numbers of scales of ``editmod`` (``editinfinity.editing.editmod``)."""

SMOOTHINGS = ("linear", "paper", "hard", "gaussian", "dilated", "bitresedit", "none")
"""Names of the blend masks (``editinfinity.editing.blend_mask`` makes them)."""

FOUND = ("words", "bits", "both")
"""Values of ``mask_source`` for which the place is found from the two prompts
(``editinfinity.method.prompt_map``)."""

FOUND_SETTINGS = ("prompt_map_threshold", "prompt_map_filter", "prompt_map_grow")
"""Settings that only a place found from the two prompts uses."""

MASK_REGIONS = ("black", "white", "transparent", "opaque")
"""Parts of a mask's picture that may be the edited one (``editinfinity.files.masks``)."""

SELECT = r"first|best|embedding\d+-lora[^/\x00-\x1f]+"
"""Pattern of the values of ``select``: ``first``, ``best`` or the name of a variant."""

PATH = FilePath(
    "a path without control characters, { } and <name>",
    rf"(?:(?!{PATH_VARIABLE})[^\x00-\x1f\x7f{{}}])+",
)
"""Type of the path of a file or folder that Snakemake can handle."""

_MAX_SCALES = 13
"""Number of scales of the largest pixel budget."""

Switch = Annotated[bool, Flag()]
Seed = Annotated[int, Whole(high=2**63 - 1)]  # the largest seed torch takes everywhere
Share = Annotated[float, Number(low=0, below=1)]
ScalesOrNull = Annotated[int | None, Whole(high=_MAX_SCALES)]
Iterations = Annotated[int, Whole(high=100_000)]
"""Limited because Snakemake plans one job for every checkpoint."""
IterationsOrNull = Annotated[int | None, Whole(high=100_000)]
LearningRate = Annotated[float | None, Number(above=0)]
Folder = Annotated[Path | None, PATH]


@accept_former_names(preset="model")
@dataclass(frozen=True)
class ModelSettings(SettingsGroup):
    """Which model runs, and on what."""

    heading: ClassVar[str] = "The model"

    model: Annotated[str, Choice(tuple(PRESETS))] = run("bundled")
    """bundled (small, runs on a CPU) | infinity_125m (256×256, runs on a CPU) | infinity_2b |
    infinity_8b | infinity_8b_512 (512×512): docs/weights.md."""
    model_dir: Folder = run(None, example="weights/infinity")
    """Folder of converted weights; null = where `editinfinity weights fetch` puts them."""
    attention_bias: Switch = case(True)
    """0 drops the q and v biases, to reproduce the original implementation's numbers."""
    device: Annotated[
        str, Text("auto, cpu, cuda, cuda:N, mps or xpu", r"auto|cpu|cuda(:\d+)?|mps|xpu")
    ] = run("auto")
    """auto (an NVIDIA GPU if there is one) | cpu | cuda | cuda:1 | mps (Apple) | xpu (Intel)."""
    threads: Annotated[int | str, Either("auto", Whole(1, 4096))] = run("auto")
    """CPU threads of the model; auto = all cores, shared by the jobs that run at the same time."""
    text_encoder_dtype: Annotated[str, Choice(("auto", "fp32", "bf16"))] = run("auto")
    """auto | fp32 | bf16 (half the memory of fp32): precision of the text encoder; auto = fp16 for
    flan-t5-xl on a GPU, else fp32."""
    memory: Annotated[str, Choice(("auto", "low"))] = run("auto")
    """auto | low: low keeps the transformer in RAM and on a GPU only what fits (docs/weights.md);
    auto = low if the GPU has too little free memory; results are the same."""
    gradient_checkpointing: Annotated[str, Choice(("auto", "none", "all"))] = run("auto")
    """auto | none | all: blocks that training on a GPU computes twice to save memory; auto = as
    few as needed to fit; results are the same."""


@dataclass(frozen=True)
class WorkerSettings(SettingsGroup):
    """How jobs share the model."""

    worker: Annotated[str, Choice(("auto", "off"))] = run("auto")
    """auto keeps the models loaded between jobs, for as long as the run lasts; off = every job
    loads its own."""


@dataclass(frozen=True)
class InversionSettings(SettingsGroup):
    """What training learns from a photograph, and which checkpoints the next step uses."""

    heading: ClassVar[str] = "Steps 2 and 3: training the text embedding, then LoRA over it"

    train_textembedding: Switch = case(True)
    """1 trains the text embedding; 0 uses an existing checkpoint."""
    train_textembedding_iter: Iterations = case(10)
    """Number of training iterations of the text embedding."""
    use_textembedding: Switch = case(True)
    """1 trains LoRA with the learned text embedding; 0 without it."""
    use_textembedding_iter: IterationsOrNull = case(None, sweep=True, example=10)
    """Iteration whose text embedding LoRA trains with; null = train_textembedding_iter."""
    train_lora: Switch = case(True)
    """1 trains LoRA; 0 uses an existing checkpoint."""
    train_lora_iter: Iterations = case(50)
    """Number of training iterations of LoRA: more keep more of the photograph, fewer edit more."""
    checkpoint_every: Annotated[int, Whole(1)] = case(10)
    """Iterations between checkpoints; a longer training continues from the last one."""


@dataclass(frozen=True)
class EditSettings(SettingsGroup):
    """How an edit is made."""

    heading: ClassVar[str] = "Step 4: the edit"

    method: Annotated[str, Choice(METHODS)] = edit("inversion")
    """inversion | training_free | editmod | aredit | bitresedit: with all but inversion, nothing is
    learned and a picture takes seconds (docs/training_free.md)."""
    infer_function: Annotated[int | None, Choice((0, 1, 2))] = edit(None, example=2)
    """0 edits the whole image | 1 makes only the attention map | 2 edits under the mask; null
    follows mask_source."""
    use_concat_embedding: Switch = edit(True)
    """1 uses the learned text embedding."""
    use_embedding_iter: IterationsOrNull = edit(None, sweep=True, example=10)
    """Iteration of the text embedding to use; null = train_textembedding_iter."""
    use_lora: Switch = edit(True)
    """1 uses LoRA."""
    use_lora_iter: IterationsOrNull = edit(None, sweep=True, example=50)
    """Iteration of LoRA to use; null = train_lora_iter."""
    mask_source: Annotated[str, Choice(("auto", "blend", "user", "attention", *FOUND, "none"))] = (
        edit("auto")
    )
    """blend (image/blend.npy, .safetensors or .png) |
    user (image/mask.png, .json, .xml, .csv or .txt) | attention (of prompt/target_word.txt) |
    none; auto = the first of these that is available. words | bits | both = found from the two
    prompts alone (docs/finding_the_place.md)."""


@dataclass(frozen=True)
class SamplingSettings(SettingsGroup):
    """How the bits of an edit are drawn."""

    seed: Seed = edit(42, sweep=True)
    """Random seed of the drawing; another seed gives another picture."""
    cfg: Annotated[float, Number(low=0)] = edit(4.0, sweep=True, aredit=3.0, bitresedit=4.0392)
    """Strength of classifier-free guidance: logits are uncond + cfg·(cond − uncond); null = 4, of
    aredit 3, of bitresedit 4.0392."""
    tau: Annotated[float, Number(above=0)] = edit(0.5, sweep=True, aredit=1.0, bitresedit=1.0)
    """Temperature: logits are divided by it; null = 0.5, of aredit and bitresedit 1."""
    top_k: Annotated[int, Whole(1)] = edit(900, sweep=True)
    """1 takes the likelier value of every bit; with 2 or more, both values may be drawn."""
    top_p: Annotated[float, Number(above=0, high=1)] = edit(0.97, sweep=True)
    """The less likely value of a bit is not drawn where its probability is at most 1 − top_p."""


@dataclass(frozen=True)
class GuidanceSettings(SettingsGroup):
    """How the prompts decide the bits of a drawing."""

    guidance: Annotated[str, Choice(GUIDANCES)] = edit("cfg")
    """cfg | source_negative | editmod | aredit | bitresedit: all but cfg compare both prompts; each
    method but inversion has its own."""
    editmod_preset: Annotated[str, Choice(EDITMOD_PRESETS)] = edit("target", sweep=True)
    """target edits more | preserve keeps more of the photograph: numbers of scales of editmod."""
    editmod_copy: ScalesOrNull = edit(None, sweep=True, example=2)
    """Number of first scales that editmod copies from the photograph; null = the preset's."""
    editmod_mix: ScalesOrNull = edit(None, sweep=True, example=7)
    """Number of first scales that editmod copies or mixes, the others follow the edit prompt alone;
    null = the preset's."""
    editmod_confidence: Annotated[float, Number(above=0.5, high=1)] = edit(0.95, sweep=True)
    """Probability that editmod gives the photograph's own bits where both prompts agree."""
    aredit_threshold: Annotated[float, Number(low=0, high=1)] = edit(0.2, sweep=True)
    """Without a mask, aredit draws a bit of the photograph anew if the edit prompt makes it less
    likely by more than this."""


@dataclass(frozen=True)
class PreservationSettings(SettingsGroup):
    """How the drawing preserves the photograph."""

    lock_scales: Annotated[int, Whole(high=_MAX_SCALES)] = edit(0)
    """Number of first scales copied from the photograph, which keeps its layout; 3 for very large
    masks."""
    smoothing: Annotated[str, Choice(SMOOTHINGS)] = edit(
        "linear", sweep=True, bitresedit="bitresedit"
    )
    """linear | paper | hard | gaussian | dilated | bitresedit | none: how the edit fades around its
    mask, over up to 5/64 of the view; null = linear, of bitresedit bitresedit."""


@dataclass(frozen=True)
class MaskSettings(SettingsGroup):
    """Which part of a photograph is edited, given a mask, an attention map or prompt maps."""

    heading: ClassVar[str] = "The mask"

    mask_edit_region: Annotated[str, Choice(MASK_REGIONS)] = edit("black")
    """The part of the user's mask that is edited: black | white | transparent | opaque."""
    mask_grow: Annotated[int, Whole(high=10_000)] = edit(0)
    """Number of pixels of the photograph by which the user's mask is enlarged."""
    attention_threshold: Annotated[float, Number(above=0, below=1)] = edit(0.5)
    """Edits the cells whose attention exceeds min + attention_threshold·(max − min)."""
    attention_scales: Annotated[str, Choice(("all", "fine"))] = edit("all")
    """all | fine: scales whose attention is averaged; all = as in the paper, fine = only those that
    show places, which finds things better."""
    prompt_map_threshold: Annotated[float | None, Number(above=0, below=1)] = edit(
        None, example=0.4
    )
    """For mask_source words, bits and both: share of the map's range above which a cell is edited;
    null = Otsu's method."""
    prompt_map_filter: Switch = edit(True)
    """1 makes the found region follow the edges in the photograph; 0 takes the map as it is."""
    prompt_map_grow: Annotated[int, Whole(high=64)] = edit(1)
    """Number of cells by which the found region is enlarged, of 64 for a square photograph."""


CROP = r"full|auto|\d{1,6}(,\d{1,6}){3}"
"""Pattern of the setting ``crop``."""


@dataclass(frozen=True)
class PhotographSettings(SettingsGroup):
    """What the model sees of a photograph."""

    heading: ClassVar[str] = "The photograph"

    pixel_budget: Annotated[str | None, Choice(tuple(PIXEL_BUDGETS))] = case(None, example="1M")
    """0.06M | 0.25M | 0.60M | 1M; null = the model's default."""
    crop: Annotated[str, Text("full, auto or top,left,height,width in pixels", CROP)] = case("full")
    """full | auto: learns and edits only a part around the masks, at full detail (for large
    photographs) | top,left,height,width: this part, in pixels."""


@dataclass(frozen=True)
class FinishSettings(SettingsGroup):
    """How a drawing is pasted back into its photograph.

    ``background: exact`` keeps the photograph's own pixels wherever the blend mask keeps all of the
    source, which is not everywhere outside the mask (``make_blend_mask``). ``detail`` keeps them
    too, and restores what the tokenizer loses wherever else the drawing shows the same.
    """

    background: Annotated[str, Choice(("detail", "exact", "decoded"))] = edit("detail")
    """Beyond the reach of smoothing: exact = the photograph's own pixels | detail = these, and its
    detail wherever else the edit shows the same | decoded = the model's, as in the paper."""
    mask_feather: Annotated[float | None, Number(low=0)] = edit(None, example=20)
    """Width in pixels of the seam around the edit; null = about 1/64 of the view."""
    gps: Annotated[str, Choice(("keep", "drop"))] = edit("keep")
    """keep | drop the location stored in the photograph."""
    provenance: Switch = edit(True)
    """1 stores in the result what made it, so that `editinfinity again` can make it once more; 0
    stores nothing."""


@dataclass(frozen=True)
class EvaluationSettings(SettingsGroup):
    """How edits are measured, and which variant becomes the result."""

    heading: ClassVar[str] = "Judging (docs/evaluation.md)"

    metrics: Switch = run(True)
    """1 measures every picture: numbers beside it and in results/metrics.tsv; 0 measures
    nothing."""
    lpips_weights: Folder = run(None, example="weights/lpips")
    """Folder of LPIPS; null = where `editinfinity weights fetch lpips` puts it; if it is missing,
    its column says so."""
    clip_weights: Folder = run(None, example="weights/clip")
    """Folder of CLIP; null = where `editinfinity weights fetch clip` puts it."""
    dino_weights: Folder = run(None, example="weights/dino")
    """Folder of DINO; null = where `editinfinity weights fetch dino` puts it."""
    image_reward_weights: Folder = run(None, example="weights/reward")
    """Folder of ImageReward; null = where `editinfinity weights fetch image_reward` puts it."""
    select: Annotated[str, Text("first, best or the name of a variant", SELECT)] = edit("first")
    """Picture of a sweep that becomes results/CASE/NAME.png: first | best | a variant's name."""
    select_floor: Annotated[float, Number(low=0)] = edit(25.0)
    """best takes the most aligned picture whose background has at least this PSNR, in decibels."""


@dataclass(frozen=True)
class BenchmarkSettings(SettingsGroup):
    """A benchmark in place of cases."""

    heading: ClassVar[str] = "A benchmark in place of cases (docs/pie_bench.md)"

    pie_bench: Folder = run(None, example="PIE-Bench_v1")
    """Folder with mapping_file.json and annotation_images; `snakemake pie_bench` writes the edits
    to results/pie_bench."""
    pie_bench_sample: Annotated[int | None, Whole(1)] = run(None, example=20)
    """Number of pictures for a quick look, with every type in proportion; null = all."""
    pie_bench_lora_iter: Iterations = run(20)
    """Number of training iterations of LoRA for the benchmark, in place of train_lora_iter."""


@accept_former_names(
    seed="train_seed",
    learning_rate=("embedding_learning_rate", "lora_learning_rate"),
    gradient_clip="grad_clip",
    condition_dropout="cond_drop",
)
@dataclass(frozen=True)
class TrainingSettings(SettingsGroup):
    """How a photograph is learned, the same for the text embedding and for LoRA."""

    heading: ClassVar[str] = "Training"

    train_seed: Seed = case(42)
    """Seed of all noise in training."""
    embedding_learning_rate: LearningRate = case(None, example=4.69e-5)
    """Learning rate of the text embedding, constant; null = the model's default."""
    lora_learning_rate: LearningRate = case(None, example=4.69e-5)
    """Learning rate of LoRA, constant; null = the model's default."""
    batch_size: Annotated[int | None, Whole(1, 1024)] = case(None, example=2)
    """Number of noisy copies of the image in an iteration; null = the model's default: 1 for the
    text embedding and 2 for LoRA in released models."""
    betas: Annotated[tuple[float, float], Numbers(Number(low=0, below=1), 2)] = case((0.9, 0.97))
    """Betas of AdamW."""
    weight_decay: Annotated[float, Number(low=0)] = case(0.0)
    """Weight decay of AdamW; the original's is 0.005."""
    grad_clip: Annotated[float, Number(above=0)] = case(5.0)
    """Largest norm of the gradient; larger gradients are clipped."""
    noise_strength: Share = case(0.3)
    """Largest probability that a bit is flipped, so that the model learns to correct mistakes."""
    cond_drop: Share = case(0.1)
    """Probability that a sample trains without its text."""
    drop_path: Share = case(0.1)
    """Probability of skipping the last block; it rises linearly over depth, from 0."""
    deterministic: Switch = run(False)
    """1 = repeated runs learn identical numbers on a GPU too, where training takes up to twice as
    long."""


@accept_former_names(rank="lora_rank", alpha="lora_alpha", dropout="lora_dropout")
@dataclass(frozen=True)
class LoraSettings(SettingsGroup):
    """The adapter on both linear layers of every feed-forward block, and its loss."""

    lora_rank: Annotated[int, Whole(1, 4096)] = case(4)
    """Rank r of the adapter."""
    lora_alpha: Annotated[float, Number(above=0)] = case(32.0)
    """The adapter is scaled by lora_alpha / lora_rank."""
    lora_dropout: Share = case(0.1)
    """Dropout on the adapter's input."""
    kl_weight: Annotated[float, Number(low=0)] = case(2e-7)
    """Weight of the summed Kullback-Leibler divergence in the loss of LoRA."""
    precision: Annotated[str, Choice(("auto", "fp8"))] = case("auto")
    """auto | fp8: fp8 multiplies with the frozen matrices in 8 bits while LoRA is trained, which is
    faster on large images and lossy (docs/weights.md); auto = bf16 on a GPU, fp32 on a CPU."""


GROUPS: tuple[type[SettingsGroup], ...] = (
    ModelSettings,
    WorkerSettings,
    InversionSettings,
    EditSettings,
    SamplingSettings,
    GuidanceSettings,
    PreservationSettings,
    MaskSettings,
    PhotographSettings,
    FinishSettings,
    EvaluationSettings,
    BenchmarkSettings,
    TrainingSettings,
    LoraSettings,
)
"""All groups, in the order of config.yaml."""

SETTINGS: dict[str, Setting] = {
    key: setting for group in GROUPS for key, setting in group.settings().items()
}
"""Settings by key. The other keys of config.yaml (``cases``, ``data``, ``results``, ``overrides``,
``slice``) select cases and folders; ``editinfinity.config.load`` reads them."""

RUN_KEYS = frozenset(key for key, setting in SETTINGS.items() if setting.level == "run")
CASE_KEYS = frozenset(key for key, setting in SETTINGS.items() if setting.level == "case")
