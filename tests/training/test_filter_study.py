"""The study of the filter: masks of its photographs, and maps that are where the things are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from editinfinity.editing import prompt_region
from training.filter_study import DAMAGES, OFF, ON, Damage, measures, soft_map, things, true_cells

ROOT = Path(__file__).parents[2]
MASKS = sorted((ROOT / "training/studies/filter_masks").glob("*.json"))


@pytest.mark.parametrize("path", MASKS, ids=lambda path: path.stem)
def test_a_map_made_from_a_drawn_mask_finds_its_thing(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["imagePath"] == f"{path.stem}.webp"
    assert content["imageData"] is None, "the photographs are not in the repository"
    drawn = dict(things(path))
    assert len(drawn) == len(content["shapes"])
    plain = np.zeros((content["imageHeight"], content["imageWidth"], 3), np.uint8)
    for name, mask in drawn.items():
        assert 0.003 < mask.mean() < 0.8, name
        truth = true_cells(mask)
        soft = soft_map(mask, Damage(6, 1.0), np.random.default_rng(0))
        assert soft.shape == truth.shape
        assert soft[truth].mean() > 2 * soft[~truth].mean()
        row = measures(soft, truth, plain)
        assert float(row["missed_off"]) < 0.2


def test_damage_moves_the_map_and_is_the_same_every_time() -> None:
    mask = np.zeros((256, 256), bool)
    mask[96:160, 96:160] = True
    for damage in DAMAGES:
        first, second = (soft_map(mask, damage, np.random.default_rng(1)) for _ in range(2))
        assert np.array_equal(first, second)
        rows, columns = np.indices(first.shape)
        middle = np.array([(first * axis).sum() / first.sum() for axis in (rows, columns)])
        if not damage.spot:
            assert np.hypot(*(middle - 31.5)) == pytest.approx(damage.moved, abs=0.2)


def test_an_edge_in_the_picture_sharpens_a_blurred_map_and_the_constants_stay() -> None:
    before = prompt_region.FILTER_RADIUS, prompt_region.FILTER_EPSILON
    mask = np.zeros((256, 256), bool)
    mask[80:180, 88:152] = True
    pixels = np.where(mask[..., None], [200, 40, 40], [40, 90, 200]).astype(np.uint8)
    soft = soft_map(mask, Damage(4, 2.0), np.random.default_rng(0))
    row = measures(soft, true_cells(mask), pixels)
    assert float(row[ON]) > 0.95 > float(row[OFF])
    assert before == (prompt_region.FILTER_RADIUS, prompt_region.FILTER_EPSILON)
