"""Every setting of config.yaml: its kind, its default and what it may differ by.

One table, from which validation, the JSON schema for editors and the docs follow. Names and
meanings of the training and inference switches are those of the original guide; defaults are
upstream's (design documents "method" and "workflow").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from editinfinity.config.kinds import (
    AutoOrOff,
    Choice,
    Either,
    FilePath,
    Flag,
    Kind,
    Number,
    Numbers,
    Text,
    Unfit,
    Whole,
    shown,
    unique,
)
from editinfinity.method.settings import (
    BACKGROUNDS,
    GUIDANCES,
    MASK_REGIONS,
    MAX_SEED,
    MOST_LOCKED,
    SMOOTHINGS,
)
from editinfinity.names import PATH_VARIABLE
from editinfinity.presets import PRESETS
from editinfinity.scales import PIXEL_BUDGETS
from editinfinity.stages.settings import GPS, RECOMPUTED

SELECT = r"first|best|embedding\d+-lora[^/\x00-\x1f]+"
"""What may choose the variant that becomes the result."""


class Level(Enum):
    """How far down a setting may differ."""

    RUN = "run"
    """One value for everything."""
    CASE = "case"
    """May differ by case: all its edits share it, because they share what is trained."""
    EDIT = "edit"
    """May differ by edit."""


@dataclass(frozen=True)
class Setting:
    """One key of config.yaml.

    Attributes:
        key: its name.
        kind: what it accepts.
        default: the value where config.yaml leaves it out, in canonical form.
        level: how far down it may differ.
        nullable: null is accepted and means "the model's own" or "follow another setting".
        sweep: a list is accepted; the product of all lists is drawn.
        example: a value to show in messages.
    """

    key: str
    kind: Kind
    default: object
    level: Level = Level.CASE
    nullable: bool = False
    sweep: bool = False
    example: object = None

    @property
    def wording(self) -> str:
        """What the setting accepts, in words."""
        text = self.kind.wording
        if self.sweep:
            text += ", or a list of such"
        return text + (", or null" if self.nullable else "")

    def parse(self, value: object) -> object:
        """The canonical form: a tuple for settings that sweep, else one value.

        Raises:
            Unfit: with the whole complaint but for the file's and the setting's name.
        """
        try:
            if value in (None, "null") and self.nullable:
                return None
            if not self.sweep:
                return self.kind.parse(value)
            values = list(value) if isinstance(value, list | tuple) else [value]
            if not values:
                raise Unfit(self.wording)
            return unique([self.kind.parse(element) for element in values])
        except Unfit:
            example = self.default if self.example is None else self.example
            if isinstance(example, tuple):
                example = example[0] if self.sweep else list(example)
            hint = example if isinstance(example, str) else shown(example)
            raise Unfit(
                f"must be {self.wording}, got {shown(value)}; write e.g. {self.key}: {hint}"
            ) from None

    def schema(self) -> dict[str, object]:
        """The setting as JSON schema."""
        options = [self.kind.schema()]
        if self.sweep:
            options.append({"type": "array", "minItems": 1, "items": self.kind.schema()})
        if self.nullable:
            options.append({"type": "null"})
        return options[0] if len(options) == 1 else {"anyOf": options}


_RUN, _EDIT = Level.RUN, Level.EDIT
PATH = FilePath(
    "a path without control characters, { } and <name>",
    rf"(?:(?!{PATH_VARIABLE})[^\x00-\x1f\x7f{{}}])+",
)
"""Of a file or folder, as Snakemake can carry it."""

_SHARE = Number(low=0, below=1)

_ITERATIONS = Whole(high=100_000)
"""Every checkpoint between is a job, which Snakemake plans beforehand."""

_ALL = (
    # what runs, and on what
    Setting("model", Choice(tuple(PRESETS)), "bundled", _RUN),
    Setting("model_dir", PATH, None, _RUN, nullable=True, example="weights/infinity"),
    Setting("attention_bias", Flag(), True, _RUN, example=1),
    Setting("pixel_budget", Choice(tuple(PIXEL_BUDGETS)), None, nullable=True, example="1M"),
    Setting("device", Text("auto, cpu, cuda or cuda:N", r"auto|cpu|cuda(:\d+)?"), "auto", _RUN),
    Setting("threads", Either("auto", Whole(1, 4096)), "auto", _RUN),
    Setting("gradient_checkpointing", Choice(RECOMPUTED), "auto", _RUN),
    Setting("deterministic", Flag(), False, _RUN, example=1),
    Setting("worker", AutoOrOff(), "auto", _RUN),
    # step 2: the text embedding
    Setting("train_textembedding", Flag(), True, example=1),
    Setting("train_textembedding_iter", _ITERATIONS, 10),
    Setting("use_textembedding", Flag(), True, example=1),
    Setting("use_textembedding_iter", _ITERATIONS, None, nullable=True, sweep=True, example=10),
    # step 3: LoRA
    Setting("train_lora", Flag(), True, example=1),
    Setting("train_lora_iter", _ITERATIONS, 50),
    # step 4: the edit
    Setting("infer_function", Choice((0, 1, 2)), None, _EDIT, nullable=True, example=2),
    Setting("use_concat_embedding", Flag(), True, _EDIT, example=1),
    Setting("use_embedding_iter", _ITERATIONS, None, _EDIT, nullable=True, sweep=True, example=10),
    Setting("use_lora", Flag(), True, _EDIT, example=1),
    Setting("use_lora_iter", _ITERATIONS, None, _EDIT, nullable=True, sweep=True, example=50),
    Setting("cfg", Number(low=0), (4.0,), _EDIT, sweep=True, example=4),
    Setting("tau", Number(above=0), (0.5,), _EDIT, sweep=True),
    Setting("top_k", Whole(1), (900,), _EDIT, sweep=True),
    Setting("top_p", Number(above=0, high=1), (0.97,), _EDIT, sweep=True),
    Setting("seed", Whole(high=MAX_SEED), (42,), _EDIT, sweep=True),
    Setting("method", Choice(("inversion", "training_free")), "inversion", _EDIT),
    Setting("guidance", Choice(GUIDANCES), "cfg", _EDIT),
    Setting("lock_scales", Whole(high=MOST_LOCKED), 0, _EDIT),
    # mask and kernel
    Setting("mask_source", Choice(("auto", "user", "attention", "none")), "auto", _EDIT),
    Setting("mask_edit_region", Choice(MASK_REGIONS), "black", _EDIT),
    Setting("mask_grow", Whole(high=10_000), 0, _EDIT),
    Setting("mask_feather", Number(low=0), None, _EDIT, nullable=True, example=20),
    Setting("attention_threshold", Number(above=0, below=1), 0.5, _EDIT),
    Setting("smoothing", Choice(SMOOTHINGS), ("linear",), _EDIT, sweep=True),
    # the photograph
    Setting("crop", Choice(("full", "auto")), "full"),
    Setting("background", Choice(BACKGROUNDS), "exact", _EDIT),
    Setting("gps", Choice(GPS), "keep", _EDIT),
    # judging: metrics, and which variant becomes the result
    Setting("metrics", Flag(), True, _RUN, example=1),
    Setting("lpips_weights", PATH, None, _RUN, nullable=True, example="weights/lpips"),
    Setting("clip_weights", PATH, None, _RUN, nullable=True, example="weights/clip"),
    Setting("dino_weights", PATH, None, _RUN, nullable=True, example="weights/dino"),
    Setting("image_reward_weights", PATH, None, _RUN, nullable=True, example="weights/reward"),
    Setting("select", Text("first, best or the name of a variant", SELECT), "first", _EDIT),
    Setting("select_floor", Number(low=0), 25.0, _EDIT, example=25),
    # the benchmark in place of cases
    Setting("pie_bench", PATH, None, _RUN, nullable=True, example="PIE-Bench_v1"),
    Setting("pie_bench_sample", Whole(1), None, _RUN, nullable=True, example=20),
    # how training goes
    Setting("checkpoint_every", Whole(1), 10),
    Setting("train_seed", Whole(high=MAX_SEED), 42),
    Setting("embedding_learning_rate", Number(above=0), None, nullable=True, example=4.69e-5),
    Setting("lora_learning_rate", Number(above=0), None, nullable=True, example=4.69e-5),
    Setting("batch_size", Whole(1, 1024), None, nullable=True, example=2),
    Setting("betas", Numbers(_SHARE, 2), (0.9, 0.97)),
    Setting("weight_decay", Number(low=0), 0.0, example=0),
    Setting("grad_clip", Number(above=0), 5.0, example=5),
    Setting("noise_strength", _SHARE, 0.3),
    Setting("cond_drop", _SHARE, 0.1),
    Setting("drop_path", _SHARE, 0.1),
    Setting("lora_rank", Whole(1, 4096), 4),
    Setting("lora_alpha", Number(above=0), 32.0, example=32),
    Setting("lora_dropout", _SHARE, 0.1),
    Setting("kl_weight", Number(low=0), 2e-7, example="2.0e-7"),
)

SETTINGS: dict[str, Setting] = {setting.key: setting for setting in _ALL}
"""Settings by key. ``cases``, ``data``, ``results`` and ``overrides`` say where things lie and
which run; ``editinfinity.config.load`` reads them."""

RUN_KEYS = frozenset(setting.key for setting in _ALL if setting.level is Level.RUN)
CASE_KEYS = frozenset(setting.key for setting in _ALL if setting.level is Level.CASE)
