"""Select the operations of a model on a device: fused kernels where they work, else plain PyTorch.

FP8 arithmetic has no fallback here: a user asks for it because it is faster than the others.

Triton compiles a kernel the first time a machine runs it. That takes about 0.3 s, mostly in a C
compiler, and a model needs several kernels before its first image. A background thread therefore
runs the required kernels once (warm-up) while the weights are loaded. If the warm-up fails, the
model uses the plain operations.
"""

from __future__ import annotations

import importlib.util
import logging
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from editinfinity.errors import UserError, first_sentence
from editinfinity.models.fp8 import Fp8Arithmetic
from editinfinity.models.operations import PLAIN, Operations
from editinfinity.presets import TokenizerConfig, TransformerConfig

log = logging.getLogger(__name__)


def choose_operations(
    device: torch.device,
    model: TransformerConfig | TokenizerConfig | None = None,
    dtype: torch.dtype = torch.float32,
) -> Future[Operations]:
    """Return a future of the operations for a device; log a warning if it falls back to ``PLAIN``.

    Args:
        device: Device on which the model will run.
        model: Transformer (sampling) or tokenizer (decoding) whose kernels to warm up. None only
            tests whether kernels work.
        dtype: Dtype of the blocks of a transformer.
    """
    chosen: Future[Operations] = Future()
    if device.type != "cuda":
        chosen.set_result(PLAIN)
        return chosen

    def choose() -> Operations:
        obstacle = kernels_obstacle(device, model, dtype)
        if obstacle is None:
            from editinfinity.models.fused.operations import FUSED

            return FUSED
        log.warning("%s: %s; the slower plain operations are used", device, obstacle)
        return PLAIN

    background = ThreadPoolExecutor(1, thread_name_prefix="warm-up")
    chosen = background.submit(choose)
    background.shutdown(wait=False)
    return chosen


def kernels_obstacle(
    device: torch.device,
    model: TransformerConfig | TokenizerConfig | None = None,
    dtype: torch.dtype = torch.float32,
) -> str | None:
    """Return the reason why a GPU cannot run the fused kernels, or None if it can.

    If it can, the kernels of the model have been compiled on return. The arguments are those of
    :func:`choose_operations`.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton, which the fused kernels need, is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is too old for the fused kernels"
    if (
        isinstance(model, TransformerConfig)
        and (width := model.width // model.heads).bit_count() > 1
    ):
        return f"the fused kernels need a power of two of channels a head, the model has {width}"
    try:
        from editinfinity.models.fused.warm_up import warm_up

        warm_up(device, model, dtype)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compiler, driver and disk errors have no common type
        log.debug("the kernels could not be built", exc_info=error)
        what = f"{type(error).__name__}: {first_sentence(error)}"
        return (
            f"the fused kernels cannot be built ({what}); they need a C compiler and Python's "
            "headers: install gcc and python3-dev"
        )
    return None


def choose_fp8(device: torch.device) -> Fp8Arithmetic:
    """Return the FP8 arithmetic of a GPU.

    Raises:
        UserError: the device has none.
    """
    if device.type != "cuda":
        raise UserError(f"precision: fp8 needs an NVIDIA GPU, not {device.type}; {_NO_FP8}")
    name = torch.cuda.get_device_name(device)
    if torch.cuda.get_device_capability(device) < (8, 9):
        raise UserError(f"precision: fp8 is not supported by {name}; {_NO_FP8}")
    if importlib.util.find_spec("triton") is None:
        raise UserError("precision: fp8 needs Triton, which is not installed; pip install triton")
    from editinfinity.models.fused.fp8 import GpuFp8Arithmetic

    arithmetic = GpuFp8Arithmetic()
    try:
        sample = torch.ones(16, 16, device=device, dtype=torch.bfloat16)
        rows = arithmetic.quantise(sample)
        arithmetic.multiply(rows, rows, sample[0], sample.dtype)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compiler, driver and library errors have no common type
        log.debug("FP8 does not work", exc_info=error)
        what = f"{type(error).__name__}: {first_sentence(error)}"
        raise UserError(f"precision: fp8 does not work on {name} ({what}); {_NO_FP8}") from None
    return arithmetic


_NO_FP8 = (
    "use precision: auto, or a GPU with compute capability 8.9 or more (RTX 40 and 50, L4, L40, "
    "H100, H200 and newer)"
)
