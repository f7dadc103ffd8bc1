import pytest
import torch

from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.teacher_forcing import (
    SelfCorrectionNoise,
    bit_loss,
    make_training_batch,
    token_weights,
)
from editinfinity.inversion.training import (
    InversionLoss,
    Source,
    train,
)
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings

SCHEDULE = schedule(1, "0.06M")


def make_source(learned: torch.Tensor | None = None) -> Source:
    torch.manual_seed(5)
    text = TextFeatures(torch.randn(1, 4, 128))
    return Source(torch.randn(1, 8, 16, 16), text, SCHEDULE, learned)


def make_model() -> Infinity:
    torch.manual_seed(3)
    return Infinity(preset("tiny").transformer).requires_grad_(False)


def embedding_run(iterations: range, learned=None, state=None, drop=0.1):
    model = make_model()
    learned = torch.nn.Parameter(torch.zeros(20, 128) if learned is None else learned.clone())
    loss = InversionLoss(model, model, make_source(learned), TrainingSettings(), 1)
    loss.cond_drop = drop
    losses: list[float] = []
    state = train(
        [learned],
        loss,
        TrainingSettings(),
        1e-3,
        iterations,
        torch.manual_seed,
        state,
        lambda _, value: losses.append(value),
    )
    return learned.detach(), state, losses


def test_n_iterations_are_n_updates() -> None:
    seen = []
    weight = torch.nn.Parameter(torch.ones(1))
    train(
        [weight],
        lambda: weight.square().sum(),
        TrainingSettings(),
        0.1,
        range(1, 11),
        seen.append,
    )
    assert seen == list(range(1, 11))
    assert weight.item() == pytest.approx(0.0, abs=0.15)  # ten steps of 0.1 from 1


def test_weight_decay_is_the_settings() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    settings = TrainingSettings(weight_decay=0.5)
    state = train([weight], lambda: 0 * weight.sum(), settings, 0.1, range(1, 2), id)
    assert weight.item() == pytest.approx(1 - 0.1 * 0.5)
    # Another run's state brings its means along, not its rates.
    train([weight], lambda: 0 * weight.sum(), TrainingSettings(), 0.1, range(2, 3), id, state)
    assert weight.item() == pytest.approx(1 - 0.1 * 0.5)


def test_resumed_run_equals_a_straight_one() -> None:
    straight, _, losses = embedding_run(range(1, 7))
    half, state, first = embedding_run(range(1, 4))
    resumed, _, second = embedding_run(range(4, 7), half, state)
    assert torch.equal(resumed, straight)
    assert first + second == losses


def test_a_dropped_condition_moves_nothing_on_the_first_step() -> None:
    learned, _, _ = embedding_run(range(1, 2), drop=1.0)
    assert torch.count_nonzero(learned) == 0


def test_infinite_loss_is_said() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(FloatingPointError, match="iteration 1"):
        train([weight], lambda: weight.sum() / 0, TrainingSettings(), 0.1, range(1, 2), id)


def test_lora_trains_only_the_adapter_and_lowers_the_loss() -> None:
    model = make_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(0)
    adapted = add_lora(model, LoraSettings(lora_dropout=0.0))
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    assert len(parameters) == 2 * 2 * 2  # A and B of two layers in two blocks
    loss = InversionLoss(
        adapted, model, make_source(), TrainingSettings(noise_strength=0, cond_drop=0), 1, 2e-7
    )
    losses: list[float] = []
    train(
        parameters,
        loss,
        TrainingSettings(),
        1e-2,
        range(1, 16),
        torch.manual_seed,
        on_iteration=lambda _, value: losses.append(value),
    )
    assert losses[-1] < losses[0] - 0.05
    merged = adapted.merge_and_unload().state_dict()
    changed = {k for k in before if not torch.equal(before[k], merged[k])}
    assert changed == {f"blocks.{n}.ffn.fc{m}.weight" for n in (0, 1) for m in (1, 2)}


def test_noise_flips_at_most_its_strength() -> None:
    torch.manual_seed(0)
    noise = SelfCorrectionNoise(0.3)
    rates = torch.stack(
        [noise(torch.zeros(1, 32, 32, 16, dtype=torch.bool)).float().mean() for _ in range(200)]
    )
    assert rates.max() < 0.32
    assert rates.min() < 0.02
    assert rates.mean() == pytest.approx(0.15, abs=0.02)
    assert not SelfCorrectionNoise(0.0)(torch.zeros(1, 8, 8, 4, dtype=torch.bool)).any()


def test_every_sample_draws_its_own_noise() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 8, 16, 16).expand(2, -1, -1, -1)
    training_batch = make_training_batch(features, SCHEDULE, SelfCorrectionNoise(0.3))
    assert not torch.equal(training_batch.inputs[0], training_batch.inputs[1])


def test_weights_favour_no_scale_by_its_size() -> None:
    weights = token_weights(SCHEDULE)
    assert weights.sum().item() == pytest.approx(1)
    ends = torch.tensor(SCHEDULE.lengths).cumsum(0).tolist()
    assert weights[ends[5]] / weights[0] == pytest.approx(1 / 16)


def test_perfect_prediction_costs_nothing() -> None:
    targets = torch.rand(1, 521, 8) > 0.5
    logits = torch.stack([~targets, targets], dim=-1).float() * 50
    loss = bit_loss(logits, targets, SCHEDULE)
    assert loss.cross_entropy.item() == pytest.approx(0, abs=1e-6)
    flat = bit_loss(torch.zeros_like(logits), targets, SCHEDULE)
    assert flat.cross_entropy.item() == pytest.approx(0.6931, abs=1e-4)
    assert flat.divergence.item() == pytest.approx(0.6931 * 521 * 8, rel=1e-3)
