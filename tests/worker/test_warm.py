"""Models kept between jobs: read once, unharmed by jobs, within memory."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from editinfinity.files.text_encoder_weights import load_text_encoder
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.inversion.lora import add_lora
from editinfinity.presets import preset
from editinfinity.settings.groups import LoraSettings
from editinfinity.worker import memory, warm
from editinfinity.worker.memory import MemoryBudget
from editinfinity.worker.warm import WarmModels

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class Machine(MemoryBudget):
    """A card and RAM of so many models; remembers what was moved."""

    def __init__(self, card: int | None, ram: int = 100) -> None:
        super().__init__(CPU)
        self.card_budget = None if card is None else card * SIZE
        self.ram, self.moves = ram, []

    def ram_left(self) -> int:
        return self.ram * SIZE

    def move(self, module: nn.Module, to_card: bool) -> None:
        self.moves.append((int(module.bias[0]), to_card))


SIZE = 4 * (8 * 8 + 8)


class Disk:
    """Loads models of ``SIZE`` bytes that carry their number; counts."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def load(self, number: int) -> nn.Linear:
        self.read.append(number)
        model = nn.Linear(8, 8)
        nn.init.constant_(model.bias, number)
        return model.requires_grad_(False)


def number(model: nn.Linear) -> int:
    return int(model.bias[0])


def test_a_model_is_read_once_and_lends_its_tensors() -> None:
    disk, models = Disk(), WarmModels(Machine(card=None))
    first, second = models.load(disk.load, 1), models.load(disk.load, 1)
    assert disk.read == [1]
    assert first is not second and first.weight.data_ptr() == second.weight.data_ptr()
    assert number(models.load(disk.load, 2)) == 2
    assert disk.read == [1, 2]


def test_a_job_leaves_no_trace_on_the_next() -> None:
    """As the training stages leave a model: adapted, in training mode, with drop path."""
    models = WarmModels(MemoryBudget(CPU))
    load: Callable = lambda: models.load(load_transformer, preset("tiny"), CPU, None, True)  # noqa: E731
    before = {name: tensor.clone() for name, tensor in load().state_dict().items()}
    model = load()
    adapted = add_lora(model, LoraSettings())
    model.set_drop_path(0.5)
    adapted.train()
    nn.init.constant_(next(p for p in adapted.parameters() if p.requires_grad), 3.0)
    del model, adapted
    models.finish_job("edit")
    after = load()
    assert not after.training and not any(p.requires_grad for p in after.parameters())
    assert not after.drop_path.rates.any()
    assert after.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.state_dict().items())


def test_weights_that_a_job_wrote_into_are_read_again(caplog: pytest.LogCaptureFixture) -> None:
    disk, models = Disk(), WarmModels(Machine(card=None))
    for _ in range(2):
        models.load(disk.load, 1)
        models.finish_job("edit")
    assert disk.read == [1]
    # As merging an adapter does it, behind autograd's back.
    models.load(disk.load, 1).weight.data[0, 0] += 1
    with caplog.at_level(logging.WARNING):
        models.finish_job("edit")
    assert "changed the cached weights" in caplog.text
    models.load(disk.load, 1)
    assert disk.read == [1, 1]


def test_the_card_holds_what_fits_and_the_rest_waits_in_ram() -> None:
    disk, machine = Disk(), Machine(card=2)
    models = WarmModels(machine)
    for wanted in (1, 2, 1, 3, 2):
        models.load(disk.load, wanted)
        models.finish_job("edit")
    assert disk.read == [1, 2, 3]
    # 2 was used least recently when 3 came, then 1 when 2 came back.
    assert machine.moves == [(2, False), (1, False), (2, True)]


def test_a_model_in_use_stays_on_the_card_until_it_is_let_go() -> None:
    disk, machine = Disk(), Machine(card=1)
    models = WarmModels(machine)
    transformer = models.load(disk.load, 1)
    models.load(disk.load, 2)
    assert machine.moves == []  # both, although only one fits: the job has them
    models.finish_job("edit")
    del transformer
    models.load(disk.load, 3)
    assert machine.moves == [(1, False), (2, False)]


def test_one_model_that_is_too_large_is_kept_all_the_same() -> None:
    disk, machine = Disk(), Machine(card=0)
    models = WarmModels(machine)
    for wanted in (1, 1, 2, 1):
        models.load(disk.load, wanted)
        models.finish_job("edit")
    assert disk.read == [1, 2]
    assert machine.moves == [(1, False), (2, False), (1, True)]


@pytest.mark.parametrize("card", [None, 1])
def test_where_ram_is_short_models_are_let_go(card: int | None) -> None:
    disk, models = Disk(), WarmModels(Machine(card, ram=-1))
    for wanted in (1, 2, 1):
        models.load(disk.load, wanted)
        models.finish_job("edit")
    assert disk.read == [1, 2, 1]


def test_on_a_cpu_a_large_text_encoder_goes_before_the_next_model_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warm, "LARGE_TEXT_ENCODER", SIZE)
    disk, models = Disk(), WarmModels(Machine(card=None))

    class Encoder:
        """Wraps a module without being one."""

        def __init__(self, number: int) -> None:
            self.model = disk.load(number)

    def read_next(number: int) -> nn.Linear:
        assert not any(isinstance(entry.model, Encoder) for entry in models._cache.values())
        return disk.load(number)

    models.load(Encoder, 1)
    models.load(Encoder, 1)
    assert disk.read == [1], "two prompts in a row"
    models.load(read_next, 2)
    models.load(read_next, 2)
    assert disk.read == [1, 2], "a large transformer stays"
    models.load(Encoder, 1)
    models.load(read_next, 2)
    assert disk.read == [1, 2, 1]


def test_a_card_that_is_full_is_cleared_and_tried_again() -> None:
    disk, machine = Disk(), Machine(card=5)
    models = WarmModels(machine)
    models.load(disk.load, 1)
    models.finish_job("edit")

    def full_at_first(number: int) -> nn.Linear:
        if not machine.moves:
            raise torch.OutOfMemoryError
        return disk.load(number)

    assert number(models.load(full_at_first, 2)) == 2
    assert machine.moves == [(1, False)]


def test_what_jobs_keep_is_there_once_and_the_last_four_at_most() -> None:
    models = WarmModels(Machine(card=None))
    for name in "abcde":
        models.keep(name, name.upper())
    models.load(Disk().load, 1)
    models.finish_job("edit")
    assert [models.take(name) for name in "abeeb"] == [None, "B", "E", None, None]


def test_what_jobs_keep_is_let_go_where_memory_is_short() -> None:
    disk, machine = Disk(), Machine(card=1)
    models = WarmModels(machine)
    models.keep("training", models.load(disk.load, 1))
    models.finish_job("edit")
    models.load(disk.load, 2)
    assert models.take("training") is None
    assert machine.moves == [(1, False)], "and the model that it used leaves the card"


def test_text_encoders_are_kept_too() -> None:
    models = WarmModels(MemoryBudget(CPU))
    arguments = (load_text_encoder, preset("tiny"), CPU, None)
    assert models.load(*arguments) is models.load(*arguments)
    models.finish_job("edit")


def test_ram_left_minds_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path
    monkeypatch.setattr(memory, "MEMINFO", folder / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", folder)
    (folder / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:    8388608 kB\n")
    assert MemoryBudget(CPU).ram_left() == 7 * 2**30
    for limit, left in (("max", 7.0), (str(4 * 2**30), 2.5)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{2**30}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {2**29}\n")
        assert MemoryBudget(CPU).ram_left() == left * 2**30


def test_a_model_that_stays_in_ram_is_never_moved(caplog: pytest.LogCaptureFixture) -> None:
    """With ``memory: low``, each job puts on the card what fits; others leave it meanwhile."""

    class Resting(Disk):
        def load(self, number: int) -> nn.Linear:
            model = super().load(number)
            model.rests_in_ram = number == 1
            return model

    disk, machine = Resting(), Machine(card=1)
    models = WarmModels(machine)
    with caplog.at_level(logging.WARNING):
        for wanted in (1, 2, 1, 2):
            models.load(disk.load, wanted)
            models.finish_job("edit")
    assert disk.read == [1, 2] and not caplog.text
    assert machine.moves == [(2, False), (2, True)]


def test_what_the_first_job_of_a_stage_leaves_is_not_searched_again() -> None:
    models = WarmModels(Machine(card=None))
    kept = []
    try:
        for stage, is_frozen in (("edit", True), ("edit", False), ("train_lora", True)):
            kept.append([stage])
            before = gc.get_freeze_count()
            models.finish_job(stage)
            assert (gc.get_freeze_count() > before) == is_frozen
    finally:
        gc.unfreeze()
