"""A recorded iteration computes the numbers of a plain one, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editinfinity.compute import determinism
from editinfinity.inversion import recorded_iterations
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.recorded_iterations import RecordedIterations, choose_passes
from editinfinity.inversion.training import InversionLoss, Loss, Source, run_passes, train
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.operations import PLAIN, Operations
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TransformerConfig
from editinfinity.scales import PIXEL_BUDGETS, schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings

CARD = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 2


def adapted(
    width: int = 32, dropout: float = 0.3
) -> tuple[Infinity, torch.nn.Module, list[torch.nn.Parameter]]:
    """A narrow transformer, the same with an adapter that has learned, and its matrices."""
    torch.manual_seed(1)
    config = TransformerConfig(
        width=width, depth=3, heads=2, chunks=1, bits=4, text_width=24, text_length=16
    )
    base = Infinity(config).requires_grad_(False)
    model = add_lora(base, LoraSettings(lora_dropout=dropout)).to(CARD).train()
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
    loss: Callable[[torch.nn.Module], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: attempts.append(None))
    base, model, matrices = adapted()
    passes = RecordedIterations(base, BATCH)
    losses = [passes(lambda: loss(model), matrices).item() for _ in range(3)]
    assert len(set(losses)) == 3  # each with its own dropout
    assert len(attempts) == 1
    assert all(p.grad is not None for p in matrices)


def test_passes_are_plain_without_a_card_and_with_recomputed_blocks() -> None:
    cpu = adapted()[0].to("cpu")
    assert choose_passes(cpu, tokens=521, batch=1, recomputed=0) is run_passes
    base = adapted()[0].use_operations(choose_operations(CARD).result())
    assert choose_passes(base, tokens=521, batch=1, recomputed=1) is run_passes
    assert choose_passes(base, tokens=10**6, batch=2, recomputed=0) is run_passes


class Replaying:
    """Stands for a CUDA graph: runs what was recorded again, into the memory of the recording."""

    def __init__(self, base: Infinity) -> None:
        self.base, self.replays = base, 0

    @contextmanager
    def record(self, *_: object, **__: object) -> Iterator[None]:
        self.drop_path = self.base.drop_path  # with the numbers that the recording reads
        yield

    def run_passes(self, loss: Loss, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        self.loss, self.parameters = loss, parameters
        self.result = run_passes(loss, parameters)
        self.gradients = [p.grad for p in parameters]
        return self.result

    def replay(self) -> None:
        self.replays += 1
        before, self.base.drop_path = self.base.drop_path, self.drop_path
        self.result.copy_(run_passes(self.loss, self.parameters))
        for kept, parameter in zip(self.gradients, self.parameters, strict=True):
            kept.copy_(parameter.grad)
            parameter.grad = None  # a replay writes into memory, not into Python's attributes
        self.base.drop_path = before


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> Callable[[Infinity], Replaying]:
    def stand_in(base: Infinity) -> Replaying:
        graph = Replaying(base)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
        monkeypatch.setattr(torch.cuda, "graph", graph.record)
        monkeypatch.setattr(recorded_iterations, "run_passes", graph.run_passes)
        return graph

    return stand_in


@pytest.mark.skipif(CARD.type == "cuda", reason="a card records for real")
@pytest.mark.parametrize("rate", [0.0, 0.8])
def test_replays_have_the_numbers_of_plain_passes(
    loss: Callable[[torch.nn.Module], torch.Tensor],
    replaying: Callable[[Infinity], Replaying],
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
) -> None:
    base, model, matrices = adapted(dropout=0)  # torch's dropout is drawn after other numbers
    base.set_drop_path(rate)
    graph = replaying(base)
    freed: list[bool] = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: freed.append(all(p.grad is None for p in matrices))
    )
    passes = RecordedIterations(base, BATCH)
    found: list[list[list[torch.Tensor]]] = []
    for run in (run_passes, passes):
        of_run = []
        for seed in range(5):
            torch.manual_seed(seed)
            value = run(lambda: loss(model), matrices)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in matrices]
            of_run.append([value, *grads])
        found.append(of_run)
    for plain, ours in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert freed == [True]  # the gradients of the first iteration give way to the recording's
    assert graph.replays == 4  # of the second iteration, which only records, and of all after it
    assert len({values[0].item() for values in found[1]}) == (5 if rate else 1)


@pytest.mark.parametrize("rate", [0.0, 0.8])
def test_dropout_seeds_are_drawn_as_the_kernels_draw_them(
    loss: Callable[[torch.nn.Module], torch.Tensor], rate: float
) -> None:
    """A pair for each block that computes its feed-forward branch, after the kept branches."""
    given: list[torch.Tensor] = []

    class Watched(Operations):
        def with_dropout_seeds(self, seeds: torch.Tensor) -> Operations:
            given.append(seeds.cpu().clone())
            return self

    base, model, matrices = adapted()
    operations = Watched()
    base.set_drop_path(rate).use_operations(operations)
    torch.manual_seed(14)
    kept = base.drop_path(BATCH)
    computed = [True] * 3 if kept is None else [second for _, second in kept.computed]
    expected = [torch.randint(2**31, (2,)).tolist() if each else [0, 0] for each in computed]
    assert all(computed) == (rate == 0)
    torch.manual_seed(14)
    RecordedIterations(base, BATCH)(lambda: loss(model), matrices)
    assert given[0].tolist() == expected
    assert base.blocks[0].operations is operations


def test_an_error_leaves_the_model_as_it_was() -> None:
    base, _, matrices = adapted()
    drop_path, operations = base.set_drop_path(0.5).drop_path, base.blocks[0].operations

    def interrupted() -> torch.Tensor:
        assert base.drop_path is not drop_path
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RecordedIterations(base, BATCH)(interrupted, matrices)
    assert base.drop_path is drop_path and base.blocks[0].operations is operations


@pytest.mark.parametrize(
    ("device", "operations", "tokens", "batch", "recomputed", "recorded"),
    [
        ("cuda", "fused", 8192, 1, 0, True),
        ("cuda", "fused", 4096, 2, 0, True),
        ("cuda", "fused", 8193, 1, 0, False),
        ("cuda", "fused", 4097, 2, 0, False),
        ("cuda", "fused", 8192, 1, 1, False),
        ("cuda", PLAIN, 8192, 1, 0, False),
        ("cpu", "fused", 8192, 1, 0, False),
    ],
)
def test_small_iterations_on_a_card_are_recorded(
    monkeypatch: pytest.MonkeyPatch, device: str, operations: object, tokens: int, batch: int,
    recomputed: int, recorded: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(recorded_iterations, "RecordedIterations", lambda *given: given)
    model: Any = SimpleNamespace(
        device=torch.device(device),
        config=SimpleNamespace(width=2048),
        blocks=[SimpleNamespace(operations=operations)] * 2,
    )
    expected = (model, batch) if recorded else run_passes
    assert choose_passes(model, tokens, batch, recomputed) == expected


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
