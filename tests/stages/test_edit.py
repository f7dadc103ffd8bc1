"""Stages edit and finish."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures
from editinfinity.files.images import from_model
from editinfinity.files.maps import KERNEL, save_map
from editinfinity.files.weights import load_tokenizer
from editinfinity.files.writing import read_settings
from editinfinity.method import memory
from editinfinity.models import bsq
from editinfinity.models.placement import place
from editinfinity.models.transformer import Infinity
from editinfinity.presets import preset
from editinfinity.settings.groups import GuidanceSettings, SamplingSettings
from editinfinity.stages import loading
from editinfinity.stages.edit import edit
from editinfinity.stages.finish import finish
from editinfinity.stages.train_lora import train_lora

from .conftest import FAST, TINY, Worked, draw_photograph


def draw(case: Worked, folder: Path, name: str, **more: object) -> np.ndarray:
    edit(
        image_features=case.image,
        text_features=case.edit_text,
        output=folder / f"{name}.png",
        settings=folder / f"{name}.json",
        model=TINY,
        **more,  # type: ignore[arg-type]
    )
    return np.asarray(Image.open(folder / f"{name}.png"))


def decoded_source(case: Worked) -> np.ndarray:
    features = ImageFeatures.load(case.image)
    bits = [torch.from_numpy(scale_bits)[None] for scale_bits in features.bits]
    tokenizer = load_tokenizer(preset("tiny"), torch.device("cpu"))
    code = torch.stack(bsq.upsampled_codes(bits, features.schedule.tokenizer_grid)).sum(0)
    with torch.no_grad():
        return np.asarray(from_model(tokenizer.decode(code)[0].numpy()))


def test_edit_is_at_the_models_size_and_tells_how_it_was_made(
    worked: Worked, tmp_path: Path
) -> None:
    pixels = draw(
        worked,
        tmp_path,
        "all",
        embedding=worked.embedding,
        lora_dir=worked.lora,
        kernel=worked.kernel,
        sampling=SamplingSettings(seed=5, cfg=3),
    )
    assert pixels.shape == (256, 320, 3)
    told = json.loads((tmp_path / "all.json").read_text())
    assert told["prompt"] == "a blue cup"
    assert (told["embedding_iterations"], told["lora_iterations"]) == (3, 4)
    assert told["kernel"] == {
        "mask_edit_region": "black",
        "mask_source": "user",
        "smoothing": "linear",
    }
    assert told["sampling"] == {"seed": 5, "cfg": 3, "tau": 0.5, "top_k": 900, "top_p": 0.97}
    assert json.loads(read_settings(tmp_path / "all.png") or "") == told


def test_edits_are_deterministic_and_the_seed_decides(worked: Worked, tmp_path: Path) -> None:
    draw(worked, tmp_path, "a", kernel=worked.kernel)
    draw(worked, tmp_path, "b", kernel=worked.kernel)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    other = draw(worked, tmp_path, "c", kernel=worked.kernel, sampling=SamplingSettings(seed=1))
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), other)


def test_each_learnt_part_changes_the_picture(worked: Worked, tmp_path: Path) -> None:
    plain = draw(worked, tmp_path, "plain")
    for name, more in (
        ("embedding", {"embedding": worked.embedding}),
        ("lora", {"lora_dir": worked.lora}),
        ("kernel", {"kernel": worked.kernel}),
        ("cfg", {"sampling": SamplingSettings(cfg=1)}),
    ):
        assert not np.array_equal(draw(worked, tmp_path, name, **more), plain), name


@pytest.mark.parametrize("guidance", ["editmod", "aredit", "bitresedit"])
def test_methods_of_two_prompts_tell_their_numbers(
    worked: Worked, tmp_path: Path, guidance: str
) -> None:
    settings = GuidanceSettings(guidance, editmod_copy=1, aredit_threshold=0.1)
    source = {"source_text": worked.text, "guidance": settings}
    drawn = draw(worked, tmp_path, "drawn", kernel=worked.kernel, **source)
    told = json.loads((tmp_path / "drawn.json").read_text())
    assert told["guidance"] == guidance
    own = {key: value for key, value in told.items() if key.startswith(("editmod", "aredit"))}
    assert own == {
        "editmod": {"editmod_preset": "target", "editmod_copy": 1, "editmod_mix": None,
                    "editmod_confidence": 0.95},
        "aredit": {"aredit_threshold": 0.1},
        "bitresedit": {},
    }[guidance]  # fmt: skip
    plain = draw(worked, tmp_path, "plain", kernel=worked.kernel)
    assert not np.array_equal(drawn, plain)
    learned = {"embedding": worked.embedding, "lora_dir": worked.lora}
    over = draw(worked, tmp_path, "over", kernel=worked.kernel, **source, **learned)
    assert not np.array_equal(over, drawn)


def test_a_source_prompt_alone_is_a_negative_prompt(worked: Worked, tmp_path: Path) -> None:
    draw(worked, tmp_path, "a", source_text=worked.text)
    draw(worked, tmp_path, "b", source_text=worked.text,
         guidance=GuidanceSettings("source_negative"))  # fmt: skip
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["guidance"] == "source_negative"


def test_a_kernel_of_ones_gives_the_decoded_source(worked: Worked, tmp_path: Path) -> None:
    save_map(tmp_path / "ones", KERNEL, np.ones((56, 70), np.float32), {"smoothing": "linear"})
    kept = draw(worked, tmp_path, "kept", kernel=tmp_path / "ones")
    assert np.abs(kept.astype(int) - decoded_source(worked)).max() <= 1
    free = draw(worked, tmp_path, "free")
    assert np.abs(free.astype(int) - decoded_source(worked)).mean() > 5


def test_far_from_the_mask_the_source_stays(worked: Worked, tmp_path: Path) -> None:
    edited = draw(worked, tmp_path, "e", kernel=worked.kernel)
    difference = np.abs(edited.astype(int) - decoded_source(worked)).mean(-1)
    inside, far = difference[80:160, 100:180].mean(), difference[:, 280:].mean()
    assert inside > 3 * far


def test_a_kernel_of_another_shape_is_refused(worked: Worked, tmp_path: Path) -> None:
    save_map(tmp_path / "square", KERNEL, np.ones((64, 64), np.float32), {})
    with pytest.raises(UserError, match=r"has a grid of \(64, 64\), but the photograph's is \(56"):
        draw(worked, tmp_path, "e", kernel=tmp_path / "square")
    with pytest.raises(UserError, match="train the adapter first"):
        draw(worked, tmp_path, "e", lora_dir=tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_text("")
    with pytest.raises(UserError, match="adapter_model.safetensors: is damaged"):
        draw(worked, tmp_path, "e", lora_dir=tmp_path)


def test_finish_gives_the_photographs_size_and_keeps_the_settings(
    worked: Worked, tmp_path: Path
) -> None:
    draw(worked, tmp_path, "e", kernel=worked.kernel)
    large = draw_photograph(tmp_path / "large.jpg", (1003, 801))
    given = {"edited": tmp_path / "e.png", "background": "exact"}
    finish(**given, image=large, output=tmp_path / "done.png")
    assert Image.open(tmp_path / "done.png").size == (1003, 801)
    made = {**json.loads(read_settings(tmp_path / "e.png") or ""), "background": "exact"}
    assert json.loads(read_settings(tmp_path / "done.png") or "") == made
    square = draw_photograph(tmp_path / "square.jpg", (300, 300))
    with pytest.raises(UserError, match="do not fit the shape of"):
        finish(**given, image=square, output=tmp_path / "no.png")


def test_a_transformer_that_waits_in_ram_draws_and_learns_the_same(
    worked: Worked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``memory: low`` on a GPU, where one of the two blocks does not fit."""
    learned: dict[str, Any] = {"embedding": worked.embedding, "lora_dir": worked.lora}
    draw(worked, tmp_path, "plain", kernel=worked.kernel, **learned)
    placed = []

    def on_device(model: Infinity, device: torch.device, work: int) -> Infinity:
        assert model.rests_in_ram
        placed.append(place(copy.deepcopy(model), device, streamed=1))
        return placed[-1]

    monkeypatch.setattr(loading, "stays_in_ram", lambda *_: True)
    monkeypatch.setattr(memory, "on_device", on_device)
    draw(worked, tmp_path, "low", kernel=worked.kernel, **learned)
    train_lora(
        image_features=worked.image, text_features=worked.text, embedding=worked.embedding,
        output_dir=tmp_path / "lora", iterations=4, model=TINY, training=FAST,
    )  # fmt: skip
    assert [model.is_streamed for model in placed] == [True, True]
    for name in ("plain.png", "plain.json"):
        other = name.replace("plain", "low")
        assert (tmp_path / name).read_bytes() == (tmp_path / other).read_bytes()
    files = [folder / "adapter_model.safetensors" for folder in (worked.lora, tmp_path / "lora")]
    assert files[0].read_bytes() == files[1].read_bytes()
