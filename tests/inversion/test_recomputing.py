"""Gradient checkpointing: as many blocks as memory asks for, and the same numbers."""

import pytest
import torch

from editinfinity.inversion import gradient_checkpointing
from editinfinity.inversion.gradient_checkpointing import (
    GradientCheckpointing,
    blocks_to_checkpoint,
    bytes_stored,
    prepare,
)
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


@pytest.mark.parametrize(("choice", "count"), [("all", 2), ("none", 0), ("auto", 0)])
def test_the_choice_is_followed_on_a_processor(choice: str, count: int) -> None:
    base = model()
    prepare(base, SCHEDULE.tokens, choice)
    assert isinstance(base.run_block, GradientCheckpointing) and len(base.run_block.blocks) == count


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
