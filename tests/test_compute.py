"""Devices, threads and seeds."""

import os
from pathlib import Path

import pytest
import torch

from editinfinity import compute, environment
from editinfinity.compute import determinism, pick_device, reseed, seed_of, set_threads
from editinfinity.environment import JOBS_AT_ONCE, available_cores
from editinfinity.errors import GpuMemoryError, UserError
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.operations import PLAIN
from editinfinity.settings.groups import ModelSettings
from editinfinity.worker.cards import Card
from editinfinity.worker.leases import slots_of


def test_seeds_differ_by_seed_stage_and_iteration_and_never_change() -> None:
    seeds = {seed_of(s, stage, i) for s in (0, 1) for stage in ("a", "b") for i in (1, 2, 12)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Pinned: checkpoints continue runs of earlier versions.
    assert seed_of(42, "train_lora", 1) == 8744081042601234319
    reseed(1, "a", 1)
    first = torch.rand(3)
    reseed(1, "a", 1)
    assert torch.equal(torch.rand(3), first)


def test_threads_auto_is_what_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(environment, "CPU_QUOTA", tmp_path / "cpu.max")
    try:
        if hasattr(os, "sched_getaffinity"):
            monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
            assert set_threads("auto") == torch.get_num_threads() == 3
            for quota, cores in (("150000 100000", 2), ("max 100000", 3), ("900000 100000", 3)):
                (tmp_path / "cpu.max").write_text(f"{quota}\n")
                assert available_cores() == cores
            for jobs, threads in (("2", 1), ("9", 1), ("nonsense", 3), ("1", 3)):
                monkeypatch.setenv(JOBS_AT_ONCE, jobs)
                assert set_threads("auto") == threads
        assert set_threads(1) == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert available_cores() >= 1


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UserError, match="does not exist"):
        pick_device("cuda:77")
    for name in ("tpu", "", "mps:x", "cuda:x"):
        with pytest.raises(UserError, match="device: must be auto, cpu, cuda, cuda:N, mps or xpu"):
            ModelSettings(device=name)


@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_other_accelerators_run_plain_operations(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins: no such accelerator is here."""
    monkeypatch.setattr(getattr(torch, name), "is_available", lambda: False)
    with pytest.raises(UserError, match=f"device: {name} does not exist on this machine"):
        pick_device(name)
    monkeypatch.setattr(getattr(torch, name), "is_available", lambda: True)
    device = pick_device(ModelSettings(device=name).device)
    assert device.type == name
    assert compute.block_dtype(device) == torch.float32
    assert choose_operations(device).result() is PLAIN
    card = Card("0", "card-0")
    assert [slot.card for slot in slots_of(name, [card], 1)] == [None]
    with pytest.raises(GpuMemoryError, match="out of memory.*; buy more"):  # noqa: SIM117
        with compute.report_memory_faults("buy more"):
            raise torch.OutOfMemoryError


def test_determinism_is_for_a_while() -> None:
    with determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        with determinism(False):
            assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        for wanted in (False, True):
            with determinism(wanted):
                pass
            assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
