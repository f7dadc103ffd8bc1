"""EditMod against its formulas, written again in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editinfinity.editing.editmod import EditMod, preset_scales
from editinfinity.editing.sampler import SamplingSettings, draw_bits
from editinfinity.models.transformer import TextFeatures
from editinfinity.scales import schedule

CFG, TAU, CONFIDENCE = 3.0, 0.6, 0.8
TEXT = TextFeatures(torch.zeros(1, 3, 128))


def sigmoid(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def rows(seed: int, scale: float = 1.0) -> tuple[torch.Tensor, np.ndarray]:
    """Return logits of three rows and their log-odds, as NumPy sees them."""
    logits = scale * torch.randn(3, 40, 8, 2, generator=torch.Generator().manual_seed(seed))
    values = logits.double().numpy()
    return logits, values[..., 1] - values[..., 0]


def guide_of(bits: torch.Tensor, **more: float) -> EditMod:
    numbers = {"cfg": CFG, "tau": TAU, "confidence": CONFIDENCE, **more}
    return EditMod(source=TEXT, bits=[bits, bits], mixed=1, **numbers)  # type: ignore[arg-type]


def probabilities(logits: torch.Tensor, tau: float = TAU) -> np.ndarray:
    """Return the probabilities of bit 1 with which the sampler draws."""
    return sigmoid((logits[..., 1] - logits[..., 0]).double().numpy()[0] / tau)


BITS = torch.rand(1, 40, 8, generator=torch.Generator().manual_seed(9)) < 0.5


@pytest.mark.parametrize("changed", [{}, {"cfg": 1.0}, {"tau": 1.0}, {"confidence": 0.95}])
def test_the_formula(changed: dict[str, float]) -> None:
    logits, (target, none, source) = rows(0)
    drawn = probabilities(guide_of(BITS, **changed)(0, logits), changed.get("tau", TAU))
    numbers = {"cfg": CFG, "tau": TAU, "confidence": CONFIDENCE, **changed}
    own = np.where(BITS[0], numbers["confidence"], 1 - numbers["confidence"])
    q_target, q_source = (
        sigmoid((none + numbers["cfg"] * (each - none)) / numbers["tau"])
        for each in (target, source)
    )
    assert np.allclose(drawn, np.clip(own + q_target - q_source, 0, 1), atol=1e-6)
    assert 0.02 < (np.clip(own + q_target - q_source, 0, 1) == 1).mean() < 0.9


def test_from_the_last_mixed_scale_on_the_target_alone_is_drawn() -> None:
    logits, (target, none, _) = rows(1)
    guide = guide_of(BITS)
    assert [guide.texts_at(scale) for scale in range(3)] == [3, 2, 2]
    plain = probabilities(guide(1, logits[:2]))
    assert np.allclose(plain, sigmoid((none + CFG * (target - none)) / TAU), atol=1e-6)


def test_prompts_that_agree_draw_the_photographs_bits_with_the_confidence() -> None:
    target, none, _ = rows(2)[0].chunk(3)
    same = guide_of(BITS)(0, torch.cat([target, none, target]))
    settings = SamplingSettings(tau=TAU)
    noise = torch.rand(2000, 1, 40, 8, generator=torch.Generator().manual_seed(3))
    kept = torch.stack([draw_bits(same, settings, each) == BITS for each in noise])
    assert kept.float().mean().item() == pytest.approx(CONFIDENCE, abs=0.005)
    sure = draw_bits(guide_of(BITS, confidence=1.0)(0, torch.cat([target, none, target])),
                     settings, noise[0])  # fmt: skip
    assert torch.equal(sure, BITS)


def test_impossible_bits_are_never_drawn() -> None:
    """Odds of ±infinity, where the clipped probability is 0 or 1."""
    odds = torch.tensor([[50.0], [0.0], [-50.0]])[:, None, :, None].expand(3, 40, 8, 1)
    logits = torch.cat([torch.zeros_like(odds), odds], dim=-1)
    for settings in (SamplingSettings(), SamplingSettings(top_p=1.0), SamplingSettings(top_k=1)):
        guided = guide_of(BITS, cfg=1.0)(0, logits)
        assert draw_bits(guided, settings, torch.zeros(1, 40, 8)).all()


@pytest.mark.parametrize(
    ("budget", "preserve", "target"),
    [("0.06M", (3, 6), (2, 5)), ("0.25M", (3, 7), (2, 6)), ("0.60M", (3, 8), (2, 7)),
     ("1M", (3, 8), (2, 7))],
)  # fmt: skip
def test_presets_follow_the_number_of_scales(
    budget: str, preserve: tuple[int, int], target: tuple[int, int]
) -> None:
    scales = len(schedule(1, budget).scales)
    assert preset_scales("preserve", scales) == preserve
    assert preset_scales("target", scales) == target
