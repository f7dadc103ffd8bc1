"""A recorded iteration computes the numbers of a plain one, to the last bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from editinfinity.compute import determinism
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.recorded_iterations import RecordedIterations, choose_passes
from editinfinity.inversion.training import InversionLoss, Source, run_passes, train
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.operations import Operations
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TransformerConfig
from editinfinity.scales import PIXEL_BUDGETS, schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings

CARD = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 2


def adapted(width: int = 32) -> tuple[Infinity, torch.nn.Module, list[torch.nn.Parameter]]:
    """A narrow transformer, the same with an adapter that has learned, and its matrices."""
    torch.manual_seed(1)
    config = TransformerConfig(
        width=width, depth=3, heads=2, chunks=1, bits=4, text_width=24, text_length=16
    )
    base = Infinity(config).requires_grad_(False)
    model = add_lora(base, LoraSettings(lora_dropout=0.3)).to(CARD).train()
    matrices = [p for p in model.parameters() if p.requires_grad]
    for matrix in matrices:
        torch.nn.init.normal_(matrix, 0, 0.1)
    return base, model, matrices


@pytest.fixture
def loss(monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.nn.Module], torch.Tensor]:
    """Loss of a model at fixed inputs of two scales."""
    monkeypatch.setitem(PIXEL_BUDGETS, "two scales", 2)
    scales = schedule(1, "two scales")
    torch.manual_seed(2)
    inputs = torch.randn(BATCH, scales.tokens - 1, 4, device=CARD)
    text = TextFeatures(torch.randn(BATCH, 5, 24, device=CARD))
    return lambda model: model(inputs, text, scales).square().mean()


@pytest.mark.slow
def test_given_draws_give_the_numbers_of_drawn_ones(
    loss: Callable[[torch.nn.Module], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all samples drop a branch, which the plain passes skip."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from editinfinity.models.fused import feed_forward
    from editinfinity.models.fused.operations import FUSED, FusedOperations

    monkeypatch.setattr(feed_forward, "_PROGRAMS", 1)  # the interpreter is slow
    for name in ("add_norm", "add", "queries_keys_values", "add_prefixes"):
        monkeypatch.setattr(FusedOperations, name, getattr(Operations, name))
    base, model, matrices = adapted()
    base.set_drop_path(0.8).use_operations(FUSED)
    torch.manual_seed(14)
    drawn = base.drop_path(BATCH)
    assert drawn is not None and drawn.computed == [[True, True], [True, False], [False, True]]
    torch.manual_seed(14)
    plain = [run_passes(lambda: loss(model), matrices)]
    plain += [torch.zeros_like(p) if p.grad is None else p.grad for p in matrices]
    torch.manual_seed(14)
    given = [RecordedIterations(base, BATCH)(lambda: loss(model), matrices)]
    given += [p.grad for p in matrices if p.grad is not None]
    for a, b in zip(plain, given, strict=True):
        assert torch.equal(a, b)
    assert base.blocks[0].operations is FUSED and base.drop_path.rates.max() == pytest.approx(0.8)


@pytest.mark.skipif(CARD.type == "cuda", reason="a recording succeeds on a card")
def test_what_cannot_be_recorded_runs_all_the_same(
    loss: Callable[[torch.nn.Module], torch.Tensor],
) -> None:
    base, model, matrices = adapted()
    passes = RecordedIterations(base, BATCH)
    losses = [passes(lambda: loss(model), matrices).item() for _ in range(3)]
    assert len(set(losses)) == 3  # each with its own dropout
    assert all(p.grad is not None for p in matrices)


def test_passes_are_plain_without_a_card_and_with_recomputed_blocks() -> None:
    cpu = adapted()[0].to("cpu")
    assert choose_passes(cpu, tokens=521, batch=1, recomputed=0) is run_passes
    base = adapted()[0].use_operations(choose_operations(CARD).result())
    assert choose_passes(base, tokens=521, batch=1, recomputed=1) is run_passes
    assert choose_passes(base, tokens=10**6, batch=2, recomputed=0) is run_passes


@pytest.mark.gpu
@pytest.mark.skipif(CARD.type == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize("budget", ["0.06M", "0.25M"])
def test_recorded_trainings_learn_what_plain_ones_do(budget: str) -> None:
    scales = schedule(1.5, budget)
    torch.manual_seed(3)
    features = torch.randn(1, 4, *scales.tokenizer_grid, device=CARD)
    source = Source(features, TextFeatures(torch.randn(1, 5, 24, device=CARD)), scales)

    def learn(recorded: bool) -> tuple[list[float], list[torch.Tensor]]:
        base, model, matrices = adapted(width=256)
        base.set_block_dtype(torch.bfloat16).set_drop_path(0.5)
        for matrix in matrices:
            matrix.data = matrix.data.float()  # as PEFT keeps them beside frozen bf16 layers
        base.use_operations(choose_operations(CARD).result())
        losses: list[float] = []
        passes = choose_passes(base, scales.tokens, BATCH, 0) if recorded else run_passes
        assert isinstance(passes, RecordedIterations) == recorded
        train(
            matrices,
            InversionLoss(model, base, source, TrainingSettings(), BATCH),
            TrainingSettings(),
            1e-3,
            range(1, 9),
            torch.manual_seed,
            None,
            lambda _, value: losses.append(value),
            passes,
        )
        if isinstance(passes, RecordedIterations):
            assert passes._graph is not None
        return losses, [matrix.detach() for matrix in matrices]

    with determinism(True):
        plain, ours = learn(recorded=False), learn(recorded=True)
    assert plain[0] == ours[0]
    assert all(torch.equal(a, b) for a, b in zip(plain[1], ours[1], strict=True))
