"""The pipeline in Python gives what the workflow's stages give, and leaves the model as it was."""

from __future__ import annotations

import doctest
import json
import math
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from editinfinity import EditInfinityPipeline, Inversion, pipeline
from editinfinity.editing.blend_mask import make_blend_mask
from editinfinity.environment import Environment, package_versions
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter
from editinfinity.files.provenance import Fingerprint, Provenance
from editinfinity.files.writing import read_settings
from editinfinity.models.transformer import TextFeatures
from editinfinity.presets import PRESETS, preset
from editinfinity.progress import Progress
from editinfinity.settings.groups import ModelSettings, TrainingSettings
from editinfinity.stages.kernel import make_kernel
from editinfinity.stages.mask_pictures import draw_mask_pictures
from editinfinity.stages.prompt_map import find_place
from editinfinity.stages.text_features import extract_text_features
from tests.stages.conftest import draw_photograph

TINY = ModelSettings(model="tiny", device="cpu", threads=1)
FAST = TrainingSettings(embedding_learning_rate=1e-2, lora_learning_rate=1e-2, batch_size=1)
PROMPT = "a red cup on a wooden table"


@pytest.fixture(scope="module")
def pipe() -> EditInfinityPipeline:
    return EditInfinityPipeline.from_pretrained("tiny", device="cpu", threads=1)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photograph(tmp_path_factory.mktemp("photo") / "a.png")


@pytest.fixture(scope="module")
def inversion(pipe: EditInfinityPipeline, photo: Path) -> Inversion:
    return pipe.invert(photo, PROMPT, embedding_iterations=2, lora_iterations=2, training=FAST)


SUFFIX = ", the language style of this prompt is"


def test_only_a_prompt_with_a_soft_prompt_has_the_suffix(
    pipe: EditInfinityPipeline, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts that the original code encodes: training, attention and editing, with and without
    an embedding."""
    encoded: list[str] = []
    encode = pipe.text_encoder.encode

    def record(text: str) -> TextFeatures:
        encoded.append(text)
        return encode(text)

    monkeypatch.setattr(pipe.text_encoder, "encode", record)

    def texts(work: Callable[[], object]) -> list[str]:
        encoded.clear()
        work()
        return list(encoded)

    def invert(embedding: int, lora: int) -> Inversion:
        return pipe.invert(
            photo, PROMPT, embedding_iterations=embedding, lora_iterations=lora, training=FAST
        )

    both, only_lora = invert(1, 1), invert(0, 1)
    assert texts(lambda: invert(1, 1)) == [PROMPT + SUFFIX]
    assert texts(lambda: invert(1, 0)) == [PROMPT + SUFFIX]
    assert texts(lambda: invert(0, 1)) == [PROMPT]
    assert texts(lambda: invert(0, 0)) == [PROMPT]

    edit, wanted = partial(pipe.edit, prompt="a blue cup", seed=1), "a blue cup"
    assert texts(lambda: edit(both)) == [wanted + SUFFIX]
    assert texts(lambda: edit(both, use_embedding=False)) == [wanted]
    assert texts(lambda: edit(only_lora)) == [wanted]
    assert texts(lambda: edit(both, target_word="cup")) == [PROMPT, wanted + SUFFIX]
    negative = partial(edit, guidance="source_negative")
    assert texts(lambda: negative(both)) == [PROMPT + SUFFIX, wanted + SUFFIX]
    assert texts(lambda: negative(only_lora)) == [PROMPT, wanted]


@pytest.mark.parametrize("source", ["words", "bits", "both"])
def test_a_found_place_is_that_of_the_stages(
    pipe: EditInfinityPipeline, inversion: Inversion, tmp_path: Path, source: str
) -> None:
    """The mask picture too; the adapter and the soft prompt do not take part."""
    inversion.features.save(tmp_path / "image")
    for name, prompt in (("source", PROMPT), ("target", "a blue cup on a wooden table")):
        extract_text_features(prompt=prompt, output=tmp_path / name, model=TINY, suffix="")
    find_place(
        image_features=tmp_path / "image", source_features=tmp_path / "source",
        target_features=tmp_path / "target", output=tmp_path / "maps", model=TINY,
    )  # fmt: skip
    where = {"image_features": tmp_path / "image", "prompt_map": tmp_path / "maps",
             "find_mask": source, "prompt_map_grow": 1}  # fmt: skip
    make_kernel(output=tmp_path / "kernel", smoothing="hard", **where)
    draw_mask_pictures(mask_image=tmp_path / "m.png", heatmap=tmp_path / "h.png", **where)
    edit = partial(pipe.edit, inversion, "a blue cup on a wooden table", seed=3)
    blend = load_file(tmp_path / "kernel")["kernel"].numpy()
    found = edit(mask=source, smoothing="hard", prompt_map_grow=1)
    assert 0 < blend.mean() < 1
    assert np.array_equal(np.asarray(found), np.asarray(edit(blend=blend)))
    mask = pipe.find_mask(inversion, "a blue cup on a wooden table", source, prompt_map_grow=1)
    assert np.array_equal(np.asarray(mask), np.asarray(Image.open(tmp_path / "m.png")))


def test_each_prompt_of_a_list_has_a_place_of_its_own(
    pipe: EditInfinityPipeline, inversion: Inversion, tmp_path: Path
) -> None:
    prompts = ["a blue cup on a wooden table", "a red cup on green grass"]
    together = pipe.edit(inversion, prompts, mask="both", seed=3)
    for prompt, picture in zip(prompts, together, strict=True):
        alone = pipe.edit(inversion, prompt, mask="both", seed=3)
        assert np.array_equal(np.asarray(picture), np.asarray(alone))
    (tmp_path / "both").write_bytes(b"")  # a file of that name is given as a path
    with pytest.raises(UserError, match="both: "):
        pipe.edit(inversion, prompts[0], mask=tmp_path / "both")


def test_fine_scales_of_attention_are_an_option(
    pipe: EditInfinityPipeline, inversion: Inversion
) -> None:
    edit = partial(pipe.edit, inversion, "a blue cup", target_word="cup", seed=3)
    assert np.array_equal(np.asarray(edit()), np.asarray(edit(attention_scales="all")))
    assert not np.array_equal(np.asarray(edit()), np.asarray(edit(attention_scales="fine")))


BOX = (100, 80, 80, 80)


def test_a_guidance_brings_its_published_numbers(
    pipe: EditInfinityPipeline, inversion: Inversion
) -> None:
    edit = partial(pipe.edit, inversion, "a blue cup", mask=BOX)
    published = {
        "aredit": {"cfg": 3, "tau": 1},
        "bitresedit": {"cfg": 4.0392, "tau": 1, "smoothing": "bitresedit"},
        "editmod": {"cfg": 4, "tau": 0.5, "editmod_copy": 2, "editmod_mix": 5},
    }
    for guidance, numbers in published.items():
        drawn = np.asarray(edit(guidance=guidance))
        assert (drawn == np.asarray(edit(guidance=guidance, **numbers))).all()
        assert (drawn != np.asarray(edit())).any()
        for key, value in numbers.items():
            other = {key: "hard" if key == "smoothing" else value + 1}
            assert (drawn != np.asarray(edit(guidance=guidance, **other))).any(), (guidance, key)


def test_a_method_that_compares_prompts_needs_both(pipe: EditInfinityPipeline, photo: Path) -> None:
    bare = pipe.invert(photo, embedding_iterations=0, lora_iterations=0)
    with pytest.raises(UserError, match="source prompt: is empty, but editmod compares it"):
        pipe.edit(bare, "a blue cup", guidance="editmod")


def test_a_mask_too_small_to_change_anything_is_told_of(
    pipe: EditInfinityPipeline, inversion: Inversion, photo: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "dot.txt").write_text("100,80,1,1")
    picture = pipe.edit(inversion, "a blue cup", mask=tmp_path / "dot.txt")
    assert (np.asarray(picture) == np.asarray(Image.open(photo))).all()
    pipe.edit(inversion, "a blue cup", mask=np.zeros((256, 320), bool))
    assert "dot.txt: marks too little for a visible edit" in caplog.messages[0]
    assert caplog.messages[1].startswith("mask: marks nothing as edited")
    pipe.edit(inversion, "a blue cup", mask=BOX)
    assert len(caplog.messages) == 2


@pytest.mark.slow
def test_loading_is_told_before_each_part() -> None:
    parts: list[str] = []
    EditInfinityPipeline.from_pretrained("tiny", device="cpu", on_loading=parts.append)
    assert parts == ["transformer", "tokenizer", "text encoder"]


def test_the_docs_examples_run() -> None:
    assert doctest.testmod(pipeline).failed == 0 and doctest.testmod(pipeline).attempted > 5


def test_an_edit_with_heads_of_96_channels(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the 125M has them, at a tiny depth: learned, located by a word, drawn."""
    tiny = preset("tiny")
    wide = replace(tiny, transformer=replace(tiny.transformer, width=192))
    monkeypatch.setitem(PRESETS, "tiny", wide)
    pipe = EditInfinityPipeline.from_pretrained("tiny", device="cpu", threads=1)
    assert pipe.transformer.config.width // pipe.transformer.config.heads == 96
    inversion = pipe.invert(photo, PROMPT, embedding_iterations=1, lora_iterations=1, training=FAST)
    edited = pipe.edit(inversion, "a blue cup", target_word="cup")
    drawn, kept = np.asarray(edited), np.asarray(Image.open(photo))
    assert drawn.shape == kept.shape and (drawn != kept).any() and (drawn == kept).any()


def test_equals_the_stages(
    pipe: EditInfinityPipeline, photo: Path, inversion: Inversion, tmp_path: Path
) -> None:
    from editinfinity.stages.edit import edit
    from editinfinity.stages.finish import finish
    from editinfinity.stages.image_features import extract_image_features
    from editinfinity.stages.kernel import make_kernel
    from editinfinity.stages.rendering import render_photograph
    from editinfinity.stages.text_features import extract_text_features
    from editinfinity.stages.train_lora import train_lora
    from editinfinity.stages.train_textembedding import train_textembedding

    image, text, other = (tmp_path / name for name in ("image.st", "text.st", "edit.st"))
    extract_image_features(image=photo, output=image, model=TINY)
    extract_text_features(prompt=PROMPT, output=text, model=TINY)
    extract_text_features(prompt="a blue cup", output=other, model=TINY)
    given = {"image_features": image, "text_features": text, "model": TINY, "training": FAST}
    train_textembedding(**given, output=tmp_path / "e.st", state=tmp_path / "s.st", iterations=2)
    train_lora(**given, embedding=tmp_path / "e.st", output_dir=tmp_path / "lora", iterations=2)
    (tmp_path / "mask.txt").write_text("100,80,80,80")
    make_kernel(image_features=image, mask=tmp_path / "mask.txt", output=tmp_path / "k.st")
    edit(
        image_features=image, text_features=other, embedding=tmp_path / "e.st",
        lora_dir=tmp_path / "lora", kernel=tmp_path / "k.st", output=tmp_path / "edited.png",
        settings=tmp_path / "edited.json", model=TINY,
    )  # fmt: skip
    finish(edited=tmp_path / "edited.png", image=photo, kernel=tmp_path / "k.st",
           background="exact", output=tmp_path / "done.png")  # fmt: skip
    picture = pipe.edit(inversion, "a blue cup", mask=BOX, background="exact")
    assert (np.asarray(picture) == np.asarray(Image.open(tmp_path / "done.png"))).all()
    render_photograph(image_features=image, output=tmp_path / "rendering.png", model=TINY)
    for kernel, where in ((tmp_path / "k.st", {"mask": BOX}), (None, {"use_lora": False})):
        if kernel is None:
            edit(
                image_features=image, text_features=other, embedding=tmp_path / "e.st",
                output=tmp_path / "edited.png", settings=tmp_path / "edited.json", model=TINY,
            )  # fmt: skip
        finish(edited=tmp_path / "edited.png", image=photo, kernel=kernel,
               rendering=tmp_path / "rendering.png", output=tmp_path / "detail.png")  # fmt: skip
        picture = np.asarray(pipe.edit(inversion, "a blue cup", **where))
        assert (picture == np.asarray(Image.open(tmp_path / "detail.png"))).all()


def test_an_inversion_survives_the_disk_and_its_adapter_loads_in_peft(
    pipe: EditInfinityPipeline, inversion: Inversion, tmp_path: Path
) -> None:
    from peft import PeftModel

    inversion.save(tmp_path / "saved")
    again = Inversion.load(tmp_path / "saved")
    first, second = (pipe.edit(i, "a cat", mask=BOX, seed=3) for i in (inversion, again))
    assert (np.asarray(first) == np.asarray(second)).all()
    other = EditInfinityPipeline.from_pretrained("tiny", device="cpu", threads=1)
    adapted = PeftModel.from_pretrained(other.transformer, str(tmp_path / "saved" / "lora"))
    names = [name for name, _ in adapted.named_parameters() if "lora_B" in name]
    assert len(names) == 2 * len(pipe.transformer.blocks)


def test_a_picture_says_what_made_it(
    pipe: EditInfinityPipeline, inversion: Inversion, photo: Path, tmp_path: Path
) -> None:
    def told(picture: Image.Image) -> Provenance:
        picture.save(tmp_path / "a.png")
        read = Provenance.from_json(read_settings(tmp_path / "a.png"))
        assert read is not None and read[1] == []
        return read[0]

    box = tmp_path / "box.txt"
    box.write_text("100,80,80,80")
    first = told(pipe.edit(inversion, "a cat", mask=BOX, seed=3))
    assert first == told(pipe.edit(inversion, "a cat", mask=box, seed=3))
    assert (first.prompt, first.source_prompt, first.box) == ("a cat", PROMPT, "100,80,80,80")
    assert first.photograph == Fingerprint.of_file(photo) and first.mask is None
    assert first.environment == Environment("cpu", 1, package_versions())
    assert first.training_environment is None
    assert inversion.provenance is not None
    trained = Environment("cuda", 8, "torch 2.7")
    earlier = replace(inversion, provenance=replace(inversion.provenance, environment=trained))
    assert told(pipe.edit(earlier, "a cat", mask=BOX)).training_environment == trained
    bare = told(pipe.edit(earlier, "a cat", mask=BOX, use_embedding=False, use_lora=False))
    assert bare.training_environment is None
    assert {
        "model": "tiny", "method": "inversion", "guidance": "cfg", "seed": 3, "crop": "full",
        "mask_source": "user", "train_lora_iter": 2, "lora_learning_rate": 1e-2, "batch_size": 1,
        "use_concat_embedding": True, "background": "detail", "attention_bias": True,
    }.items() <= first.settings.items()  # fmt: skip
    inversion.save(tmp_path / "saved")
    assert first == told(pipe.edit(Inversion.load(tmp_path / "saved"), "a cat", mask=BOX, seed=3))

    free = pipe.invert(Image.open(photo), PROMPT, embedding_iterations=0, lora_iterations=0)
    word = told(pipe.edit(free, "a cat", target_word="cup", guidance="source_negative"))
    assert word.photograph is None and (word.target_word, word.box) == ("cup", None)
    assert word.settings["method"] == "training_free" and "lora_rank" not in word.settings
    assert word.settings["mask_source"] == "attention"
    found = told(pipe.edit(free, "a cat", mask="words", guidance="editmod"))
    assert (found.settings["method"], found.settings["mask_source"]) == ("editmod", "words")

    pipe.edit(free, "a cat", provenance=False).save(tmp_path / "none.png")
    assert read_settings(tmp_path / "none.png") is None
    pipe.edit(replace(free, provenance=None), "a cat").save(tmp_path / "none.png")
    assert read_settings(tmp_path / "none.png") is None


def test_editing_leaves_the_model_as_it_was(
    pipe: EditInfinityPipeline, inversion: Inversion
) -> None:
    # Also takes off the adapter that another test's edit may have left.
    bare = pipe.edit(inversion, "a cat", use_lora=False, use_embedding=False)
    before = {name: tensor.clone() for name, tensor in pipe.transformer.state_dict().items()}
    adapted = pipe.edit(inversion, "a cat", cfg=1.0)
    assert not pipe.transformer.training and pipe.transformer.state_dict().keys() != before.keys()
    again = pipe.edit(inversion, "a cat", use_lora=False, use_embedding=False)
    after = pipe.transformer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (np.asarray(bare) == np.asarray(again)).all()
    assert (np.asarray(bare) != np.asarray(adapted)).any()


def test_further_edits_of_a_photograph_need_its_adapter_and_rendering_once(
    pipe: EditInfinityPipeline, inversion: Inversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.edit(replace(inversion, features=replace(inversion.features), adapter=None), "a cat")
    calls: list[str] = []
    for place, name in ((Adapter, "apply_to"), (pipeline, "render")):
        original = getattr(place, name)

        def counted(*arguments: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(place, name, counted)
    addresses = []
    for prompt in ("a cat", "a dog"):
        pipe.edit(inversion, prompt, mask=BOX)
        addresses.append({name: p.data_ptr() for name, p in pipe.transformer.named_parameters()})
    assert sorted(calls) == ["apply_to", "render"]
    # Recorded CUDA graphs can be replayed.
    assert addresses[0] == addresses[1] and any("lora" in name for name in addresses[0])
    plain = pipe.find_mask(inversion, "a blue cup on a wooden table")
    assert calls.count("apply_to") == 1
    other = EditInfinityPipeline.from_pretrained("tiny", device="cpu", threads=1)
    found = other.find_mask(inversion, "a blue cup on a wooden table")
    assert np.array_equal(np.asarray(plain), np.asarray(found))  # found without the adapter


def test_masks_of_every_kind_and_several_prompts(
    pipe: EditInfinityPipeline, inversion: Inversion, photo: Path
) -> None:
    array = np.zeros((256, 320), bool)
    array[80:160, 100:180] = True
    picture = Image.fromarray(np.where(array, 0, 255).astype(np.uint8))
    made = [pipe.edit(inversion, "a cat", mask=mask) for mask in (BOX, array, picture)]
    assert all((np.asarray(made[0]) == np.asarray(other)).all() for other in made[1:])
    several = pipe.edit(inversion, ["a cat", "a dog"], mask=BOX)
    assert (np.asarray(several[0]) == np.asarray(made[0])).all() and len(several) == 2
    source = np.asarray(Image.open(photo))
    assert (np.asarray(made[0])[:, :40] == source[:, :40]).all()
    assert pipe.edit(inversion, "a cat", target_word="cup").size == (320, 256)


def test_a_blend_mask_is_used_as_it_is(
    pipe: EditInfinityPipeline, inversion: Inversion, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    array = np.zeros((256, 320), bool)
    array[80:160, 100:180] = True
    blend = make_blend_mask(array, inversion.features.schedule.reference_grid, "paper")
    np.save(tmp_path / "blend.npy", blend)
    by_mask = pipe.edit(inversion, "a cat", mask=array, smoothing="paper")
    for given in (blend, tmp_path / "blend.npy"):
        for smoothing in ("linear", "paper"):
            picture = pipe.edit(inversion, "a cat", blend=given, smoothing=smoothing)
            assert (np.asarray(picture) == np.asarray(by_mask)).all()
    assert caplog.messages == []
    pipe.edit(inversion, "a cat", blend=np.zeros_like(blend))
    pipe.edit(inversion, "a cat", blend=0.4 + 0.6 * blend)
    pipe.edit(inversion, "a cat", blend=0.7 + 0.3 * blend)
    pipe.edit(inversion, "a cat", blend=np.ones_like(blend))
    small = "blend: marks too little for a visible edit, so the picture stays unchanged; lower its"
    assert [line[: len(small)] for line in caplog.messages] == [
        "blend: is 0 in every cell, so the whole picture may change; 1 keeps", small, small
    ]  # fmt: skip


def test_faults_are_one_line(pipe: EditInfinityPipeline, inversion: Inversion, photo: Path) -> None:
    corner = {"crop": (0, 200, 120, 120), "embedding_iterations": 0, "lora_iterations": 0}
    part = pipe.invert(photo, PROMPT, **corner)
    for call, fault in (
        (lambda: pipe.edit(inversion, "a", target_word="dog"), "'dog' is not in the source prompt"),
        (lambda: pipe.edit(part, "a", mask=BOX), "mask: lies outside the part of the photograph"),
        (lambda: pipe.edit(inversion, "a", mask=np.zeros((3, 3), bool)), "mask: has shape"),
        (lambda: pipe.invert(photo, "x", crop="auto"), "needs a mask"),
        (lambda: pipe.invert(photo, "x", crop="half"), "crop: 'half' is not"),
        (lambda: pipe.invert(photo, "x", crop=(200, 0, 100, 100)), "lies outside the photograph"),
        (lambda: pipe.invert(photo, "x", pixel_budget="2M"), "pixel_budget: must be"),
        (lambda: pipe.invert(photo, "x", lora_iterations=-1), "iterations: -1 is not an"),
        (lambda: pipe.invert(photo, "x", lora_iterations=1.5), "iterations: 1.5 is not an"),  # type: ignore[arg-type]
        (lambda: pipe.edit(inversion, "a", seed=1.5), "seed: must be .* got 1.5"),
        (lambda: pipe.edit(inversion, "a", cfg=math.inf), "cfg: must be .* got Infinity"),
        (lambda: pipe.edit(inversion, "a", mask=BOX, target_word="cup"), "pass only one"),
        (lambda: pipe.edit(inversion, PROMPT, mask="both"), "both prompts, but they are equal"),
        (lambda: pipe.find_mask(inversion, "a", "most"), "'most' is not one of words, bits, both"),
        (lambda: pipe.edit(inversion, "a", mask=BOX, blend="b.npy"), "pass only one"),
        (lambda: pipe.edit(inversion, "a", blend=np.ones((64, 64))), "blend: has a grid of 64×64"),
        (lambda: pipe.edit(inversion, "a", blend=photo.parent / "none.npy"), "is no such file"),
        (lambda: TrainingSettings(train_seed=-1), "seed: must be .* got -1"),
        (lambda: pipe.edit(inversion, "a", seed=2**70), "seed: must be"),
        (
            lambda: pipe.edit(inversion, "a", background="exakt"),
            'background: must be .*"exakt"',
        ),
        (lambda: pipe.edit(inversion, "a", guidance="none"), 'guidance: must be .* got "none"'),
        (lambda: pipe.edit(inversion, "a", smoothing="soft"), 'smoothing: must be .* got "soft"'),
        (lambda: pipe.edit(inversion, "a", lock_scales=99), "lock_scales: must be .* got 99"),
        (
            lambda: pipe.edit(inversion, "a", attention_threshold=1.5),
            "attention_threshold: must be",
        ),
        (
            lambda: pipe.edit(inversion, "a", mask_edit_region="blak"),
            "mask_edit_region: must be",
        ),
        (lambda: pipe.edit(inversion, "a", mask=np.zeros((256, 320), np.uint8)), "has type uint8"),
        (lambda: pipe.edit(inversion, "a", mask=[[0, 1]]), "mask"),
        (lambda: EditInfinityPipeline.from_pretrained("tiny", threads=0), "threads: must be"),
        (lambda: Inversion.load(photo.parent / "none"), "none: is no folder that Inversion.save"),
        (lambda: pipe.edit("a.inversion", "a"), "inversion: is of type str; give what invert or"),  # type: ignore[call-overload]
        (lambda: pipe.find_word(None, "a"), "inversion: is of type NoneType"),  # type: ignore[arg-type]
        (lambda: pipe.edit(inversion, 3), "prompt: is of type int; give a text"),  # type: ignore[call-overload]
        (lambda: pipe.edit(inversion, ["a", None]), "prompt: is of type NoneType"),  # type: ignore[list-item]
        (lambda: pipe.invert(photo, None), "prompt: is of type NoneType"),  # type: ignore[arg-type]
        (lambda: pipe.invert(np.zeros((9, 9, 3))), "image: is of type ndarray; give a path"),  # type: ignore[arg-type]
        (lambda: EditInfinityPipeline.from_pretrained(None), "model: must be one of"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError, match=fault):
            call()


def test_an_inversion_is_shown_in_one_line(inversion: Inversion) -> None:
    assert re.fullmatch(r"<Inversion of 320×256 pixels by tiny, prompt .{1,80}>", repr(inversion))


def _broken(saved: Path, folder: Path, **config: object) -> Path:
    """A copy of a saved inversion whose adapter's configuration says otherwise."""
    shutil.copytree(saved, folder)
    path = folder / "lora" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def test_adapters_that_would_draw_a_wrong_picture_are_refused(
    pipe: EditInfinityPipeline, inversion: Inversion, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    inversion.save(saved)
    for number, (config, fault) in enumerate(
        (
            ({"r": 2}, "has shape"),
            ({"target_modules": ["ffn.fc1"]}, "other layers"),
            ({"lora_alpha": "much"}, "contains no adapter for this model"),
            ({"peft_type": "LOHA"}, "peft_type 'LOHA' is unsupported"),
            ({"lora_alpha": math.nan}, "is not a LoRA configuration"),
            ({"rank_pattern": {"blocks.1.ffn.fc2": -1}}, "contains no adapter for this model"),
        )
    ):
        with pytest.raises(UserError, match=fault):
            pipe.edit(Inversion.load(_broken(saved, tmp_path / str(number), **config)), "a cat")
    weights = saved / "lora" / "adapter_model.safetensors"
    tensors = load_file(weights)
    tensors[min(tensors)][0, 0] = math.nan
    save_file(tensors, weights)
    with pytest.raises(UserError, match="infinity or NaN"):
        Inversion.load(saved)
    # What was refused is gone from the model.
    assert not any("lora" in name for name, _ in pipe.transformer.named_modules())
    fresh = EditInfinityPipeline.from_pretrained("tiny", device="cpu", threads=1)
    pictures = [np.asarray(p.edit(inversion, "a cat")) for p in (pipe, fresh)]
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError, KeyboardInterrupt])
def test_what_is_not_the_adapters_fault_leaves_no_part_of_it(
    pipe: EditInfinityPipeline,
    inversion: Inversion,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[BaseException],
) -> None:
    def interrupted(*_: object) -> None:
        assert any("lora" in name for name, _ in pipe.transformer.named_modules())
        raise fault

    pipe.edit(inversion, "a cat", use_lora=False)
    assert inversion.adapter is not None
    monkeypatch.setattr(peft, "set_peft_model_state_dict", interrupted)
    with pytest.raises(fault):
        inversion.adapter.apply_to(pipe.transformer, pipe.device)
    assert not any("lora" in name for name, _ in pipe.transformer.named_modules())


def test_pipelines_that_share_a_transformer_draw_with_their_own_adapters(
    pipe: EditInfinityPipeline, inversion: Inversion
) -> None:
    models = pipe.transformer, pipe.tokenizer, pipe.text_encoder
    other = EditInfinityPipeline(pipe.preset, pipe.device, *models)
    first = [np.asarray(p.edit(inversion, "a cat", use_lora=p is pipe)) for p in (pipe, other)]
    again = [np.asarray(p.edit(inversion, "a cat", use_lora=p is pipe)) for p in (pipe, other)]
    assert not np.array_equal(*first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_threads_take_turns(pipe: EditInfinityPipeline, inversion: Inversion) -> None:
    prompts = ["a cat", "a dog", "a cow"]
    bare = replace(inversion, adapter=None)
    wanted = [np.asarray(pipe.edit(i, p)) for i in (inversion, bare) for p in prompts]
    with ThreadPoolExecutor(6) as pool:
        given = [(i, p) for i in (inversion, bare) for p in prompts]
        drawn = list(pool.map(lambda each: np.asarray(pipe.edit(*each)), given))
    assert all(np.array_equal(a, b) for a, b in zip(wanted, drawn, strict=True))


def test_the_caller_is_left_alone(
    pipe: EditInfinityPipeline, inversion: Inversion, photo: Path
) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    with torch.inference_mode():
        again = pipe.invert(photo, PROMPT, embedding_iterations=2, lora_iterations=2, training=FAST)
        pipe.edit(again, "a cat", seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.adapter is not None and inversion.adapter is not None
    for name, tensor in inversion.adapter.weights.items():
        assert torch.equal(tensor, again.adapter.weights[name])


def test_a_crop_goes_around_the_part_of_a_mask_that_is_edited(
    pipe: EditInfinityPipeline, tmp_path: Path
) -> None:
    photo = draw_photograph(tmp_path / "large.png", (1600, 1200))
    mask = Image.new("L", (1600, 1200), 0)
    mask.paste(255, (1300, 900, 1360, 960))
    inversion = pipe.invert(
        photo, PROMPT, embedding_iterations=0, lora_iterations=0, crop="auto", mask=mask,
        mask_edit_region="white",
    )  # fmt: skip
    geometry = inversion.features.geometry
    assert geometry.width < 1600 and geometry.height < 1200
    assert geometry.top <= 900 and geometry.left <= 1300


class _Ended(Exception):
    """Raised by a caller that no longer wants the result."""


class _Listener:
    """Collects the steps, and ends the work at one of them."""

    def __init__(self, end: Progress | None = None) -> None:
        self.end, self.seen = end, list[Progress]()

    def __call__(self, progress: Progress) -> None:
        assert (progress.loss is not None) == progress.stage.startswith("train_")
        self.seen.append(replace(progress, loss=None))
        if self.seen[-1] == self.end:
            raise _Ended


def test_an_inversion_reports_each_iteration_and_may_be_ended(
    pipe: EditInfinityPipeline, inversion: Inversion, photo: Path
) -> None:
    before = pipe.edit(inversion, "a cat", seed=3).tobytes()
    listener = _Listener(Progress("train_lora", 1, 9))
    with pytest.raises(_Ended):
        pipe.invert(
            photo, PROMPT, embedding_iterations=2, lora_iterations=9, on_progress=listener
        )  # fmt: skip
    assert listener.seen == [
        Progress("image_features", 1, 1), Progress("train_textembedding", 1, 2),
        Progress("train_textembedding", 2, 2), Progress("train_lora", 1, 9),
    ]  # fmt: skip
    assert pipe.edit(inversion, "a cat", seed=3).tobytes() == before  # the model is as it was


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ({}, []),
        ({"mask": "both"}, [Progress("prompt_map", 1, 2), Progress("prompt_map", 2, 2)]),
        ({"target_word": "cup"}, [Progress("attention_map", 1, 1)]),
    ],
)
def test_an_edit_reports_each_scale_and_picture_and_may_be_ended(
    pipe: EditInfinityPipeline, inversion: Inversion, place: dict[str, Any],
    found: list[Progress],
) -> None:  # fmt: skip
    prompts, heard = ["a cat", "a dog"], _Listener()
    pictures = pipe.edit(inversion, prompts, **place, on_progress=heard)
    of = 2 * (len(inversion.features.schedule.scales) + 1)
    assert heard.seen == [*found, *(Progress("edit", step, of) for step in range(1, of + 1))]

    for end in (*found[:1], Progress("edit", 3, of), Progress("edit", of, of)):
        with pytest.raises(_Ended):
            pipe.edit(inversion, prompts, **place, on_progress=_Listener(end))
        # The model is as it was, and the pipeline works on.
        again = pipe.edit(inversion, prompts[0], **place)
        assert again.tobytes() == pictures[0].tobytes()


def test_a_folder_of_weights_names_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(
        pipeline, "load_transformer",
        lambda chosen, device, folder, *_: opened.append((chosen.name, folder)),
    )  # fmt: skip
    monkeypatch.setattr(pipeline, "load_tokenizer", lambda chosen, device, folder: folder)
    monkeypatch.setattr(pipeline, "load_text_encoder", lambda chosen, device, folder, _: folder)
    load = partial(EditInfinityPipeline.from_pretrained, device="cpu")
    # A name of a model is no folder, even if there is one of that name.
    for name in ("tiny", "mine"):
        (tmp_path / name).mkdir()
        record = json.dumps({"model": "infinity_2b", "parts": {}})
        (tmp_path / name / "conversion.json").write_text(record)
    monkeypatch.chdir(tmp_path)
    for model, expected in (
        ("mine", ("infinity_2b", Path("mine"))),
        (tmp_path / "mine", ("infinity_2b", tmp_path / "mine")),
        ("tiny", ("tiny", None)),
        ("./tiny", ("infinity_2b", Path("tiny"))),
        (Path("tiny"), ("infinity_2b", Path("tiny"))),
    ):
        pipe = load(model)
        assert opened.pop() == expected
        assert (pipe.tokenizer, pipe.text_encoder) == (expected[1], expected[1])

    for model, more, fault in (
        ("mine", {"model_dir": "tiny"}, "both are folders; give only one"),
        (Path("none"), {}, "none is not a folder; give the one of converted weights"),
        ("./none", {}, "none is not a folder; give the one of converted weights"),
        ("infinity_3b", {}, "model: must be one of .* got .infinity_3b"),
        (tmp_path, {}, "conversion.json: there is no such file; convert the weights again"),
    ):
        with pytest.raises(UserError, match=fault):
            load(model, **more)
    for damaged in ("[]", "{}", "{", '{"model": 3}', '{"model": "infinity_3b"}', "[" * 100_000):
        (tmp_path / "mine" / "conversion.json").write_text(damaged)
        with pytest.raises(UserError, match="conversion.json: names no model; convert the weights"):
            load("mine")


def test_the_mask_of_a_word_is_where_the_word_is_edited(
    pipe: EditInfinityPipeline, inversion: Inversion
) -> None:
    word = PROMPT.split()[1]
    mask = pipe.find_word(inversion, word)
    assert mask.size == inversion.photograph.size[::-1]
    assert 0 < (np.asarray(mask.convert("L")) == 0).mean() < 1
    with pytest.raises(UserError, match="zebra"):
        pipe.find_word(inversion, "zebra")
