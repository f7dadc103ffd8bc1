"""One picture's passes through the transformer, a scale after another.

:class:`ScalePasses` runs the model as it stands. :class:`GraphedPasses` is the same recorded as
CUDA graphs: small scales spend their time on launching kernels, not on running them. Recording
costs as much as drawing a picture, so :class:`CudaGraphRunner` only does it for a shape that it
sees again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from editinfinity.models.attention import Observer, ScaleCache, quick_to_start
from editinfinity.models.transformer import Condition, Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule

log = logging.getLogger(__name__)


class ScalePasses:
    """Passes of one picture (or batch), coarse to fine.

    Args:
        model: the transformer.
        text: what to predict for, (rows, T, Ct5).
        schedule: the scales.
    """

    def __init__(self, model: Infinity, text: TextFeatures, schedule: ScaleSchedule) -> None:
        self.model, self.schedule = model, schedule
        self.condition = model.condition(text)
        self.contexts = [ScaleCache(schedule.tokens) for _ in model.blocks]

    def logits(self, scale: int, seen: Tensor | None, observe: Observer | None = None) -> Tensor:
        """Logits (rows, h·w, d, 2) of the next scale.

        Args:
            scale: its index; each comes once, in order.
            seen: the running sum on its grid, folded, (B, h·w, d); None at the first scale. Rows
                are a multiple of B, and all see the same.
            observe: sees the cross-attention of every block.
        """
        if seen is None:
            tokens = self.model.start_token(self.condition)
        else:
            tokens = self.model.word_embed(seen)
            tokens = tokens.repeat(len(self.condition.pooled) // len(tokens), 1, 1)
        with quick_to_start(self.schedule.lengths[scale]):
            return self.model.forward_scale(
                tokens, scale, self.condition, self.schedule, self.contexts, observe
            )


class GraphedPasses(ScalePasses):
    """Passes that are recorded the first time and replayed for every picture after.

    The model's weights, adapters included, must stay where they are. A scale's logits are
    overwritten by the next picture's.
    """

    def __init__(self, model: Infinity, text: TextFeatures, schedule: ScaleSchedule) -> None:
        super().__init__(model, text, schedule)
        # What a recording reads stays where it is, so that nobody else comes to lie there.
        self._read = (*model.parameters(), model.rotary(schedule, text.features.device))
        self._graphs: list[tuple[torch.cuda.CUDAGraph, Tensor | None, Tensor]] = []
        self._pool = torch.cuda.graph_pool_handle()
        # PyTorch's own lies on the card that was current when a graph was first recorded.
        self._stream = torch.cuda.Stream(text.features.device)

    @property
    def complete(self) -> bool:
        """Whether all scales are recorded."""
        return len(self._graphs) == len(self.schedule.scales)

    def begin(self, text: TextFeatures) -> GraphedPasses:
        """Another picture: a text of the same shape."""
        fresh = self.model.condition(text)
        torch._foreach_copy_(list(_tensors(self.condition)), list(_tensors(fresh)))
        return self

    def logits(self, scale: int, seen: Tensor | None, observe: Observer | None = None) -> Tensor:
        """See :class:`ScalePasses`; nobody can observe a replay.

        Raises:
            ValueError: somebody wants to.
        """
        if observe is not None:
            raise ValueError("what happens inside of a recorded pass cannot be observed")
        if scale == len(self._graphs):
            self._record(scale, seen)
        graph, place, logits = self._graphs[scale]
        if place is not None and seen is not None:
            place.copy_(seen)
        graph.replay()
        return logits

    def _record(self, scale: int, seen: Tensor | None) -> None:
        graph, place = torch.cuda.CUDAGraph(), None if seen is None else seen.clone()
        torch.cuda.synchronize()
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            logits = super().logits(scale, place)
        self._graphs.append((graph, place, logits))


class CudaGraphRunner:
    """Passes for pictures of one process: plain for a shape's first picture, then recorded ones.

    Keeps the recordings of one shape, with their keys and values: what a picture takes anyway. A
    picture that failed while it was recorded leaves none, and its shape's are drawn plainly.
    """

    def __init__(self) -> None:
        self._last: object = None
        self._failed: object = None
        self._recorded: GraphedPasses | None = None

    def __call__(self, model: Infinity, text: TextFeatures, schedule: ScaleSchedule) -> ScalePasses:
        """Passes for a text."""
        device = text.features.device
        if device.type != "cuda" or text.mask is not None:
            return ScalePasses(model, text, schedule)
        shape = (id(model), schedule, tuple(text.features.shape), tuple(_baked_in(model)))
        if self._recorded is not None and not self._recorded.complete:
            self._failed, self._recorded = self._last, None
        if shape != self._last:
            self._last, self._recorded = shape, None
            return ScalePasses(model, text, schedule)
        if shape == self._failed:
            return ScalePasses(model, text, schedule)
        if self._recorded is None:
            log.debug("recording the passes of %s", schedule)
            self._recorded = GraphedPasses(model, text, schedule)
            return self._recorded
        return self._recorded.begin(text)

    def forget(self) -> None:
        """Give the memory back."""
        self._last = self._failed = self._recorded = None


def _baked_in(model: Infinity) -> Iterator[object]:
    """What a recording takes from a model: where its numbers lie, and which copies it made."""
    for name, parameter in model.named_parameters():
        changes = None if parameter.is_inference() else parameter._version
        yield name, parameter.data_ptr(), parameter.shape, parameter.dtype, changes
    for module in model.modules():
        yield str(getattr(module, "scaling", ""))  # of an adapter


def _tensors(condition: Condition) -> Iterator[Tensor]:
    """All tensors of a condition without a mask, in a fixed order."""
    yield condition.pooled
    for modulation in condition.modulation:
        yield from (part for part in modulation if part is not None)
    for keys_values in condition.text:
        yield from keys_values
