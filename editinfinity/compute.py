"""Compute environment: device, CPU threads, precision and the seeds of training iterations."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from editinfinity.environment import (
    Environment,
    available_cores,
    jobs_at_once,
    package_versions,
)
from editinfinity.errors import GpuMemoryError, UserError

log = logging.getLogger(__name__)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device for a setting: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, ``xpu`` or ``auto``.

    ``auto`` is an NVIDIA GPU if there is one, else the CPU. The other accelerators run PyTorch's
    plain operations; they are chosen by name only, since nobody has run them on real hardware.

    Raises:
        UserError: the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type in ("mps", "xpu") and not getattr(torch, device.type).is_available():
        raise UserError(f"device: {name} does not exist on this machine; use device: auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device: {name} does not exist ({torch.cuda.device_count()} GPUs are visible); "
            "use device: auto"
        )
    return device


@contextmanager
def isolated_torch_state() -> Iterator[None]:
    """Isolate training and sampling from the caller's torch state.

    Restores the caller's random generators on exit, and enables gradients inside the block even if
    the caller has disabled them.
    """
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(cards), torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def determinism(enabled: bool) -> Iterator[None]:
    """Enable deterministic algorithms in torch inside the block.

    Without this, torch's fastest attention kernels on GPUs sum in a varying order.

    Args:
        enabled: whether to enable them; False changes nothing.
    """
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warning = torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch requires this for cuBLAS
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warning)


def current_device(device: torch.device) -> AbstractContextManager[None]:
    """Make a device the thread's current one inside the block.

    Triton launches kernels on the current device, whatever the device of their tensors.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def block_dtype(device: torch.device) -> torch.dtype:
    """Return the precision of the transformer's blocks: bf16 on GPUs that support it, else fp32."""
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    name = torch.cuda.get_device_name(device)
    log.warning("%s: does not support bf16; blocks run in fp32, which takes twice the memory", name)
    return torch.float32


def environment_on(device: torch.device) -> Environment:
    """Return what decides the last bits of what this process computes on a device."""
    return Environment(device.type, torch.get_num_threads(), package_versions())


def free_bytes(device: torch.device) -> int:
    """Return the bytes this process can still allocate on a GPU, including torch's unused cache.

    A limit set by ``torch.cuda.set_per_process_memory_fraction`` is respected.
    """
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    if hasattr(torch.cuda, "get_per_process_memory_fraction"):  # not in older versions of torch
        index = torch.cuda.current_device() if device.index is None else device.index
        limit = int(torch.cuda.get_per_process_memory_fraction(index) * total)
        free = min(free, limit - reserved)
    return free + reserved - torch.cuda.memory_allocated(device)


def set_threads(threads: int | str = "auto") -> int:
    """Set and return the number of torch's CPU threads; ``auto`` is this job's share of the cores.

    The share is the number of cores this process may use, divided by the number of model jobs that
    a workflow may run at once (``EDITINFINITY_JOBS_AT_ONCE``, one if unset).

    The explicit setting is necessary because Snakemake exports OMP_NUM_THREADS=1 to one-core jobs.
    """
    if threads == "auto":
        threads = max(1, available_cores() // jobs_at_once())
    torch.set_num_threads(int(threads))
    return int(threads)


def seed_of(seed: int, stage: str, iteration: int) -> int:
    """Return a seed that is specific to one iteration of one stage.

    Iteration i therefore draws the same random numbers whether its run began at 0 or was resumed,
    which makes a resumed run equal to an uninterrupted one.
    """
    digest = hashlib.sha256(f"{seed}/{stage}/{iteration}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def reseed(seed: int, stage: str, iteration: int) -> None:
    """Seed torch's generators (of the CPU and of every GPU) for one iteration."""
    torch.manual_seed(seed_of(seed, stage, iteration))


@contextmanager
def report_memory_faults(cure: str) -> Iterator[None]:
    """Convert torch's out-of-memory error on a GPU into a one-line :class:`GpuMemoryError`.

    Args:
        cure: advice for the user, appended to the message.

    Raises:
        GpuMemoryError: the GPU ran out of memory inside the block.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        log.debug("out of memory", exc_info=error)
        raise GpuMemoryError(f"GPU: out of memory{_free_memory()}; {cure}") from None


def _free_memory() -> str:
    """Return the free memory of the current NVIDIA GPU, in parentheses; nothing without one."""
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f" ({free / 2**30:.1f} of {total / 2**30:.1f} GiB free)"
