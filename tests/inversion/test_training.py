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
from editinfinity.models import bsq
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


@pytest.mark.parametrize("clip", [5.0, 0.5])
def test_gradients_are_clipped_together_and_averaged_by_the_betas(clip: float) -> None:
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    settings = TrainingSettings(grad_clip=clip, betas=(0.8, 0.9))
    state = train(
        [first, second], lambda: (30 * first + 40 * second).sum(), settings, 0.01, range(1, 2), id
    )
    for index, share in enumerate((0.6, 0.8)):  # of a gradient of norm 50
        assert state[index]["exp_avg"].item() == pytest.approx(0.2 * share * clip, rel=1e-4)
        assert state[index]["exp_avg_sq"].item() == pytest.approx(
            0.1 * (share * clip) ** 2, rel=1e-4
        )
    assert first.item() == pytest.approx(-0.01) and second.item() == pytest.approx(-0.01)
    small = train([first], lambda: 0.1 * first.sum(), settings, 0.01, range(1, 2), id)
    assert small[0]["exp_avg"].item() == pytest.approx(0.2 * 0.1, rel=1e-4)


def test_a_parameter_whose_branch_was_dropped_keeps_its_momentum() -> None:
    kept, dropped = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    losses = iter([lambda: (kept + dropped).sum(), lambda: kept.sum()])
    places: list[float] = []
    train(
        [kept, dropped], lambda: next(losses)(), TrainingSettings(), 0.1, range(1, 3),
        lambda _: places.append(dropped.item()),
    )  # fmt: skip
    assert places == [0, pytest.approx(-0.1)] and dropped.item() < -0.15


def test_one_iteration_is_queued_while_another_runs() -> None:
    weight, events = torch.nn.Parameter(torch.ones(1)), list[str]()
    train(
        [weight], lambda: weight.sum(), TrainingSettings(), 0.1, range(1, 4),
        lambda number: events.append(f"starts {number}"),
        on_iteration=lambda number, _: events.append(f"ends {number}"),
    )  # fmt: skip
    assert events == ["starts 1", "starts 2", "ends 1", "starts 3", "ends 2", "ends 3"]


class Knowing(torch.nn.Module):
    """A model that gives both values of every bit the same logit, and keeps what it was given."""

    def forward(self, inputs: torch.Tensor, text: TextFeatures, plan: object) -> torch.Tensor:
        self.inputs, self.text = inputs, text.features
        return torch.zeros(len(inputs), inputs.shape[1] + 1, 8, 2)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_divergence_has_its_weight_in_the_loss(batch: int) -> None:
    base = make_model()
    for weight in (0, 2e-7, 1e-3):
        loss = InversionLoss(Knowing(), base, make_source(), TrainingSettings(), batch, weight)
        # ln 2 for each bit; the divergence is the sum over 521 tokens of 8 bits.
        assert loss().item() == pytest.approx(0.693147 * (1 + weight * 521 * 8), rel=1e-6)
    loss = InversionLoss(Knowing(), base, make_source(), TrainingSettings(), batch)
    assert loss().item() == pytest.approx(0.693147, rel=1e-6)


@pytest.mark.parametrize("drop", [0.1, 0.3])
def test_texts_are_dropped_with_the_settings_probability(drop: float) -> None:
    model, base = Knowing(), make_model()
    settings = TrainingSettings(cond_drop=drop)
    source = make_source(torch.randn(2, 128))
    torch.manual_seed(0)
    loss = InversionLoss(model, base, source, settings, 3000)
    texts = loss._text_with_dropout().features
    none, whole = base.cfg_uncond[:6], torch.cat([source.text.features[0], source.soft_prompt])
    without = (texts == none).all((1, 2))
    assert without.float().mean().item() == pytest.approx(drop, abs=0.02)
    assert (texts[~without] == whole).all()


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_noise_has_the_settings_strength(strength: float) -> None:
    model, source = Knowing(), make_source()
    settings = TrainingSettings(noise_strength=strength)
    InversionLoss(model, make_model(), source, settings, 2)()
    clean = make_training_batch(source.features, SCHEDULE).inputs
    assert (model.inputs == clean).all().item() is (strength == 0)
    assert InversionLoss(model, make_model(), source, settings, 2).corrupt.steps == 100 * strength


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


def test_the_adapter_has_the_settings_rank_scale_and_dropout() -> None:
    settings = LoraSettings(lora_rank=3, lora_alpha=12, lora_dropout=0.25)
    for name, layer in add_lora(make_model(), settings).named_modules():
        if name.endswith(("ffn.fc1", "ffn.fc2")):
            down, up = layer.lora_A["default"], layer.lora_B["default"]
            assert down.out_features == up.in_features == 3 and layer.base_layer.bias is not None
            assert layer.scaling["default"] == 4 and layer.lora_dropout["default"].p == 0.25
            assert not up.weight.any() and down.weight.any() and down.bias is None
            values = torch.ones(1, down.in_features)
            torch.nn.init.ones_(up.weight)
            layer.eval()
            expected = layer.base_layer(values) + 4 * down(values).sum()
            assert torch.allclose(layer(values), expected, atol=1e-5)


def test_noise_flips_at_most_its_strength() -> None:
    torch.manual_seed(0)
    noise = SelfCorrectionNoise(0.3)
    rates = torch.stack(
        [noise(torch.zeros(1, 32, 32, 16, dtype=torch.bool)).float().mean() for _ in range(200)]
    )
    assert rates.max() < 0.32
    assert rates.min() < 0.02
    assert rates.mean() == pytest.approx(0.15, abs=0.02)
    weak = SelfCorrectionNoise(0.02)
    few = [weak(torch.zeros(1, 64, 64, 16, dtype=torch.bool)).float().mean() for _ in range(60)]
    assert sorted({round(rate.item(), 2) for rate in few}) == [0, 0.01, 0.02]
    assert not SelfCorrectionNoise(0.0)(torch.zeros(1, 8, 8, 4, dtype=torch.bool)).any()


def test_every_sample_draws_its_own_noise() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 8, 16, 16).expand(2, -1, -1, -1)
    training_batch = make_training_batch(features, SCHEDULE, SelfCorrectionNoise(0.3))
    assert not torch.equal(training_batch.inputs[0], training_batch.inputs[1])


def test_inputs_are_the_sums_of_the_coarser_codes_and_targets_the_bits() -> None:
    features = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    quantized = bsq.quantize(features, SCHEDULE.scales)
    batch = make_training_batch(features, SCHEDULE)
    assert batch.inputs.shape == (2, 520, 8) and batch.targets.shape == (2, 521, 8)
    ends = torch.tensor(SCHEDULE.lengths).cumsum(0).tolist()
    for scale, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        bits = quantized.bits[scale].flatten(1, 2)
        assert torch.equal(batch.targets[:, start:end], bits)
        if scale:
            h, w = SCHEDULE.scales[scale]
            running = torch.nn.functional.interpolate(
                quantized.running[scale], (h, w), mode="bilinear"
            )
            assert torch.equal(batch.inputs[:, start - 1 : end - 1], running.flatten(2).mT)


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
    # Wrong by a margin of 50 in every bit of the last scale, which weighs as much as √256 = 16.
    wrong = logits.clone()
    wrong[:, -256:] = wrong[:, -256:].flip(-1)
    loss = bit_loss(wrong.repeat(2, 1, 1, 1), targets.repeat(2, 1, 1), SCHEDULE)
    share = 16 / sum(length**0.5 for length in SCHEDULE.lengths)
    assert loss.cross_entropy.item() == pytest.approx(50 * share)
    assert loss.divergence.item() == pytest.approx(50 * 256 * 8)
    flat = bit_loss(torch.zeros_like(logits), targets, SCHEDULE)
    assert flat.cross_entropy.item() == pytest.approx(0.6931, abs=1e-4)
    assert flat.divergence.item() == pytest.approx(0.6931 * 521 * 8, rel=1e-3)
