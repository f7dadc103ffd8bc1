"""Which operations a model gets on a device: the fused kernels where they work, else the plain.

The first time on a machine, building a kernel takes about 0.3 s, most of it a C compiler's, and a
model needs several before its first picture. So the choice is made in the background, beside the
reading of the weights, by a warm-up: what will be needed is built by running it. A warm-up that
fails is the reason to fall back.
"""

from __future__ import annotations

import importlib.util
import logging
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from editinfinity.models.operations import PLAIN, Operations
from editinfinity.presets import TokenizerConfig, TransformerConfig

log = logging.getLogger(__name__)


def choose_operations(
    device: torch.device,
    model: TransformerConfig | TokenizerConfig | None = None,
    dtype: torch.dtype = torch.float32,
) -> Future[Operations]:
    """The operations for a device, once they are ready; falling back to ``PLAIN`` is logged.

    Args:
        device: where the model will run.
        model: whose drawing or decoding to warm_up; None only tries whether kernels work.
        dtype: of a transformer's blocks.
    """
    chosen: Future[Operations] = Future()
    if device.type != "cuda":
        chosen.set_result(PLAIN)
        return chosen

    def choose() -> Operations:
        obstacle = why_not(device, model, dtype)
        if obstacle is None:
            from editinfinity.models.fused.operations import FUSED

            return FUSED
        log.warning("%s: %s; the slower plain operations are used", device, obstacle)
        return PLAIN

    background = ThreadPoolExecutor(1, thread_name_prefix="warm-up")
    chosen = background.submit(choose)
    background.shutdown(wait=False)
    return chosen


def why_not(
    device: torch.device,
    model: TransformerConfig | TokenizerConfig | None = None,
    dtype: torch.dtype = torch.float32,
) -> str | None:
    """Why a card cannot run the kernels; None where it can, and those of the model are built.

    Arguments are those of :func:`choose_operations`.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton, which the fused kernels need, is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is too old for the fused kernels"
    try:
        from editinfinity.models.fused.warm_up import warm_up

        warm_up(device, model, dtype)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, a driver or a full disk says
        log.debug("the kernels could not be built", exc_info=error)
        what = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return (
            f"the fused kernels cannot be built ({what}); that takes a C compiler and Python's "
            "headers: install gcc and python3-dev"
        )
    return None
