"""Infinity: a transformer that predicts the bits of the next scale.

It can load the released models. Key names are the released ones, except that block n is
``blocks.n`` instead of ``block_chunks.i.module.j``. Source: Infinity (arXiv 2412.04431) and
docs/model.md, "Transformer".

The linear layers of the blocks run in the dtype of their weights (fp32 or bf16). Norms, modulation,
text projections, the residual stream and the head stay in fp32; autocast is not used.

Dimensions: B batch, L tokens, T text tokens, C width, d bits per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from editinfinity.models.attention import (
    AttentionContext,
    KeysValues,
    Observer,
    TeacherForcing,
    TextPool,
)
from editinfinity.models.block import Block, BlockRunner, Modulation, Stream, run_block
from editinfinity.models.drop_path import DropPath, KeptBranches
from editinfinity.models.operations import PLAIN, Operations
from editinfinity.models.rotary import rotary_table
from editinfinity.presets import TransformerConfig
from editinfinity.scales import ScaleSchedule

MAX_SCALES = 15
"""Number of rows of the scale embedding in the released files."""


@dataclass(frozen=True)
class TextFeatures:
    """Text encoder output for a batch of prompts.

    Attributes:
        features: Features of the tokens, (B, T, Ct5).
        mask: (B, T) bool, True for real tokens and False for padding; None if there is no padding.
    """

    features: Tensor
    mask: Tensor | None = None

    @classmethod
    def of(cls, features: NDArray[np.float32], device: torch.device) -> TextFeatures:
        """Create a batch of one on a device from the features (T, Ct5) of one text."""
        return cls(torch.from_numpy(features)[None].to(device))

    def append(self, vectors: Tensor) -> TextFeatures:
        """Return this text followed by vectors (N, Ct5), for example learned ones.

        Raises:
            ValueError: The text has padding.
        """
        if self.mask is not None:
            raise ValueError("vectors can only follow text without padding")
        batch = self.features.shape[0]
        extra = vectors.to(self.features.dtype).expand(batch, -1, -1)
        return TextFeatures(torch.cat([self.features, extra], dim=1))

    def pad(self, length: int) -> TextFeatures:
        """Return this text padded to a number of tokens, with a mask; longer texts get the mask."""
        missing = max(0, length - self.features.shape[1])
        mask = torch.ones_like(self.features[..., 0], dtype=torch.bool)
        if self.mask is not None:
            mask = self.mask
        return TextFeatures(F.pad(self.features, (0, 0, 0, missing)), F.pad(mask, (0, missing)))


@dataclass(frozen=True)
class Condition:
    """Everything that the transformer computes from the text alone.

    Attributes:
        pooled: Pooled text, (B, C); input of the start token, the modulation and the head.
        modulation: Gates, scales and shifts of every block.
        text: Keys and values of every block's cross-attention.
        mask: Cross-attention mask, (B, 1, 1, T) bool, or None.
    """

    pooled: Tensor
    modulation: list[Modulation]
    text: list[KeysValues]
    mask: Tensor | None

    def first(self, rows: int) -> Condition:
        """Return the condition of the first rows of the batch, which shares this one's memory."""
        return Condition(
            self.pooled[:rows],
            [each.first(rows) for each in self.modulation],
            [(keys[:rows], values[:rows]) for keys, values in self.text],
            None if self.mask is None else self.mask[:rows],
        )


class RMSNorm(nn.Module):
    """RMS normalisation: x / √(mean x² + 1e-6) · weight.

    The mean is over the last dimension; the result is fp32. The epsilon is that of the released
    models and amplifies small inputs by up to 1/√1e-6 = 1000. A soft prompt (``append``) starts at
    zero, so its first small values appear in the output nearly 1000 times larger.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class Head(nn.Module):
    """Layer norm, modulated by the pooled text, before the output layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.operations = PLAIN

    def forward(self, stream: Stream, pooled: Tensor) -> Tensor:
        scale, shift = self.ada_lin(pooled).unflatten(-1, (2, -1)).unsqueeze(2).unbind(1)
        return stream.norm(self.operations, 1 + scale, shift, torch.float32)[1]


class Infinity(nn.Module):
    """The complete transformer.

    Training calls ``forward``, which processes all scales at once (teacher forcing). The sampler
    calls ``condition`` once and then ``forward_scale`` for one scale after another.
    """

    blocks: Sequence[Block]

    adapter: object | None = None
    """The adapter that all its layers are wrapped with, as ``method.draw.use_adapter`` keeps it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cfg_uncond = nn.Parameter(
            torch.empty(config.text_length, config.text_width).normal_(0, config.text_width**-0.5)
        )
        self.pos_start = nn.Parameter(torch.empty(1, 1, width).normal_(0, 0.02))
        self.text_norm = RMSNorm(config.text_width)
        pool = TextPool(config.text_width, width, config.text_heads)
        self.text_proj_for_sos = nn.ModuleDict({"ca": pool})  # "ca" is in the released key names
        self.text_proj_for_ca = nn.Sequential(
            nn.Linear(config.text_width, width),
            nn.GELU(approximate="tanh"),
            nn.Linear(width, width),
        )
        self.lvl_embed = nn.Embedding(MAX_SCALES, width)
        self.word_embed = nn.Linear(config.token_bits, width)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.blocks = blocks  # type: ignore[assignment]
        self.head_nm = Head(width)
        self.head = nn.Linear(width, 2 * config.token_bits)
        self.run_block: BlockRunner = run_block
        self.rests_in_ram = self.is_streamed = False  # models/placement.py
        self.drop_path = DropPath(torch.zeros(config.depth, device="cpu"))

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pos_start.device

    def set_block_dtype(self, dtype: torch.dtype) -> Infinity:
        """Convert the blocks' linear layers to ``dtype``; the rest stays in fp32. Return self."""
        for block in self.blocks:
            for layer in block.modules():
                if isinstance(layer, nn.Linear):
                    layer.to(dtype)
        return self

    def use_operations(self, operations: Operations) -> Infinity:
        """Set the implementation of norms, residual sums, rotary embeddings and adapters.

        The default is ``PLAIN``. Return self.
        """
        for block in self.blocks:
            block.operations = operations
        self.head_nm.operations = operations
        return self

    def set_drop_path(self, rate: float) -> Infinity:
        """Set drop path: while training, drop branches at random. Return self.

        The probability rises linearly from 0 in the first block to ``rate`` in the last.
        """
        self.drop_path = DropPath(torch.linspace(0, rate, len(self.blocks)))
        return self

    def zero_attention_bias(self) -> Infinity:
        """Zero the trained q and v biases, as the original EditInfinity does when it adds LoRA."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith((".q_bias", ".v_bias")):
                    parameter.zero_()
        return self

    def unconditional(self, text: TextFeatures) -> TextFeatures:
        """Return the learned features for "no text", with the shape and mask of ``text``.

        Raises:
            ValueError: The text has more tokens than the model has unconditional vectors.
        """
        batch, length, _ = text.features.shape
        if length > len(self.cfg_uncond):
            raise ValueError(
                f"the text has {length} tokens, the model accepts {len(self.cfg_uncond)}"
            )
        rows = self.cfg_uncond[:length].to(text.features.dtype)
        return TextFeatures(rows.expand(batch, -1, -1), text.mask)

    def condition(self, text: TextFeatures, kept: KeptBranches | None = None) -> Condition:
        """Compute everything that depends on the text alone; gradients reach ``text.features``.

        Args:
            text: Text features, (B, T, Ct5).
            kept: Branches of each sample that drop path keeps; None keeps all.
        """
        mask = None if text.mask is None else text.mask[:, None, None, :]
        normalized = self.text_norm(text.features)
        pooled = self.text_proj_for_sos["ca"](normalized, mask)
        projected = self.text_proj_for_ca(normalized).to(self.blocks[0].ffn_dtype)
        text_kv = [block.ca.keys_values(projected) for block in self.blocks]
        return Condition(pooled, self._modulation(pooled, kept), text_kv, mask)

    def _modulation(self, pooled: Tensor, kept: KeptBranches | None) -> list[Modulation]:
        """Return the modulation of every block.

        It is computed for all blocks at once; one vector at a time would take hundreds of small
        operations. Drop path multiplies the gates by its factors. The gate of a branch that need
        not be computed is None.
        """
        shared = self.shared_ada_lin(pooled).unflatten(-1, (6, -1)).transpose(0, 1)
        block_vectors = torch.cat([block.ada_gss for block in self.blocks]).transpose(1, 2)
        parts = block_vectors.unsqueeze(2) + shared.unsqueeze(2)  # (blocks, 6, B, 1, C)
        parts[:, 2:4] += 1
        if kept is not None:
            factors = kept.factors.to(parts.device, non_blocking=True)
            parts[:, :2] *= factors[..., None, None]
        vectors = parts.flatten(0, 1).unbind(0)
        modulation = [Modulation(*vectors[n : n + 6]) for n in range(0, len(vectors), 6)]
        if kept is None:
            return modulation
        return [
            m._replace(gate1=m.gate1 if first else None, gate2=m.gate2 if second else None)
            for m, (first, second) in zip(modulation, kept.computed, strict=True)
        ]

    def forward(
        self,
        inputs: Tensor,
        text: TextFeatures,
        schedule: ScaleSchedule,
        observe: Observer | None = None,
    ) -> Tensor:
        """Predict the bits of all scales in one pass, given the running sums (teacher forcing).

        Args:
            inputs: Running sums that are the inputs of all scales but the first, (B, L − 1, d).
            text: Text features, including any soft prompt.
            schedule: The scales; L is ``schedule.tokens``.
            observe: Callback for the cross-attention of every block, in order.

        Returns:
            Logits (B, L, d, 2), fp32; the last dimension is the value of the bit, 0 or 1.
        """
        condition = self.condition(text, self.drop_path(len(inputs)) if self.training else None)
        start = self.start_token(condition)
        x = torch.cat([start, self.word_embed(inputs)], dim=1)
        levels = [self.lvl_embed.weight[k].expand(n, -1) for k, n in enumerate(schedule.lengths)]
        x = x + torch.cat(levels)
        rotary = self.rotary(schedule, x.device)
        context = TeacherForcing(schedule.lengths, self.blocks[0].operations)
        stream = Stream(x)
        for block, modulation, text_kv in self._blocks(condition):
            stream = self.run_block(
                block, stream, modulation, text_kv, condition.mask, rotary, context, observe
            )
        return self.logits(stream, condition)

    def start_token(self, condition: Condition) -> Tensor:
        """Return the only token of scale 0, (B, 1, C), without the scale embedding."""
        return condition.pooled[:, None] + self.pos_start

    def forward_scale(
        self,
        tokens: Tensor,
        scale: int,
        condition: Condition,
        schedule: ScaleSchedule,
        contexts: Sequence[AttentionContext],
        observe: Observer | None = None,
    ) -> Tensor:
        """Return the logits (B, h·w, d, 2) of one scale.

        Args:
            tokens: Embedded inputs of this scale, without the scale embedding, (B, h·w, C).
            scale: Index of the scale.
            condition: Result of :meth:`condition`.
            schedule: The scales.
            contexts: One attention context per block, which holds the coarser scales.
            observe: Callback for the cross-attention of every block, in order.
        """
        start = sum(schedule.lengths[:scale])
        rotary = self.rotary(schedule, tokens.device)[:, start : start + schedule.lengths[scale]]
        stream = Stream(tokens + self.lvl_embed.weight[scale])
        for (block, modulation, text_kv), context in zip(
            self._blocks(condition), contexts, strict=True
        ):
            stream = block(stream, modulation, text_kv, condition.mask, rotary, context, observe)
        return self.logits(stream, condition)

    def logits(self, stream: Stream, condition: Condition) -> Tensor:
        """Apply the head and return the logits (B, L, d, 2), fp32."""
        return self.head(self.head_nm(stream, condition.pooled)).unflatten(-1, (-1, 2))

    def _blocks(self, condition: Condition) -> Iterator[tuple[Block, Modulation, KeysValues]]:
        """Yield every block with its modulation and its text keys and values."""
        return zip(self.blocks, condition.modulation, condition.text, strict=True)

    def rotary(self, schedule: ScaleSchedule, device: torch.device) -> Tensor:
        """Return the cosines and sines of every token's position, (2, L, head width / 2)."""
        return rotary_table(schedule, self.config.width // self.config.heads, device)
