"""Gradient checkpointing: as many blocks as memory asks for, and the same numbers."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from editinfinity.inversion import gradient_checkpointing
from editinfinity.inversion.gradient_checkpointing import (
    GradientCheckpointing,
    ParkedInputs,
    blocks_to_checkpoint,
    bytes_stored,
    inputs_to_park,
    least_training_bytes,
    prepare,
    recomputed_training_bytes,
)
from editinfinity.models.transfers import Transfers
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import schedule

SCHEDULE = schedule(1, "0.06M")


def model() -> Infinity:
    torch.manual_seed(3)
    return Infinity(preset("tiny").transformer).requires_grad_(False).train()


def gradient(choice: str) -> torch.Tensor:
    base = model().set_drop_path(0.4)
    prepare(base, 2 * SCHEDULE.tokens, choice)
    torch.manual_seed(5)
    vectors = torch.zeros(3, 128, requires_grad=True)
    text = TextFeatures(torch.randn(2, 4, 128)).append(vectors)
    logits = base(torch.randn(2, SCHEDULE.tokens - 1, 8), text, SCHEDULE)
    return torch.autograd.grad(logits.square().mean(), vectors)[0]


def test_what_is_computed_twice_gives_the_same_gradient() -> None:
    assert torch.equal(gradient("all"), gradient("none"))
    assert gradient("none").abs().sum() > 0


def test_a_block_that_runs_twice_keeps_its_input_alone() -> None:
    """Also where gates learn, whose gradient wants the branch they belong to."""
    base, stored = model(), []
    prepare(base, SCHEDULE.tokens, "all")
    vectors = torch.zeros(3, 128, requires_grad=True)
    text = TextFeatures(torch.randn(1, 4, 128)).append(vectors)
    size = SCHEDULE.tokens * base.config.width
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: stored.append(t.data_ptr()) or t if t.numel() == size else t, lambda t: t
    ):
        base(torch.randn(1, SCHEDULE.tokens - 1, 8), text, SCHEDULE)
    assert 0 < len(set(stored)) <= len(base.blocks) + 2  # the last two are the head's


def test_blocks_that_are_chosen_run_twice() -> None:
    base, runs = model(), []
    for index, block in enumerate(base.blocks):
        block.register_forward_pre_hook(lambda *_, index=index: runs.append(index))
    base.run_block = GradientCheckpointing(base.blocks[:1])
    vectors = torch.zeros(3, 128, requires_grad=True)
    text = TextFeatures(torch.randn(1, 4, 128)).append(vectors)
    base(torch.randn(1, SCHEDULE.tokens - 1, 8), text, SCHEDULE).mean().backward()
    assert sorted(runs) == [0, 0, 1]


@pytest.mark.parametrize(("gib", "expected"), [(0, 32), (400, 0)])
def test_little_memory_recomputes_all_and_plenty_none(gib: int, expected: int) -> None:
    with torch.device("meta"):
        large = Infinity(preset("infinity_2b").transformer)
    assert blocks_to_checkpoint(large, 10521, gib * 2**30) == expected


def test_the_last_byte_decides() -> None:
    """Beyond 1 GiB in reserve, the working memory of three blocks and the inputs of all."""
    base, tokens = model(), 521
    width, depth = base.config.width, len(base.blocks)
    stored, input_bytes = 42 * tokens * width * 4, tokens * width * 4
    assert bytes_stored(base, tokens) == stored
    needed = 2**30 + 3 * stored + depth * input_bytes
    for plain in range(depth + 1):
        enough = needed + plain * (stored - input_bytes)
        assert blocks_to_checkpoint(base, tokens, enough) == depth - plain
        assert blocks_to_checkpoint(base, tokens, enough - 1) == min(depth, depth - plain + 1)
    for block in base.blocks:
        block.operations = object()  # type: ignore[assignment]  # fused kernels
    assert bytes_stored(base, tokens) == 16 * tokens * width * 4


def on_meta() -> Infinity:
    with torch.device("meta"):
        return Infinity(preset("infinity_2b").transformer)


def test_a_training_without_stored_blocks_needs_the_inputs_and_a_block_and_a_half() -> None:
    large, tokens = on_meta(), 10521
    input_bytes = tokens * 2048 * 4
    least = 2**30 + int(1.5 * bytes_stored(large, tokens))
    assert recomputed_training_bytes(large, tokens) == least + 32 * input_bytes
    assert least_training_bytes(large, tokens) == least + 3 * input_bytes


def test_the_last_byte_decides_how_many_inputs_wait_in_ram() -> None:
    """As many as are missing, and three that are on the device all the same."""
    large, tokens = on_meta(), 10521
    input_bytes, enough = tokens * 2048 * 4, recomputed_training_bytes(large, tokens)
    assert {inputs_to_park(large, tokens, share * enough // 4) for share in range(4, 40)} == {0}
    for missing in range(1, 30):
        free = enough - missing * input_bytes
        assert inputs_to_park(large, tokens, free) == missing + 3
        assert inputs_to_park(large, tokens, free + 1) == missing + 3
        assert inputs_to_park(large, tokens, free - 1) == min(32, missing + 4)
    assert inputs_to_park(large, tokens, 0) == 32


@pytest.mark.parametrize(("choice", "count"), [("all", 2), ("none", 0), ("auto", 0)])
def test_the_choice_is_followed_on_a_processor(
    choice: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    base = model()
    with caplog.at_level("INFO"):
        prepare(base, SCHEDULE.tokens, choice)
    assert not caplog.messages  # only what was decided here is told
    assert isinstance(base.run_block, GradientCheckpointing) and len(base.run_block.blocks) == count
    assert not base.run_block.parked


def test_on_a_card_the_free_memory_decides(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = model()
    # Just enough for a training that recomputes all blocks and stores their inputs.
    inputs = 2 * SCHEDULE.tokens * base.config.width * 4
    free = 2**30 + 3 * bytes_stored(base, SCHEDULE.tokens) + inputs
    cuda = {"memory_reserved": 900, "memory_allocated": 300, "mem_get_info": (free - 600, 2**40)}
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1, raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert gradient_checkpointing.free_bytes(torch.device("cuda")) == free
    monkeypatch.setattr(Infinity, "device", torch.device("cuda"))
    with caplog.at_level("INFO"):
        prepare(base, SCHEDULE.tokens, "auto")
    assert isinstance(base.run_block, GradientCheckpointing) and len(base.run_block.blocks) == 2
    assert caplog.messages == ["gradient checkpointing: 2 of 2 blocks are recomputed"]


@pytest.mark.parametrize(
    ("choice", "free", "count", "parked"),
    [
        ("none", 0, 0, []),
        ("auto", 0, 2, [0, 1]),
        ("all", 0, 2, [0, 1]),
        ("all", 2**40, 2, []),
        ("auto", 2**40, 0, []),
    ],
)
def test_the_choice_is_followed_on_a_card(
    choice: str, free: int, count: int, parked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = model()
    monkeypatch.setattr(gradient_checkpointing, "free_bytes", lambda _: free)
    monkeypatch.setattr(Infinity, "device", torch.device("cuda"))
    assert prepare(base, SCHEDULE.tokens, choice) == count
    run = base.run_block
    assert isinstance(run, GradientCheckpointing) and len(run.blocks) == count
    assert run.parked == {id(base.blocks[index]): index for index in parked}


class Logged(Transfers):
    """Copies at once, and logs when a copy starts and when something waits for it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.log: list[tuple[str, float]] = []

    def start(self, copies: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Any:
        pairs = list(copies)
        super().start(pairs)
        self.log.append(("copy", first := float(pairs[0][1][0])))
        return first

    def wait_for(self, event: Any) -> None:
        self.log.append(("wait", event))


def test_inputs_wait_in_ram_and_come_back_one_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_checkpointing, "Transfers", Logged)
    start = (torch.arange(21.0).view(3, 7) / 10).requires_grad_()
    parked = ParkedInputs(4, start)
    inputs: list[torch.Tensor] = []
    x = start
    for index in range(4):
        inputs.append(x)
        with parked.parking(index, x):
            x = (x + 1).square()
    # What is saved is x + 1, of the same shape, and not x.
    values = [float((each.detach() + 1)[0, 0]) for each in inputs]
    for pieces, each in zip(parked._in_ram, inputs, strict=True):
        assert [len(piece) for piece in pieces.pieces] == [16, 4, 1]
        assert torch.equal(torch.cat(pieces.pieces), (each + 1).flatten())
    x.sum().backward()
    a, b, c, d = values
    leaving, returning = parked.leaving, parked.returning
    assert isinstance(leaving, Logged) and isinstance(returning, Logged)
    # Each is gone before the next one leaves, and the last one before the first comes back.
    assert leaving.log == [
        ("copy", a), ("wait", a), ("copy", b), ("wait", b), ("copy", c), ("wait", c),
        ("copy", d), ("wait", d),
    ]  # fmt: skip
    assert returning.log == [
        ("copy", d), ("wait", d), ("copy", c), ("wait", c), ("copy", b), ("wait", b),
        ("copy", a), ("wait", a),
    ]  # fmt: skip
    assert not parked._arriving
    expected = start.detach().requires_grad_()
    y = expected
    for _ in range(4):
        y = (y + 1).square()
    y.sum().backward()
    assert torch.equal(start.grad, expected.grad)  # type: ignore[arg-type]


def test_only_what_has_the_shape_and_type_of_an_input_waits_in_ram() -> None:
    torch.manual_seed(0)
    weight, small, wide = torch.randn(3, 7), torch.randn(7), torch.randn(3, 7).double()

    def run(x: torch.Tensor) -> torch.Tensor:
        return ((x * small).double() * wide).sum() + (x @ weight.T).square().sum()

    gradients = []
    for parked in (None, ParkedInputs(1, weight)):
        x = weight.clone().requires_grad_()
        with nullcontext() if parked is None else parked.parking(0, x):
            value = run(x)
        value.backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("parked", [0, 1])
def test_parked_blocks_give_the_same_gradient(parked: int) -> None:
    base = model()
    gradients = []
    for blocks in ((), base.blocks[parked:]):
        base.run_block = GradientCheckpointing(base.blocks, blocks)
        torch.manual_seed(5)
        vectors = torch.zeros(3, 128, requires_grad=True)
        text = TextFeatures(torch.randn(1, 4, 128)).append(vectors)
        with torch.no_grad():  # nothing waits for a backward pass
            base(torch.randn(1, SCHEDULE.tokens - 1, 8), text, SCHEDULE)
        assert base.run_block._inputs is None
        for _ in range(2):
            logits = base(torch.randn(1, SCHEDULE.tokens - 1, 8), text, SCHEDULE)
            logits.square().mean().backward()
        gradients.append(vectors.grad)
        assert (base.run_block._inputs is not None) == bool(blocks)
    assert torch.equal(*gradients) and gradients[0].any()  # type: ignore[union-attr]


def test_more_memory_never_recomputes_more() -> None:
    with torch.device("meta"):
        large = Infinity(preset("infinity_2b").transformer)
    counts = [blocks_to_checkpoint(large, 10521, gib * 2**30) for gib in range(400)]
    assert counts == sorted(counts, reverse=True)
    assert set(counts) > {0, 32}
    # Whatever is left fits: what plain blocks keep, and the inputs of the others.
    input_bytes = 10521 * 2048 * 4
    for gib, count in enumerate(counts):
        if count < 32:
            used = (32 - count) * bytes_stored(large, 10521) + count * input_bytes
            assert used < gib * 2**30
