"""Copies between RAM and a device beside the computation, on a CUDA stream of their own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Transfers:
    """Runs copies in order, on a stream of their own; on a CPU, each is complete at once.

    Args:
        device: The device, to or from which tensors in RAM are copied.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def start(self, copies: Iterable[tuple[Tensor, Tensor]]) -> torch.cuda.Event | None:
        """Start copies after everything that the computation has queued so far.

        The RAM must be pinned for a copy to run beside the computation.

        Args:
            copies: Pairs (target, source) of contiguous tensors. Neither may be written until the
                returned event has passed, and both must live as long.

        Returns:
            An event to pass to :meth:`wait_for`; None on a CPU.
        """
        if self._stream is None:
            for target, source in copies:
                target.copy_(source)
            return None
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            for target, source in copies:
                target.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def wait_for(self, event: torch.cuda.Event | None) -> None:
        """Let the computation continue on the device only after the copies of an event."""
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)


def spread(chosen: int, of: int) -> list[int]:
    """Return the indices of ``chosen`` elements, spread evenly over ``of``.

    Between two of them, others run and hide the transfers.
    """
    return [index * of // chosen for index in range(chosen)]
