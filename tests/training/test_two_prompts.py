"""The study of edits from two prompts: its settings are compared and its edits measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editinfinity.evaluation.world.judge import Judge
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.models.text_encoder import HashedEncoder
from editinfinity.presets import preset
from training.ablation.measures import Witnesses
from training.lpips import Lpips
from training.scenes import synthetic_maker
from training.two_prompts import scenes, tuning
from training.two_prompts.drawing import Bench, Studio
from training.vocabulary import read_objects

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, lpips_weights: Path) -> Bench:
    """One edit of the tuning set, made of synthetic sprites, with the tiny model."""
    pack = tmp_path_factory.mktemp("two_prompts") / "tuning.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "TUNING", {"recolour": 1})
        scenes.make(synthetic_maker(CPU), HashedEncoder(128, 128), pack, ("tuning",))
    (scene,) = scenes.read(pack)
    assert scene.set == "tuning" and scene.facts.kind == "recolour" and scene.word
    witnesses = Witnesses(Judge(len(read_objects())).eval(), Lpips(lpips_weights))
    config = preset("tiny")
    models = load_tokenizer(config, CPU), load_transformer(config, CPU)
    return Bench(Studio(config, *models, witnesses, CPU), scene)


def test_tuning_measures_every_threshold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "THRESHOLDS", (None, 0.5))
    monkeypatch.setattr(tuning, "FINE_THRESHOLDS", (0.3, 0.7))
    rows = {(r["place"], r["filter"], r["threshold"]): r["iou"] for r in tuning.found_rows(bench)}
    places = {place for place, _, _ in rows}
    assert places == {"words", "bits", "both", "bits*sqrt(words)"}
    assert len(rows) == len(places) * 2 * 3
    for place, follow, _ in rows:
        best = rows[place, follow, "best"]
        assert 0 <= max(rows[place, follow, "otsu"], rows[place, follow, 0.5]) <= best <= 1
    assert rows["bits*sqrt(words)", 0, 0.5] != rows["both", 0, 0.5]


def test_tuning_draws_every_setting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SCALES", ((2, 5),))
    monkeypatch.setattr(tuning, "CONFIDENCES", (0.55, 1.0))
    monkeypatch.setattr(tuning, "AREDIT", (0.1,))
    monkeypatch.setattr(tuning, "GROWN", (0, 3))
    monkeypatch.setattr(tuning, "METHODS", tuning.METHODS[:1])
    rows = {(r["method"], r["place"], r["grow"]): r for r in tuning.drawn_rows_of(bench)}
    without = {"editmod 2 5 0.55", "editmod 2 5 1.0", "aredit 0.1"}
    assert {method for method, place, _ in rows if place == "none"} == without
    assert {key for key in rows if key[1] != "none"} == {("plain", "both", n) for n in (0, 3)}
    # Each setting reaches the drawing: fewer bits follow the photograph, and more of it may change.
    kept = {key: row["psnr_rendering"] for key, row in rows.items()}
    assert kept["editmod 2 5 1.0", "none", ""] > kept["editmod 2 5 0.55", "none", ""]
    assert kept["plain", "both", 0] != kept["plain", "both", 3]
