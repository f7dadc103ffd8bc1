"""The place of an edit; tests/test_pipeline.py finds places with a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.provenance import Provenance
from editinfinity.method.place import Place
from editinfinity.scales import schedule
from editinfinity.settings.groups import MaskSettings

BLEND = np.zeros((64, 64), np.float32)
SCALES = schedule(1, "0.06M")
GEOMETRY = Geometry.within((300, 400), (0, 0, 300, 300), SCALES.image_size)
UNUSED: Any = None


@pytest.mark.parametrize(
    ("place", "source", "found_in"),
    [
        (Place(), "none", None),
        (Place(mask="words"), "words", "prompt_map"),
        (Place(mask="both"), "both", "prompt_map"),
        (Place(mask=Path("words")), "user", None),
        (Place(mask="mask.png"), "user", None),
        (Place(mask=(1, 2, 3, 4)), "user", None),
        (Place(target_word="cup"), "attention", "attention_map"),
        (Place(blend=BLEND), "blend", None),
    ],
)
def test_a_place_has_one_source(place: Place, source: str, found_in: str | None) -> None:
    assert (place.source, place.found_in) == (source, found_in)


def test_several_places_are_refused() -> None:
    for other in ({"mask": "both"}, {"blend": BLEND}):
        with pytest.raises(UserError, match="each defines the region; pass only one"):
            Place(target_word="cup", **other)  # type: ignore[arg-type]


def test_the_place_is_recorded(tmp_path: Path) -> None:
    made, file = Provenance("a cat", {}), tmp_path / "blend.npy"
    np.save(file, BLEND)
    assert Place().recorded_in(made) == made
    assert Place(mask="both").recorded_in(made) == made
    assert Place(target_word="cup").recorded_in(made).target_word == "cup"
    assert Place(mask=(1, 2, 3, 4)).recorded_in(made).box == "1,2,3,4"
    recorded = Place(blend=str(file)).recorded_in(made).mask
    assert recorded is not None and recorded.matches(file)
    assert Place(mask=tmp_path / "deleted.png").recorded_in(made) == made


def test_a_given_mask_is_enlarged_and_needs_no_model() -> None:
    photograph: Any = SimpleNamespace(geometry=GEOMETRY, schedule=SCALES)
    counts = []
    for grow in (0, 10):
        settings = MaskSettings(mask_grow=grow)
        place = Place(mask=(100, 100, 50, 20))
        region = place.region(photograph, "", "", settings, UNUSED, UNUSED)
        assert region is not None
        counts.append(int(region.edited.sum()))
    assert counts == [50 * 20, 70 * 40]
    assert Place().region(photograph, "", "", MaskSettings(), UNUSED, UNUSED) is None
    given = Place(blend=BLEND).region(photograph, "", "", MaskSettings(), UNUSED, UNUSED)
    assert given is not None and np.array_equal(given.blend_mask, BLEND)  # type: ignore[arg-type]
