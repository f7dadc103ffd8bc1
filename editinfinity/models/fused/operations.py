"""An :class:`~editinfinity.models.operations.Operations` implementation with the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from editinfinity.models.fused import flash_attention, norm, rotary
from editinfinity.models.fused.dropout import DropoutSeeds, GivenSeeds
from editinfinity.models.fused.feed_forward import (
    MAX_RANK,
    LowRank,
    adapted_feed_forward,
    to_multiple_of_8,
)
from editinfinity.models.fused.gelu import gelu_between_layers
from editinfinity.models.fused.group_norm import group_norm_swish
from editinfinity.models.fused.prefixes import add_prefixes, can_add
from editinfinity.models.operations import Operations

if TYPE_CHECKING:
    from editinfinity.models.attention import SelfAttention
    from editinfinity.models.block import FeedForward


class FusedOperations(Operations):
    """Computes each operation in one fused pass.

    The kernels have no gradients for a block's own weights. If these are needed, the plain
    operations are used.

    Args:
        dropout_seeds: Source of the seeds of the adapters' dropout masks.
    """

    def __init__(self, dropout_seeds: DropoutSeeds | None = None) -> None:
        self.dropout_seeds = dropout_seeds or DropoutSeeds()

    add_norm = staticmethod(norm.add_norm)
    add = staticmethod(norm.add)

    def queries_keys_values(
        self,
        attention: SelfAttention,
        h: Tensor,
        table: Tensor,
        kv_buffer: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Operations`."""
        parameters = (attention.q_bias, attention.v_bias, attention.scale_mul_1H11)
        if any(parameter.requires_grad for parameter in parameters):
            return super().queries_keys_values(attention, h, table)
        projection = F.linear(h, attention.mat_qkv.weight)
        return rotary.queries_keys_values(projection, *parameters, table, kv_buffer)

    def add_prefixes(self, total: Tensor, parts: Sequence[Tensor]) -> None:
        """See :class:`Operations`."""
        if can_add(total, parts):
            add_prefixes(total, parts)
        else:
            super().add_prefixes(total, parts)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :class:`Operations`."""
        if flash_attention.suits(q):
            return flash_attention.attend(q, k, v)
        return super().attend(q, k, v)

    def with_dropout_seeds(self, seeds: Tensor) -> FusedOperations:
        """See :class:`Operations`."""
        return FusedOperations(GivenSeeds(seeds))

    def feed_forward(self, layers: FeedForward, h: Tensor) -> Tensor:
        """See :class:`Operations`."""
        if torch.is_grad_enabled() and _is_frozen(layers.fc1) and _is_frozen(layers.fc2):
            return layers.fc2(gelu_between_layers(layers.fc1(h)))
        first, second = _low_rank(layers.fc1), _low_rank(layers.fc2)
        if first is None or second is None:
            return super().feed_forward(layers, h)
        (fc1, adapter1), (fc2, adapter2) = first, second
        if not (_is_frozen(fc1) and _is_frozen(fc2)):
            return super().feed_forward(layers, h)
        trained = any(m.requires_grad for m in (adapter1.a, adapter1.b, adapter2.a, adapter2.b))
        if adapter1.rate or adapter2.rate or (torch.is_grad_enabled() and trained):
            seeds = self.dropout_seeds(h.device)
            return adapted_feed_forward(h, fc1, fc2, adapter1, adapter2, seeds)
        return _adapted(fc2, adapter2, F.gelu(_adapted(fc1, adapter1, h), approximate="tanh"))

    def group_norm_swish(self, group_norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """See :class:`Operations`."""
        if torch.is_grad_enabled() or x.dtype != torch.float32:
            return super().group_norm_swish(group_norm, x)
        return group_norm_swish(group_norm, x)


def _is_frozen(layer: nn.Module) -> bool:
    """Return whether a layer is exactly an ``nn.Linear``, with a weight that needs no gradient."""
    return type(layer) is nn.Linear and not layer.weight.requires_grad


def _adapted(layer: nn.Linear, adapter: LowRank, x: Tensor) -> Tensor:
    """Apply a layer with LoRA, without dropout or gradients; add s·B·A·x to Wx + b in place."""
    rows = x.reshape(-1, x.shape[-1])
    down, up = _prepared_matrices(adapter, x.dtype)
    out = F.linear(rows, layer.weight, layer.bias)
    out.addmm_(rows @ down, up)
    return out.view(*x.shape[:-1], -1)


@dataclass(frozen=True)
class _Prepared:
    """Cached matrices of an adapter, converted once for the many forward passes of an image.

    Attributes:
        b: Matrix B of the adapter; matrix A is the key in the cache.
        state: Dtype, scaling, and the address and version of both matrices at the conversion.
        down: Aᵀ, (inputs, R). R is the rank, padded with zeros to a multiple of 8.
        up: s·Bᵀ, (R, outputs).
    """

    b: ReferenceType[Tensor]
    state: object
    down: Tensor
    up: Tensor


_cache = WeakTensorKeyDictionary()
"""Matrix A → cached matrices of its adapter, for as long as A exists.

The key is the tensor, not its address, because another tensor may reuse a freed address.
"""


def _prepared_matrices(adapter: LowRank, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ``down`` and ``up`` of :class:`_Prepared`, from the cache if up to date."""
    if adapter.a.is_inference() or adapter.b.is_inference():
        return _convert(adapter, dtype)  # inference tensors have no version counter
    matrices = [(matrix.data_ptr(), matrix._version) for matrix in (adapter.a, adapter.b)]
    state = (dtype, adapter.scaling, *matrices)
    cached = _cache.get(adapter.a)
    if cached is None or cached.b() is not adapter.b or cached.state != state:
        cached = _cache[adapter.a] = _Prepared(ref(adapter.b), state, *_convert(adapter, dtype))
    return cached.down, cached.up


def _convert(adapter: LowRank, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.no_grad():  # cached tensors must be usable in training
        down = to_multiple_of_8(adapter.a.T, dtype)
        return down, to_multiple_of_8(adapter.b * adapter.scaling, dtype).T.contiguous()


def _low_rank(layer: Any) -> tuple[nn.Linear, LowRank] | None:
    """Return the linear layer and the LoRA adapter of a PEFT layer.

    Return None unless the layer has exactly one active, enabled and unmerged LoRA adapter, without
    DoRA or biases, of rank ``MAX_RANK`` at most.
    """
    active = getattr(layer, "active_adapters", None)
    if active is None or len(active) != 1 or layer.disable_adapters or layer.merged:
        return None
    (name,) = active
    if name not in layer.lora_A or getattr(layer, "use_dora", {}).get(name, False):
        return None
    a, b, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    if a.bias is not None or b.bias is not None or a.weight.shape[0] > MAX_RANK:
        return None
    rate = getattr(dropout, "p", 0.0) if layer.training else 0.0
    return layer.get_base_layer(), LowRank(a.weight, b.weight, layer.scaling[name], rate)


FUSED = FusedOperations()
