"""The attention map of a word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editinfinity.editing import sampler
from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import ReplaySource
from editinfinity.method.attention import attention_map
from editinfinity.models.transformer import TextFeatures
from editinfinity.settings.groups import SamplingSettings
from tests.method.test_approach import MODEL, PHOTOGRAPH, SOURCE


def maps_by_scale(tokens: tuple[int, int]) -> list[np.ndarray]:
    """The word's attention of each scale alone, given the photograph's codes."""
    plan, cpu = PHOTOGRAPH.schedule, torch.device("cpu")
    collectors = [AttentionCollector(plan, tokens, [scale]) for scale in range(len(plan.scales))]
    for collector in collectors:
        sampler.sample(
            MODEL, TextFeatures.of(SOURCE.features, cpu), plan, SamplingSettings(),
            torch.Generator().manual_seed(9),
            edit=ReplaySource(sampler.codes_of(PHOTOGRAPH.bits, plan, cpu)),
            watcher=collector,
        )  # fmt: skip
    return [collector.mean.numpy() for collector in collectors]


@pytest.mark.parametrize(("scales", "first"), [("all", 0), ("fine", 3)])
def test_it_is_the_mean_over_all_scales_or_those_from_36_tokens(scales: str, first: int) -> None:
    found = attention_map(MODEL, PHOTOGRAPH, SOURCE, (2, 4), scales)
    expected = np.mean(maps_by_scale((2, 4))[first:], axis=0)
    assert found.shape == (64, 64) and np.allclose(found, expected, atol=1e-5)
    assert found.std() > 1e-4
    assert not np.allclose(found, attention_map(MODEL, PHOTOGRAPH, SOURCE, (1, 2), scales))


def test_all_scales_are_the_default() -> None:
    found = attention_map(MODEL, PHOTOGRAPH, SOURCE, (2, 4))
    assert np.array_equal(found, attention_map(MODEL, PHOTOGRAPH, SOURCE, (2, 4), "all"))
