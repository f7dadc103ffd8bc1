"""Where the numbers are crunched: device, threads, precision, and seeds of every iteration."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from editinfinity.environment import jobs_at_once
from editinfinity.errors import MemoryFault, UserError

log = logging.getLogger(__name__)

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of CPU a period and the period, or "max"; where Linux shows a container its own."""


def pick_device(name: str = "auto") -> torch.device:
    """The device of a setting: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device: {name} is not there ({torch.cuda.device_count()} GPUs are visible); "
            "use device: auto"
        )
    return device


@contextmanager
def undisturbed() -> Iterator[None]:
    """Learn and draw as if alone in the process, and leave no trace in it.

    The caller's generators go on where they were, and gradients are to be had even where the caller
    has switched them off.
    """
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(cards), torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Have torch add up in the same order every time, which its fastest attention on GPUs does not.

    Args:
        wanted: False changes nothing.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warning = torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else torch refuses
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warning)


def current(device: torch.device) -> AbstractContextManager[None]:
    """Have a device be the thread's current one meanwhile.

    Triton's kernels run there, wherever their tensors lie.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def block_dtype(device: torch.device) -> torch.dtype:
    """Precision of the transformer's blocks: bf16 on a GPU that has it, else fp32."""
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    name = torch.cuda.get_device_name(device)
    log.warning("%s: has no bf16; blocks run in fp32, with twice the memory", name)
    return torch.float32


def set_threads(threads: int | str = "auto") -> int:
    """Let torch use so many CPU threads; ``auto`` is this job's share of the cores.

    The share is every core this process may use, over the number of model jobs that a workflow may
    run at once (``EDITINFINITY_JOBS_AT_ONCE``, one if unset).

    Snakemake exports OMP_NUM_THREADS=1 to jobs of one core, so this has to be said.
    """
    if threads == "auto":
        threads = max(1, available_cores() // jobs_at_once())
    torch.set_num_threads(int(threads))
    return int(threads)


def available_cores() -> int:
    """Cores this process may use: its affinity (a cluster job's), a container's quota if lower."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file, or "max": no limit
        share, period = CPU_QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(share) / int(period)))
    return max(1, cores)


def seed_of(seed: int, stage: str, iteration: int) -> int:
    """A seed of its own for every iteration of every stage.

    Iteration i draws the same whether its run began at 0 or was continued, which makes a
    continued run equal to a straight one.
    """
    digest = hashlib.sha256(f"{seed}/{stage}/{iteration}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def reseed(seed: int, stage: str, iteration: int) -> None:
    """Seed torch's generators, of the CPU and of every GPU, for an iteration."""
    torch.manual_seed(seed_of(seed, stage, iteration))


@contextmanager
def telling_memory_faults(cure: str) -> Iterator[None]:
    """Turn "out of memory" on a GPU into one line.

    Args:
        cure: what to do about it.

    Raises:
        MemoryFault: the GPU's memory ran out in the block.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        log.debug("out of memory", exc_info=error)
        free, total = torch.cuda.mem_get_info()
        raise MemoryFault(
            f"GPU: out of memory ({free / 2**30:.1f} of {total / 2**30:.1f} GiB free); {cure}"
        ) from None
