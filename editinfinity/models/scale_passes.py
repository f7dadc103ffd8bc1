"""Forward passes of the transformer for one image, one pass per scale.

:class:`ScalePasses` calls the model directly. :class:`GraphedPasses` records the same passes as
CUDA graphs and replays them, because small scales spend their time on launching kernels, not on
running them. Recording takes as long as generating an image, so :class:`CudaGraphRunner` records a
shape only when it occurs a second time in a row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editinfinity.models.attention import Observer, sampling_backend
from editinfinity.models.scale_cache import caches_to_park, scale_caches
from editinfinity.models.transformer import Condition, Infinity, TextFeatures
from editinfinity.presets import TransformerConfig
from editinfinity.scales import ScaleSchedule

log = logging.getLogger(__name__)


class ScalePasses:
    """Forward passes for one image or batch, from the coarsest to the finest scale.

    Args:
        model: The transformer.
        text: Text features to condition on, (rows, T, Ct5).
        schedule: The scales.
        rows: Number of rows, from the first, to predict for at each scale; it must not rise. None
            for all rows at all scales.
    """

    def __init__(
        self,
        model: Infinity,
        text: TextFeatures,
        schedule: ScaleSchedule,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.model, self.schedule = model, schedule
        self.condition = model.condition(text)
        self.rows = [len(text.features)] * len(schedule.scales) if rows is None else rows
        self._conditions = {count: self.condition.first(count) for count in set(self.rows)}
        self.contexts = scale_caches(*_cached(model, text, schedule))

    def logits(self, scale: int, inputs: Tensor | None, observe: Observer | None = None) -> Tensor:
        """Return the logits (rows, h·w, d, 2) of the next scale.

        Args:
            scale: Index of the scale. Call once for each scale, in order.
            inputs: Running sum resized to the grid of this scale and folded, (B, h·w, d); None at
                the first scale. The scale's rows are a multiple of B; ``inputs`` is repeated.
            observe: Callback for the cross-attention of every block.
        """
        condition = self._conditions[self.rows[scale]]
        if inputs is None:
            tokens = self.model.start_token(condition)
        else:
            tokens = self.model.word_embed(inputs)
            tokens = tokens.repeat(self.rows[scale] // len(tokens), 1, 1)
        with sampling_backend(self.schedule.lengths[scale]):
            return self.model.forward_scale(
                tokens, scale, condition, self.schedule, self.contexts, observe
            )


class GraphedPasses(ScalePasses):
    """Forward passes that are recorded for the first image and replayed for the following ones.

    The model's weights, including adapters, must stay at the same memory addresses. The logits of
    a scale are overwritten when the next image is generated.
    """

    def __init__(
        self,
        model: Infinity,
        text: TextFeatures,
        schedule: ScaleSchedule,
        rows: Sequence[int] | None = None,
    ) -> None:
        # A copy, because the next image's mask is written into it.
        mask = None if text.mask is None else text.mask.clone()
        super().__init__(model, TextFeatures(text.features, mask), schedule, rows)
        # References keep the memory that the graphs read from being freed and reused.
        self._kept_alive = (*model.parameters(), model.rotary(schedule, text.features.device))
        self._graphs: list[tuple[torch.cuda.CUDAGraph, Tensor | None, Tensor]] = []
        self._pool = torch.cuda.graph_pool_handle()
        # PyTorch's default capture stream belongs to the GPU of the process's first recording.
        self._stream = torch.cuda.Stream(text.features.device)

    @property
    def complete(self) -> bool:
        """Whether all scales have been recorded."""
        return len(self._graphs) == len(self.schedule.scales)

    def begin(self, text: TextFeatures) -> GraphedPasses:
        """Start another image with text features of the same shape."""
        fresh = self.model.condition(text)
        torch._foreach_copy_(list(_tensors(self.condition)), list(_tensors(fresh)))
        return self

    def logits(self, scale: int, inputs: Tensor | None, observe: Observer | None = None) -> Tensor:
        """See :meth:`ScalePasses.logits`; ``observe`` must be None, as replays call no Python.

        Raises:
            ValueError: ``observe`` is not None.
        """
        if observe is not None:
            raise ValueError("the attention of a recorded pass cannot be observed")
        if scale == len(self._graphs):
            self._record(scale, inputs)
        graph, buffer, logits = self._graphs[scale]
        if buffer is not None and inputs is not None:
            buffer.copy_(inputs)
        graph.replay()
        return logits

    def _record(self, scale: int, inputs: Tensor | None) -> None:
        graph, buffer = torch.cuda.CUDAGraph(), None if inputs is None else inputs.clone()
        torch.cuda.synchronize()
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            logits = super().logits(scale, buffer)
        self._graphs.append((graph, buffer, logits))


class CudaGraphRunner:
    """Creates the forward passes of each image of a process, with CUDA graphs for repeated shapes.

    The first image of a shape uses :class:`ScalePasses`. If the next image has the same shape, its
    passes are recorded; the images after it replay them. Only the recording of the last shape is
    kept, with its key-value cache, which takes no more memory than generating an image. If an image
    fails while it is recorded, the recording is discarded and its shape uses :class:`ScalePasses`.
    """

    def __init__(self) -> None:
        self._last: object = None
        self._failed: object = None
        self._recorded: GraphedPasses | None = None

    def __call__(
        self,
        model: Infinity,
        text: TextFeatures,
        schedule: ScaleSchedule,
        rows: Sequence[int] | None = None,
    ) -> ScalePasses:
        """Return the forward passes for a text; see :class:`ScalePasses`."""
        device = text.features.device
        if device.type != "cuda":
            return ScalePasses(model, text, schedule, rows)
        size, masked = tuple(text.features.shape), text.mask is not None
        kept = None if rows is None else tuple(rows)
        shape = (id(model), schedule, size, masked, kept, tuple(_recording_key(model)))
        if self._recorded is not None and not self._recorded.complete:
            self._failed, self._recorded = self._last, None
        if shape != self._last:
            self._last, self._recorded = shape, None
            return ScalePasses(model, text, schedule, rows)
        if shape == self._failed:
            return ScalePasses(model, text, schedule, rows)
        if self._recorded is None:
            if caches_to_park(*_cached(model, text, schedule)):
                # Copies from RAM cannot be recorded.
                return ScalePasses(model, text, schedule, rows)
            log.debug("recording the passes of %s", schedule)
            self._recorded = GraphedPasses(model, text, schedule, rows)
            return self._recorded
        return self._recorded.begin(text)

    def forget(self) -> None:
        """Discard the recording and free its memory."""
        self._last = self._failed = self._recorded = None


def _cached(
    model: Infinity, text: TextFeatures, schedule: ScaleSchedule
) -> tuple[TransformerConfig, ScaleSchedule, int, torch.dtype, torch.device]:
    """Return what the size of the key-value caches depends on, as ``scale_caches`` takes it."""
    rows, dtype = len(text.features), model.blocks[0].ffn_dtype
    return model.config, schedule, rows, dtype, text.features.device


def _recording_key(model: Infinity) -> Iterator[object]:
    """Yield everything that invalidates a recording when it changes.

    These are the address, shape, dtype and version of each parameter, and the adapter scalings. The
    version matters because recordings also use converted copies of parameters.
    """
    for name, parameter in model.named_parameters():
        changes = None if parameter.is_inference() else parameter._version
        yield name, parameter.data_ptr(), parameter.shape, parameter.dtype, changes
    for module in model.modules():
        yield str(getattr(module, "scaling", ""))  # scaling of a LoRA layer


def _tensors(condition: Condition) -> Iterator[Tensor]:
    """Yield all tensors of a condition in a fixed order."""
    yield condition.pooled
    if condition.mask is not None:
        yield condition.mask
    for modulation in condition.modulation:
        yield from (part for part in modulation if part is not None)
    for keys_values in condition.text:
        yield from keys_values
