"""Stages jsonl, image_features and text_features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures, PromptFeatures, pack_bits, unpack_bits
from editinfinity.models.bsq import quantize
from editinfinity.prompts import CAPTION_SUFFIX, find_word, tokens_of
from editinfinity.scales import schedule
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.image_features import extract_image_features
from editinfinity.stages.jsonl import read_jsonl, write_jsonl
from editinfinity.stages.text_features import extract_text_features

from .conftest import PROMPT, TINY, Worked, draw_photograph


def test_jsonl_holds_image_and_source_prompt_alone(worked: Worked, tmp_path: Path) -> None:
    table = tmp_path / "splits" / "train.jsonl"
    write_jsonl(image=worked.photograph, source_prompt=f" {PROMPT}\n", output=table)
    lines = table.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == {
        "image_path": worked.photograph.as_posix(),
        "source_prompt": PROMPT,
    }
    assert read_jsonl(table) == (worked.photograph, PROMPT)
    with pytest.raises(UserError, match="there is no such file"):
        write_jsonl(image=tmp_path / "none.jpg", source_prompt="", output=table)
    table.write_text("[]")
    with pytest.raises(UserError, match="is not a training table"):
        read_jsonl(table)


def test_image_features_hold_the_bits_of_their_own_raw_features(worked: Worked) -> None:
    features = ImageFeatures.load(worked.image)
    assert features.schedule == schedule(0.8, "0.06M")  # 320×256 is wide: h/w = 0.8
    assert features.geometry.image_size == (256, 320)
    assert features.pixels.shape == (*features.schedule.image_size, 3)
    bits = quantize(torch.from_numpy(features.raw)[None], features.schedule.tokenizer_scales).bits
    assert [b.shape[:2] for b in features.bits] == list(features.schedule.tokenizer_scales)
    for saved, again in zip(features.bits, bits, strict=True):
        assert np.array_equal(saved, again[0].numpy())
    assert 0.1 < np.concatenate([b.reshape(-1) for b in features.bits]).mean() < 0.9
    packed = load_file(worked.image)["bits"]
    assert packed.dtype == np.uint8
    assert packed.size == -(-features.schedule.tokens * 8 // 8)  # tiny has 8 bits a token


def test_image_features_are_deterministic_and_follow_the_budget(
    worked: Worked, tmp_path: Path
) -> None:
    extract_image_features(image=worked.photograph, output=tmp_path / "again", model=TINY)
    assert (tmp_path / "again").read_bytes() == worked.image.read_bytes()
    extract_image_features(
        image=draw_photograph(tmp_path / "tall.png", (60, 110)),
        output=tmp_path / "large",
        model=TINY,
        pixel_budget="0.25M",
    )
    plan = ImageFeatures.load(tmp_path / "large").schedule
    assert (plan.ratio, plan.pixel_budget) == (1.75, "0.25M")


def test_bits_survive_packing_when_they_do_not_fill_bytes() -> None:
    grids = [(1, 1), (2, 3), (5, 7)]
    bits = [np.random.default_rng(0).random((*grid, 3)) < 0.5 for grid in grids]
    packed = pack_bits(bits)
    assert packed.size == -(-(1 + 6 + 35) * 3 // 8)
    for first, second in zip(bits, unpack_bits(packed, grids, 3), strict=True):
        assert np.array_equal(first, second)
    with pytest.raises(ValueError, match="cannot hold"):
        unpack_bits(packed[:-1], grids, 3)


def test_plain_text_features_end_with_the_prompt(worked: Worked, tmp_path: Path) -> None:
    extract_text_features(prompt=PROMPT, output=tmp_path / "t", model=TINY, suffix="")
    plain, whole = PromptFeatures.load(tmp_path / "t"), PromptFeatures.load(worked.text)
    assert plain.prompt == whole.prompt == PROMPT
    assert plain.offsets[-1][1] == len(PROMPT) < whole.offsets[-1][1]


def test_text_features_know_prompt_and_the_place_of_words(worked: Worked) -> None:
    features = PromptFeatures.load(worked.text)
    caption = PROMPT + CAPTION_SUFFIX
    assert features.prompt == PROMPT
    assert features.features.shape == (len(features.offsets), 128)
    start, end = tokens_of(find_word(PROMPT, "wooden table"), features.offsets)
    assert caption[features.offsets[start][0] : features.offsets[end - 1][1]] == "wooden table"
    suffix = caption[features.offsets[-1][0] : features.offsets[-1][1]]
    assert suffix == "is"


def test_empty_source_prompt_leaves_the_suffix(tmp_path: Path) -> None:
    extract_text_features(prompt="", output=tmp_path / "t", model=TINY)
    assert len(PromptFeatures.load(tmp_path / "t").offsets) > 5


def test_a_prompt_longer_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^p.txt: has .* tokens, but the model accepts 128"):
        extract_text_features(
            prompt="cup " * 200, output=tmp_path / "t", model=TINY, origin="p.txt"
        )


def test_unknown_model_device_and_budget_are_one_line(worked: Worked, tmp_path: Path) -> None:
    for model, fault in (
        (ModelSettings(model="tiny", device="cuda:77"), "device: cuda:77 does not exist"),
        (ModelSettings(model="infinity_2b", device="cpu"), "set model_dir"),
    ):
        with pytest.raises(UserError, match=fault):
            extract_image_features(image=worked.photograph, output=tmp_path / "x", model=model)
    for key, value in (("model", "huge"), ("device", "tpu"), ("threads", 0)):
        with pytest.raises(UserError, match=f"^{key}: must be .*; write e.g. {key}: "):
            ModelSettings(**{key: value})
    assert not (tmp_path / "x").exists()
