"""The pipeline in Python gives what the workflow's stages give, and leaves the model as it was."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from editinfinity import EditInfinityPipeline, Inversion, pipeline
from editinfinity.errors import UserError
from editinfinity.stages.settings import ModelSettings, TrainingSettings
from tests.stages.conftest import draw_photograph

TINY = ModelSettings(preset="tiny", device="cpu", threads=1)
FAST = TrainingSettings(learning_rate=1e-2, batch_size=1)
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


BOX = (100, 80, 80, 80)


def test_the_docs_examples_run() -> None:
    assert doctest.testmod(pipeline).failed == 0 and doctest.testmod(pipeline).attempted > 5


def test_equals_the_stages(
    pipe: EditInfinityPipeline, photo: Path, inversion: Inversion, tmp_path: Path
) -> None:
    from editinfinity.stages.edit import edit
    from editinfinity.stages.finish import finish
    from editinfinity.stages.image_features import extract_image_features
    from editinfinity.stages.kernel import make_kernel
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
           output=tmp_path / "done.png")  # fmt: skip
    picture = pipe.edit(inversion, "a blue cup", mask=BOX)
    assert (np.asarray(picture) == np.asarray(Image.open(tmp_path / "done.png"))).all()


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


def test_editing_leaves_the_model_as_it_was(
    pipe: EditInfinityPipeline, inversion: Inversion
) -> None:
    before = {name: tensor.clone() for name, tensor in pipe.transformer.state_dict().items()}
    bare = pipe.edit(inversion, "a cat", use_lora=False, use_embedding=False)
    adapted = pipe.edit(inversion, "a cat", cfg=1.0)
    after = pipe.transformer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not pipe.transformer.training
    again = pipe.edit(inversion, "a cat", use_lora=False, use_embedding=False)
    assert (np.asarray(bare) == np.asarray(again)).all()
    assert (np.asarray(bare) != np.asarray(adapted)).any()


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


def test_faults_are_one_line(pipe: EditInfinityPipeline, inversion: Inversion, photo: Path) -> None:
    for call, fault in (
        (lambda: pipe.edit(inversion, "a", target_word="dog"), "'dog' is not in the source prompt"),
        (lambda: pipe.edit(inversion, "a", mask=np.zeros((3, 3), bool)), "mask: is of shape"),
        (lambda: pipe.invert(photo, "x", crop="auto"), "give invert"),
        (lambda: pipe.invert(photo, "x", crop="half"), "crop: 'half' is not"),
        (lambda: Inversion.load(photo.parent / "none"), "there is no such file"),
    ):
        with pytest.raises(UserError, match=fault):
            call()
