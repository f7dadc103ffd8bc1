"""Record the forward and backward passes of a training as a CUDA graph, and replay it.

On small images an iteration spends its time on launching kernels, not on running them. A replay
launches all of them at once. It computes the same numbers as the plain passes, to the last bit:

- The noise on the GPU is drawn by kernels of the recording, from the generator's current seed.
- Drop path and the dropout seeds are drawn on the CPU, as in the plain passes, and copied to where
  the recording reads them. It computes a branch that all samples drop, with a factor of 0.

The exception is an adapter of a rank that the kernels do not support: its dropout is drawn on the
GPU, and where a branch is dropped, later branches draw other masks than in the plain passes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from editinfinity.inversion.training import Loss, Passes, run_passes
from editinfinity.models.drop_path import DropPath, KeptBranches
from editinfinity.models.operations import PLAIN
from editinfinity.models.transformer import Infinity

log = logging.getLogger(__name__)

MAX_SIZE = 8192 * 2048
"""Maximum tokens × width of an iteration to record.

In larger ones, the GPU takes longer to run the kernels than Python takes to launch them.
"""


def choose_passes(model: Infinity, tokens: int, batch: int, recomputed: int) -> Passes:
    """Return what runs the passes of a training: a recording if it is faster, else plain ones.

    Args:
        model: The transformer.
        tokens: Number of tokens of a sample.
        batch: Number of samples of an iteration.
        recomputed: Number of blocks with gradient checkpointing, which a recording cannot contain.
    """
    small = tokens * batch * model.config.width <= MAX_SIZE
    plain = model.device.type != "cuda" or model.blocks[0].operations is PLAIN
    return run_passes if plain or recomputed or not small else RecordedIterations(model, batch)


class RecordedIterations:
    """Runs the passes of a training: the first time directly, then by replaying a recording.

    Args:
        model: The transformer, which uses the fused operations and recomputes no block.
        batch: Number of samples of an iteration.
    """

    def __init__(self, model: Infinity, batch: int) -> None:
        self.model, self.batch, self.device = model, batch, model.device
        blocks = len(model.blocks)
        self._factors = torch.ones(blocks, 2, batch, device=self.device)
        self._seeds = torch.zeros(blocks, 2, dtype=torch.int64, device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss = torch.zeros((), device=self.device)
        self._gradients: list[Tensor | None] = []
        self._warm = self._failed = False

    def __call__(self, loss: Loss, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Compute the loss, and the gradient of each parameter; return the loss."""
        self._draw()
        if self._warm and not self._failed and self._graph is None:
            self._record(loss, parameters)
        if self._graph is None:
            self._warm = True  # kernels are compiled and attention is planned
            with self._drawn_numbers():
                return run_passes(loss, parameters)
        self._graph.replay()
        for parameter, gradient in zip(parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._loss.clone()  # the next replay overwrites it

    def _record(self, loss: Loss, parameters: Sequence[nn.Parameter]) -> None:
        """Record the passes, without running them; if that fails, they stay unrecorded."""
        for parameter in parameters:
            parameter.grad = None  # gradients in the memory of the recording take its place
        torch.cuda.empty_cache()  # for that memory
        try:
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self.device)
            recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
            with self._drawn_numbers(), recording:
                self._loss = run_passes(loss, parameters)
        except RuntimeError as error:  # too little memory, or a driver's limitation
            log.debug("the iterations cannot be recorded", exc_info=error)
            self._failed = True
            return
        self._gradients = [parameter.grad for parameter in parameters]
        self._graph = graph
        log.debug("recorded the passes of an iteration")

    def _draw(self) -> None:
        """Draw what the plain passes draw on the CPU, in the same order."""
        kept = self.model.drop_path(self.batch)
        computed = torch.ones(len(self._seeds), dtype=torch.bool)
        if kept is not None:
            self._factors.copy_(kept.factors, non_blocking=True)
            computed = torch.tensor(kept.computed)[:, 1]
        seeds = torch.zeros(len(self._seeds), 2, dtype=torch.int64)
        seeds[computed] = torch.randint(2**31, (int(computed.sum()), 2))
        self._seeds.copy_(seeds, non_blocking=True)

    @contextmanager
    def _drawn_numbers(self) -> Iterator[None]:
        """Make the model read the drawn numbers inside the block, instead of drawing them."""
        drop_path, operations = self.model.drop_path, self.model.blocks[0].operations
        self.model.drop_path = _GivenBranches(drop_path.rates, self._factors)
        self.model.use_operations(operations.with_dropout_seeds(self._seeds))
        try:
            yield
        finally:
            self.model.drop_path = drop_path
            self.model.use_operations(operations)


class _GivenBranches(DropPath):
    """Drop path with given factors (blocks, 2, B), which are read when the kernels run."""

    def __init__(self, rates: Tensor, factors: Tensor) -> None:
        super().__init__(rates)
        self.factors = factors

    def __call__(self, batch: int) -> KeptBranches | None:
        return KeptBranches(self.factors, [[True, True]] * len(self.factors))
