"""What a training tells those that watch it, and how it leaves the model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from editinfinity.compute import reseed
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import OptimizerState
from editinfinity.files.weights import load_transformer
from editinfinity.inversion.training import Source
from editinfinity.method import invert
from editinfinity.method.invert import Trainer, TrainingCallbacks, source_of
from editinfinity.models import fp8
from editinfinity.models.fp8 import Fp8Arithmetic
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TrainingDefaults, preset
from editinfinity.scales import schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings
from tests.method.test_approach import PHOTOGRAPH, SOURCE

TINY = preset("tiny")
FAST = TrainingSettings(embedding_learning_rate=1e-2, lora_learning_rate=1e-2, batch_size=1)


class Watching(TrainingCallbacks):
    """Notes what it is told, and leaves off after some iterations."""

    def __init__(self, steps: int = 99, learned: torch.Tensor | None = None) -> None:
        self.most, self.learned = steps, learned
        self.told: list[tuple[str, int, int]] = []
        self.ended: OptimizerState | None = None

    def on_start(
        self, model: nn.Module, parameters: Sequence[nn.Parameter]
    ) -> OptimizerState | None:
        if self.learned is None:
            return None
        with torch.no_grad():
            parameters[0].copy_(self.learned)
        return OptimizerState([{}], 2, "tiny")

    def steps(self, iterations: Iterable[int]) -> Iterator[int]:
        return (number for number, _ in zip(iterations, range(self.most), strict=False))

    def on_iteration(self, name: str, iteration: int, last: int, loss: float) -> None:
        assert np.isfinite(loss)
        self.told.append((name, iteration, last))

    def on_end(self, parameters: Sequence[nn.Parameter], state: OptimizerState) -> None:
        self.ended = state


@pytest.fixture(scope="module")
def model() -> Infinity:
    return load_transformer(TINY, torch.device("cpu"))


@pytest.fixture
def source() -> Source:
    torch.manual_seed(5)
    scales = schedule(1, "0.06M")
    raw = torch.randn(1, TINY.transformer.bits, *scales.tokenizer_grid)
    return Source(raw, TextFeatures(torch.randn(1, 4, TINY.transformer.text_width)), scales)


def test_every_iteration_is_told_and_the_state_is_of_the_last(
    model: Infinity, source: Source
) -> None:
    watching = Watching()
    embedding, state = Trainer(model, TINY, FAST, watching).learn_soft_prompt(source, 3)
    assert watching.told == [("train_textembedding", number, 3) for number in (1, 2, 3)]
    assert watching.ended is state and state.iteration == embedding.iteration == 3
    assert not model.training


def test_a_training_that_is_left_off_says_where(model: Infinity, source: Source) -> None:
    watching = Watching(steps=2)
    embedding, state = Trainer(model, TINY, FAST, watching).learn_soft_prompt(source, 5)
    assert state.iteration == embedding.iteration == 2
    straight, _ = Trainer(model, TINY, FAST).learn_soft_prompt(source, 2)
    assert torch.equal(embedding.vectors, straight.vectors)


def test_a_training_goes_on_after_what_was_learned(model: Infinity, source: Source) -> None:
    before = torch.full((20, TINY.transformer.text_width), 0.5)
    watching = Watching(learned=before)
    embedding, _ = Trainer(model, TINY, FAST, watching).learn_soft_prompt(source, 3)
    assert watching.told == [("train_textembedding", 3, 3)]
    assert (embedding.vectors - before).abs().max() < 0.02  # one step from there
    with pytest.raises(UserError, match="cannot train to iteration 2 from iteration 2"):
        Trainer(model, TINY, FAST, watching).learn_soft_prompt(source, 2)


def test_without_a_number_each_training_has_the_models_own_batch(
    model: Infinity, source: Source
) -> None:
    """As the original: one sample for the soft prompt, two for LoRA; a number is for both."""
    defaults = TrainingDefaults(1e-2, 1e-2, embedding_batch_size=1, lora_batch_size=2)
    released = replace(TINY, training=defaults)
    learned = {}
    for batch in (None, 1, 2):
        trainer = Trainer(model, released, TrainingSettings(batch_size=batch))
        embedding = trainer.learn(source, 1, 0, LoraSettings())[0]
        adapter = trainer.learn(source, 0, 1, LoraSettings())[1]
        assert embedding is not None and adapter is not None
        learned[batch] = embedding.vectors, torch.cat([*map(torch.ravel, adapter.weights.values())])
    for part, own in enumerate((1, 2)):
        assert torch.equal(learned[None][part], learned[own][part])
        assert not torch.equal(learned[None][part], learned[3 - own][part])


def test_each_training_gets_its_numbers(
    model: Infinity, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings where they say something, else the model's defaults."""
    seen: list[tuple[object, ...]] = []

    def train(parameters, loss, settings, rate, iterations, seed, *rest):  # type: ignore
        drop_path = model.drop_path.rates.tolist()
        seen.append((rate, loss.batch_size, loss.kl_weight, drop_path, [*iterations], settings))
        assert loss.model.training and sum(p.numel() for p in parameters) > 0
        seed(5)
        seen.append(tuple(torch.rand(2).tolist()))
        return {}

    monkeypatch.setattr(invert, "train", train)
    defaults = TrainingDefaults(3e-3, 4e-3, embedding_batch_size=2, lora_batch_size=3)
    for numbers, rates, batches, seed in (
        ({"drop_path": 0.25}, (3e-3, 4e-3), (2, 3), 42),
        (
            {"embedding_learning_rate": 0.1, "lora_learning_rate": 0.2, "batch_size": 5,
             "train_seed": 7, "drop_path": 0.5},
            (0.1, 0.2), (5, 5), 7,
        ),
    ):  # fmt: skip
        settings = TrainingSettings(**numbers)
        trainer = Trainer(model, replace(TINY, training=defaults), settings)
        vectors, _ = trainer.learn_soft_prompt(source, 2)
        assert vectors.vectors.shape == (20, TINY.transformer.text_width)
        trainer.learn_adapter(source, 3, LoraSettings(kl_weight=1e-3))
        drops = [0, settings.drop_path]
        expected: list[tuple[object, ...]] = []
        for name, rate, batch, weight, last in zip(
            ("train_textembedding", "train_lora"), rates, batches, (0, 1e-3), (2, 3), strict=True
        ):
            reseed(seed, name, 5)
            noise = tuple(torch.rand(2).tolist())
            expected += [
                (rate, batch, weight, drops, list(range(1, last + 1)), settings), noise
            ]  # fmt: skip
        assert seen == expected
        seen.clear()


def test_memory_is_counted_for_the_tokens_of_all_samples(
    model: Infinity, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        invert.gradient_checkpointing, "prepare", lambda *args: prepared.append(args)
    )
    monkeypatch.setattr(invert, "choose_passes", lambda *args: prepared.append(args))
    monkeypatch.setattr(invert, "train", lambda *_: {})
    settings = TrainingSettings(batch_size=3)
    Trainer(model, TINY, settings, checkpointing="all").learn_soft_prompt(source, 1)
    tokens = source.schedule.tokens
    assert prepared == [(model, 3 * tokens, "all"), (model, tokens, 3, None)]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_training_is_deterministic_if_wanted(
    wanted: bool, model: Infinity, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(invert, "determinism", lambda on: seen.append(on) or nullcontext())
    monkeypatch.setattr(invert, "train", lambda *_: {})
    Trainer(model, TINY, TrainingSettings(deterministic=wanted)).learn_soft_prompt(source, 1)
    assert seen == [wanted]


def test_another_seed_starts_another_adapter(model: Infinity, source: Source) -> None:
    first, again, other = (
        Trainer(model, TINY, replace(FAST, train_seed=seed, lora_learning_rate=1e-9))
        .learn_adapter(source, 1, LoraSettings())[0].weights
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any((first[name] - other[name]).abs().max() > 1e-3 for name in first)


def test_an_adapter_that_fails_leaves_the_model_bare(model: Infinity, source: Source) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wild = TrainingSettings(embedding_learning_rate=1e30, lora_learning_rate=1e30, batch_size=1)
    with pytest.raises(UserError, match="lower the learning rate"):
        Trainer(model, TINY, wild).learn_adapter(source, 8, LoraSettings())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.training


def test_the_adapter_is_trained_over_the_vectors(model: Infinity, source: Source) -> None:
    both = Trainer(model, TINY, FAST).learn(source, 1, 1, LoraSettings())
    bare = Trainer(model, TINY, FAST).learn(source, 0, 1, LoraSettings())
    assert both[0] is not None and bare[0] is None
    assert both[1] is not None and bare[1] is not None
    assert any(not torch.equal(both[1].weights[k], bare[1].weights[k]) for k in bare[1].weights)
    assert Trainer(model, TINY, FAST).learn(source, 0, 0, LoraSettings()) == (None, None)


def test_lora_in_fp8_where_it_is_faster(
    model: Infinity,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only LoRA, only on large images, and only if all weights are on the GPU; else a line."""
    monkeypatch.setattr(invert, "choose_fp8", lambda device: Fp8Arithmetic())
    trainer, before = Trainer(model, TINY, FAST), model.blocks[0].sa.proj.weight

    def learned(precision: str) -> list[torch.Tensor]:
        caplog.clear()
        soft_prompt, adapter = trainer.learn(source, 1, 2, LoraSettings(precision=precision))
        assert soft_prompt is not None and adapter is not None
        assert model.blocks[0].sa.proj.weight is before
        return [soft_prompt.vectors, *adapter.weights.values()]

    def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> list[bool]:
        return [torch.equal(x, y) for x, y in zip(a, b, strict=True)]

    caplog.set_level(logging.INFO)
    exact = learned("auto")
    assert all(same(learned("fp8"), exact))
    assert "precision: fp8: it is not faster with 521 tokens an iteration" in caplog.text
    monkeypatch.setattr(fp8, "MIN_SIZE", source.schedule.tokens * TINY.transformer.width)
    lossy = learned("fp8")
    assert same(lossy, exact) == [True] + [False] * (len(exact) - 1)
    assert "precision" not in caplog.text
    monkeypatch.setattr(model, "is_streamed", True)
    learned("fp8")
    assert "some wait in RAM, so LoRA is trained in bf16" in caplog.text


def test_fp8_on_a_cpu_is_refused(model: Infinity, source: Source) -> None:
    with pytest.raises(UserError, match="precision: fp8 needs an NVIDIA GPU, not cpu"):
        Trainer(model, TINY, FAST).learn(source, 0, 1, LoraSettings(precision="fp8"))
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_what_is_trained_on_is_on_the_device() -> None:
    vectors = torch.randn(3, TINY.transformer.text_width)
    for learned in (None, vectors):
        ours = source_of(PHOTOGRAPH, SOURCE, torch.device("cpu"), learned)
        assert np.array_equal(ours.features[0], PHOTOGRAPH.raw)
        assert np.array_equal(ours.text.features[0], SOURCE.features)
        assert ours.schedule == PHOTOGRAPH.schedule and ours.soft_prompt is learned
        elsewhere = source_of(PHOTOGRAPH, SOURCE, torch.device("meta"), learned)
        assert elsewhere.features.is_meta and elsewhere.text.features.is_meta
        moved = elsewhere.soft_prompt
        assert moved is None if learned is None else moved is not None and moved.is_meta
