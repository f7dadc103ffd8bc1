"""``editinfinity edit`` and its kin, as processes of their own on the random model ``tiny``."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from editinfinity.cases.folders import read_folder
from editinfinity.config.load import load_config
from editinfinity.files.masks import read_mask
from tests.command import TINY, UNTRAINED, run
from tests.workflow.project import ROOT, draw_image, draw_mask

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody keeps a photograph and a mask."""
    draw_image(tmp_path / "my photo.jpg", 1, (160, 128))
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    with Image.open(tmp_path / "my photo.jpg") as image:
        image.save(tmp_path / "my photo.jpg", exif=exif, quality=90)
    draw_mask(tmp_path / "mask.png", 40, (160, 128))
    return tmp_path


def test_edit_in_one_line_and_again_with_another_prompt(folder: Path) -> None:
    line = ("edit", "my photo.jpg", "--mask", "mask.png", *TINY)
    first = run(folder, *line, "--prompt", "a cat")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "my photo_edited.jpg"
    assert "train LoRA to iteration 1" in first.stderr
    with (
        Image.open(folder / "my photo_edited.jpg") as made,
        Image.open(folder / "my photo.jpg") as old,
    ):
        assert (made.format, made.size) == ("JPEG", (160, 128))
        assert made.quantization == old.quantization
        assert made.getexif()[ExifTags.Base.Make] == "Maker"

    second = run(folder, *line, "--prompt", "a dog")
    assert second.stdout.strip() == "my photo_edited_2.jpg"  # the first is kept
    assert "train" not in second.stderr and "encode the image" not in second.stderr
    again = run(folder, *line, "--prompt", "a dog")
    assert again.stdout.strip() == "my photo_edited_2.jpg"
    quiet = run(folder, *line, "--prompt", "a bird", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert (folder / "my photo_edited_3.jpg").is_file()

    shown = json.loads(run(folder, "show", "my photo_edited_2.jpg").stdout)
    assert shown["prompt"] == "a dog" and shown["settings"]["background"] == "detail"

    # The second picture says all that is needed to make it again, wherever it is.
    other = folder / "other"
    other.mkdir()
    for name in ("my photo_edited_2.jpg", "my photo.jpg", "mask.png"):
        shutil.copy(folder / name, other / f"moved {name}")
    made = run(other, "again", "moved my photo_edited_2.jpg")
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == "moved my photo_edited_2_again.jpg"
    assert "has the same bytes" in made.stderr and "may differ" not in made.stderr
    assert (other / made.stdout.strip()).read_bytes() == (
        folder / "my photo_edited_2.jpg"
    ).read_bytes()
    varied = run(
        other, "again", "moved my photo_edited_2.jpg", "--set", "seed=7", "--set", "provenance=0",
        "--output", "varied.png",
    )  # fmt: skip
    assert varied.returncode == 0, varied.stderr
    assert "train" not in varied.stderr and "bytes" not in varied.stderr
    assert b"editinfinity" not in (other / "varied.png").read_bytes()
    assert run(other, "again", "varied.png").stderr.startswith(
        "editinfinity: varied.png: does not say how it was made"
    )


def test_a_photograph_goes_through_standard_streams(folder: Path) -> None:
    command = [sys.executable, "-m", "editinfinity", "edit", "-", "--box", "40,40,60,60",
               "--prompt", "a cat", *UNTRAINED]  # fmt: skip
    with (folder / "my photo.jpg").open("rb") as photograph:
        done = subprocess.run(command, cwd=folder, stdin=photograph, capture_output=True)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as made:
        assert (made.format, made.size) == ("JPEG", (160, 128))
        assert made.getexif()[ExifTags.Base.Make] == "Maker"
    assert b"draw edit" in done.stderr
    assert {path.name for path in folder.glob("*.jpg")} == {"my photo.jpg"}


def test_a_first_picture_is_drawn_in_seconds_and_then_refined(folder: Path) -> None:
    line = ("edit", "my photo.jpg", "--box", "40,40,60,60", "--prompt", "a cat", "--refine", *TINY)
    done = run(folder, *line)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "my photo_edited.jpg"
    told = done.stderr.splitlines()
    drawn = next(n for n, text in enumerate(told) if "drawn without training" in text)
    assert told[drawn].startswith("my photo_edited.jpg: ")
    before, after = "\n".join(told[:drawn]), "\n".join(told[drawn:])
    assert "to iteration" not in before and "encode the image" in before and "blend mask" in before
    assert "train LoRA to iteration 1" in after
    assert "encode the image" not in after and "blend mask" not in after
    shown = json.loads(run(folder, "show", "my photo_edited.jpg").stdout)
    assert shown["settings"]["train_lora_iter"] == 1 and shown["settings"]["guidance"] == "cfg"
    config = next(folder.glob(".editinfinity/*/config.yaml")).read_text()
    assert "method: inversion" in config
    refined = (folder / "my photo_edited.jpg").read_bytes()

    # Once more, everything is there already; and another result keeps its own name.
    again = run(folder, *line)
    assert again.stdout.strip() == "my photo_edited.jpg" and "to iteration" not in again.stderr
    assert [path.name for path in folder.glob("*_edited*")] == ["my photo_edited.jpg"]
    plain = run(folder, *line[: -len(TINY) - 1], *TINY, "--set", "method=training_free")
    assert plain.stdout.strip() == "my photo_edited_2.jpg"
    assert (folder / "my photo_edited.jpg").read_bytes() == refined


def test_a_first_picture_outlives_an_interrupted_training(folder: Path) -> None:
    many = ("--set", "train_lora_iter=2000", "--set", "checkpoint_every=2000")
    with subprocess.Popen(
        [sys.executable, "-m", "editinfinity", "edit", "my photo.jpg", "--mask", "mask.png",
         "--prompt", "a cat", "--output", "out.png", "--refine", *TINY, *many],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for text in process.stderr:
            if "train LoRA" in text or "train the text embedding" in text:
                break
        first = (folder / "out.png").read_bytes()
        os.killpg(process.pid, signal.SIGINT)
        errors = process.stderr.read()
        process.wait(60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.endswith("stopped: what was made so far is kept; the same command continues\n")
    assert (folder / "out.png").read_bytes() == first
    shown = json.loads(run(folder, "show", "out.png").stdout)
    assert shown["settings"]["method"] == "training_free"
    assert "train_lora_iter" not in shown["settings"]


def test_no_edit_takes_the_place_of_another(folder: Path) -> None:
    """Each has a file of its own, unless its file would have the same bytes."""
    line = ("edit", "my photo.jpg", "--prompt", "a cat", *UNTRAINED)
    draw_mask(folder / "other.png", 60, (160, 128))
    made = folder / "my photo_edited.jpg"
    assert run(folder, *line, "--mask", "mask.png").stdout.strip() == made.name
    first = made.read_bytes()
    for number, arguments in enumerate(
        (
            ("--mask", "other.png"),
            ("--mask", "other.png", "--set", "mask_feather=30"),
            ("--mask", "other.png", "--set", "mask_feather=30", "--set", "worker=off"),
        )
    ):
        done = run(folder, *line, *arguments)
        # A setting that changes no picture: the last is the one before it.
        expected = f"my photo_edited_{min(number + 2, 3)}.jpg"
        assert done.stdout.strip() == expected, done.stderr
    draw_mask(folder / "dot.png", 1, (160, 128))
    done = run(folder, *line, "--mask", "dot.png")
    assert re.search(r"^dot\.png: marks too little for a visible edit", done.stderr, re.MULTILINE)
    draw_image(folder / "my photo.jpg", 2, (160, 128))
    assert run(folder, *line, "--mask", "mask.png").stdout.strip() == "my photo_edited_5.jpg"
    assert made.read_bytes() == first


def test_new_and_import_make_cases(folder: Path) -> None:
    done = run(folder, "new", "holiday", "my photo.jpg", "--prompt", "a cat", "--source", "a dog",
               "--box", "10,10,40,40")  # fmt: skip
    assert done.returncode == 0, done.stderr
    case = folder / "data" / "holiday"
    assert (case / "image" / "original_image.jpg").read_bytes() == (
        folder / "my photo.jpg"
    ).read_bytes()
    assert (case / "image" / "mask.txt").read_text() == "10,10,40,40\n"
    assert (case / "prompt" / "original_image_prompt.txt").read_text() == "a dog\n"
    run(folder, "new", "holiday", "my photo.jpg", "--prompt", "a cup", "--name", "cup",
        "--mask", "mask.png")  # fmt: skip
    assert (case / "prompt" / "edit_image_prompt.cup.txt").read_text() == "a cup\n"
    assert (case / "image" / "mask.cup.png").is_file() and (case / "image" / "mask.txt").is_file()

    Image.open(folder / "my photo.jpg").save(folder / "b.bmp")
    shutil.copy(folder / "b.bmp", folder / "b.picture")
    rows = [
        "case\timage\tedit_prompt\tmask\tcfg",
        "one\tmy photo.jpg\ta cat\tmask.png\t3",
        "two\tb.bmp\tx\t\t",
        "three\tb.picture\tx\t\t",
    ]
    (folder / "t.tsv").write_text("\n".join(rows) + "\n")
    done = run(folder, "import", "t.tsv", "--data", "cases")
    assert done.returncode == 0, done.stderr
    assert "t.tsv: cases cannot store cfg; use overrides of config.yaml" in done.stderr
    assert (folder / "cases" / "one" / "image" / "mask.png").is_file()
    two, three = (folder / "cases" / name / "image" for name in ("two", "three"))
    assert (two / "original_image.bmp").read_bytes() == (folder / "b.bmp").read_bytes()
    with Image.open(three / "original_image.png") as image:
        assert image.size == (160, 128)


def test_of_a_coco_file_a_new_case_takes_its_photographs_part(folder: Path) -> None:
    annotations = [{"image_id": i, "bbox": [10 * i, 10, 40, 40]} for i in (1, 2)]
    images = [{"id": 1, "file_name": "b.jpg"}, {"id": 2, "file_name": "my photo.jpg"}]
    coco = {"images": images, "annotations": annotations}
    (folder / "coco.json").write_text(json.dumps(coco))
    line = ("--prompt", "a cat", "--mask", "coco.json")
    done = run(folder, "new", "holiday", "my photo.jpg", *line)
    assert done.returncode == 0, done.stderr
    image = folder / "data" / "holiday" / "image"
    assert json.loads((image / "mask.json").read_text()) == {
        "images": images[1:], "annotations": annotations[1:]
    }  # fmt: skip
    assert read_mask(image / "mask.json", (128, 160), photograph=image / "original_image.jpg").any()
    draw_image(folder / "c.jpg", seed=2)
    done = run(folder, "new", "another", "c.jpg", *line)
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert "several images (b.jpg, my photo.jpg), none of them named like c.jpg" in done.stderr


def test_the_photograph_of_a_case_is_never_lost(folder: Path) -> None:
    photograph = folder / "data" / "trip" / "image" / "original_image.JPG"
    draw_image(photograph, seed=1)
    content = photograph.read_bytes()
    done = run(folder, "new", "trip", str(photograph), "--prompt", "a cat", "--name", "cat")
    assert done.returncode == 0, done.stderr
    assert photograph.read_bytes() == content
    assert [path.name for path in photograph.parent.iterdir()] == [photograph.name]
    draw_image(folder / "another.jpg", seed=2)
    done = run(folder, "new", "trip", "another.jpg", "--prompt", "a cat")
    assert done.returncode != 0 and "is another photograph" in done.stderr
    assert photograph.read_bytes() == content


def test_a_mask_of_a_case_is_never_lost(folder: Path) -> None:
    line = ("new", "trip", "my photo.jpg", "--prompt")
    case = folder / "data" / "trip"
    assert run(folder, *line, "a cat", "--mask", "mask.png").returncode == 0
    draw_mask(mask := case / "image" / "mask.png", 50, (160, 128))  # mended by hand
    content = mask.read_bytes()

    done = run(folder, *line, "a dog")
    assert done.returncode == 0 and mask.read_bytes() == content
    assert "data/trip/image/mask.png: still limits where to edit" in done.stderr
    assert (case / "prompt" / "edit_image_prompt.txt").read_text() == "a dog\n"

    for name in ((), ("--name", "cup")):  # the mask serves an edit of another name too
        done = run(folder, *line, "a cup", "--target", "cat", "--source", "a cat", *name)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert "mask.png: is a mask of this edit and would override the word 'cat'" in done.stderr
    assert sorted(path.name for path in (case / "prompt").iterdir()) == ["edit_image_prompt.txt"]

    assert run(folder, *line, "a dog", "--mask", str(mask)).stderr == ""  # the same
    done = run(folder, *line, "a dog", "--mask", "none.png")
    assert "none.png: there is no such file" in done.stderr and mask.read_bytes() == content
    done = run(folder, *line, "a dog", "--box", "1,2,30,40")
    assert "mask.png: is replaced; the old file is kept as old_mask.png" in done.stderr
    files = {path.name: path for path in (case / "image").iterdir()}
    assert set(files) == {"original_image.jpg", "old_mask.png", "mask.txt"}
    assert files["old_mask.png"].read_bytes() == content
    assert files["mask.txt"].read_text() == "1,2,30,40\n"
    # Beside another edit, which a mask without a name would serve too, it is of this one alone.
    assert run(folder, *line, "a cow", "--name", "cow").returncode == 0
    Image.new("CMYK", (160, 128)).save(folder / "cmyk.tif")
    assert run(folder, *line, "a dog", "--mask", "cmyk.tif").returncode == 0
    read, _ = read_folder("trip", load_config({"data": str(folder / "data")}))
    masks = {name: edit.mask.name for name, edit in read.edits.items() if edit.mask}
    assert masks == {"edit": "mask.edit.png", "cow": "mask.txt"}
    plan = run(folder, "run", "--dry-run", "--config", "cases=[trip]", "model=tiny", "metrics=0")
    assert plan.returncode == 0 and "kernel" in plan.stdout + plan.stderr


def test_a_word_of_a_case_is_kept_where_a_mask_takes_its_place(folder: Path) -> None:
    line = ("new", "trip", "my photo.jpg", "--source", "a cup", "--prompt", "a cat")
    assert run(folder, *line, "--target", "cup").returncode == 0
    done = run(folder, *line, "--mask", "mask.png")
    assert "target_word.txt: is replaced; the old file is kept as old_" in done.stderr
    names = sorted(path.name for path in (folder / "data" / "trip" / "prompt").iterdir())
    assert "old_target_word.txt" in names and "target_word.txt" not in names


def test_a_blend_mask_becomes_part_of_a_case_and_is_never_lost(folder: Path) -> None:
    np.save(folder / "mine.npy", np.ones((56, 70), np.float32))
    line = ("new", "trip", "my photo.jpg", "--source", "a cup", "--prompt", "a cat")
    assert run(folder, *line, "--mask", "mask.png").returncode == 0
    done = run(folder, *line, "--blend", "mine.npy")
    assert "mask.png: is replaced; the old file is kept as old_mask.png" in done.stderr
    image = folder / "data" / "trip" / "image"
    assert (image / "blend.npy").read_bytes() == (folder / "mine.npy").read_bytes()
    assert run(folder, *line, "--blend", "mine.npy").stderr == ""  # the same

    done = run(folder, *line)
    assert "data/trip/image/blend.npy: still limits where to edit" in done.stderr
    for where, new in (
        (("--target", "cup"), "the word 'cup'"),
        (("--mask", "mask.png"), "the new mask"),
        (("--box", "1,2,30,40", "--name", "hat"), "the new mask"),
    ):
        done = run(folder, *line, *where)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert f"blend.npy: is a blend mask of this edit and would override {new}" in done.stderr
    done = run(folder, *line, "--blend", "mask.jpg")
    assert "mask.jpg: does not end in .npy, .safetensors or .png; save it as one" in done.stderr
    assert sorted(path.name for path in image.iterdir()) == [
        "blend.npy", "old_mask.png", "original_image.jpg"
    ]  # fmt: skip

    rows = ["case\timage\tedit_prompt\tblend", "one\tmy photo.jpg\ta cat\tmine.npy"]
    (folder / "t.tsv").write_text("\n".join(rows) + "\n")
    assert run(folder, "import", "t.tsv").returncode == 0
    case, _ = read_folder("one", load_config({"data": str(folder / "data")}))
    assert case.edits["edit"].blend == folder / "data" / "one" / "image" / "blend.npy"


def test_edit_under_a_blend_mask_and_a_wrong_one_is_told_by_its_own_name(folder: Path) -> None:
    blend = np.ones((56, 70), np.float32)
    blend[20:40, 20:40] = 0
    np.save(folder / "mine.npy", blend)
    line = ("edit", "my photo.jpg", "--prompt", "a cat", *UNTRAINED, "--output", "done.png")
    done = run(folder, *line, "--blend", "mine.npy")
    assert done.returncode == 0, done.stderr
    old, new = (np.asarray(Image.open(folder / name)) for name in ("my photo.jpg", "done.png"))
    changed = (old != new).any(axis=2)
    assert changed[50:85, 50:85].mean() > 0.9
    changed[45:93, 45:93] = False
    assert not changed.any()
    done = run(folder, *line, "--mask", "mask.png")  # takes its place
    assert done.returncode == 0, done.stderr
    assert (np.asarray(Image.open(folder / "done.png")) != new).any()

    np.save(folder / "mine.npy", blend[:10])
    done = run(folder, *line, "--blend", "mine.npy")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("editinfinity: mine.npy: has a grid of 10×70, but the photograph's is")


def test_a_table_is_imported_without_loss_and_without_mixing_its_edits(folder: Path) -> None:
    rows = [
        "case\timage\tedit_prompt\tmask\tedit\ttarget_word\tsource_prompt",
        "one\tmy photo.jpg\ta cat\tmask.png\tedit\t\ta cup",
        "one\tmy photo.jpg\ta dog\t\tdog\tcup\ta cup",
        "one\tmy photo.jpg\ta town\t\ttown\t\ta cup",
    ]
    (folder / "t.tsv").write_text("\n".join(rows) + "\n")
    for _ in range(2):
        done = run(folder, "import", "t.tsv")
        assert done.returncode == 0, done.stderr
    case, _ = read_folder("one", load_config({"data": str(folder / "data")}))
    sources = {name: edit.mask_source for name, edit in case.edits.items()}
    assert sources == {"edit": "user", "dog": "attention", "town": "none"}

    photograph = folder / "data" / "one" / "image" / "original_image.jpg"
    content = photograph.read_bytes()
    draw_image(folder / "my photo.jpg", 3, (160, 128))
    done = run(folder, "import", "t.tsv")
    assert done.returncode == 1 and "is another photograph than" in done.stderr
    assert photograph.read_bytes() == content


def test_results_and_previews_do_not_take_the_place_of_photographs(folder: Path) -> None:
    photograph = folder / "my photo.jpg"
    content = photograph.read_bytes()
    for arguments, fault in (
        (("batch", ".", "--prompt", "x", "--output", "."), "the photographs themselves"),
        (("preview", "my photo.jpg", "--box", "1,1,9,9", "--output", "my photo.jpg"), ".png"),
        (("preview", "my photo.jpg", "--mask", "mask.png", "--output", "mask.png"), "is an input"),
        (("edit", "my photo.jpg", "--prompt", "x", "--output", "my photo.jpg"), "is an input of"),
        (("edit", "my photo.jpg", "--prompt", "x", "--mask", "mask.png", "--output", "./mask.png"),
         "is an input of"),
        (("new", "two", "my photo.jpg", "--prompt", "x", "--box", "1,1,9,9", "--target", "y"),
         "only one of"),
    ):  # fmt: skip
        done = run(folder, *arguments)
        assert done.returncode != 0 and fault in done.stderr, done.stderr
        assert photograph.read_bytes() == content


def test_a_mask_drawn_for_another_program_is_told_with_the_option(folder: Path) -> None:
    mask = np.zeros((128, 160), np.uint8)
    mask[40:80, 40:80] = 1
    (folder / "cafe\u0301").mkdir()
    Image.fromarray(mask).save(folder / "cafe\u0301" / "lit.tif")
    Image.fromarray(mask * 255).save(folder / "lit.jpg", quality=50)
    for typed, shown in (("caf\u00e9/lit.tif", "cafe\u0301/lit.tif"), ("lit.jpg", "lit.jpg")):
        line = f"{shown}: marks 92% of the picture as edited (black is edited); "
        line += "if that is the part to keep, use --mask-edit-region white"
        done = run(folder, "preview", "my photo.jpg", "--mask", typed)
        assert done.stderr.splitlines() == [line]
        assert "92.2% of the photograph is edited" in done.stdout
        edit = ("edit", "my photo.jpg", "--prompt", "a cat", *UNTRAINED, "--mask", typed)
        done = run(folder, *edit)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[0] == line and done.stderr.count(line) == 1  # in time
        done = run(folder, *edit, "--mask-edit-region", "white")
        assert (done.returncode, "marks" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("name", ["holiday", "my cat", "it's", "(1)", "#1", "001", "a&b", "x=y"])
def test_the_command_that_new_prints_can_be_pasted(folder: Path, name: str) -> None:
    (folder / "config.yaml").write_text("model: tiny\ndevice: cpu\n")
    done = run(folder, "new", name, "my photo.jpg", "--prompt", "a cat", "--data", "my cases")
    command = done.stdout.partition("run it with: editinfinity ")[2].strip()
    words = shlex.split(command)
    assert shlex.join(words) == command
    done = run(folder, *words, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "my cases" in command and re.search(r"^check +1$", done.stdout + done.stderr, re.M)


def test_preview(folder: Path) -> None:
    done = run(folder, "preview", "my photo.jpg", "--mask", "mask.png")
    assert "my photo_preview.png: 7.8% of the photograph is edited" in done.stdout
    shown = np.asarray(Image.open(folder / "my photo_preview.png"), int)
    old = np.asarray(Image.open(folder / "my photo.jpg"), int)
    assert (shown[64, 80] != old[64, 80]).any() and (shown[5, 5] == old[5, 5]).all()


def test_a_place_found_from_the_prompts_is_a_mask_to_see_and_to_edit_with(folder: Path) -> None:
    prompts = ("--source", "a red cup on a table", "--prompt", "a blue cup on a table")
    find = ("my photo.jpg", "--find-mask", "both", *prompts)
    seen = run(folder, "preview", *find, *UNTRAINED)
    assert seen.returncode == 0, seen.stderr
    mask = folder / "my photo_mask.png"
    with Image.open(mask) as picture:
        assert picture.size == (160, 128) and np.unique(picture).tolist() == [0, 255]
    assert seen.stdout.startswith("my photo_mask.png: ") and seen.stdout.strip().endswith(".png")
    heatmap = seen.stdout.strip().rpartition(": ")[2]
    assert Image.open(folder / heatmap).size == (320, 256)
    drawn = run(folder, "edit", *find, *UNTRAINED, "--seed", "7")
    assert drawn.returncode == 0, drawn.stderr
    assert "find the place" not in drawn.stderr  # it is still there
    (settings,) = folder.glob(".editinfinity/*/results/*/edit/edit/*.json")
    kernel = json.loads(settings.read_text())["kernel"]
    assert (kernel["mask_source"], kernel["gone"]) == ("both", ["red", "cup"])
    # Whoever paints over the mask keeps it, and edits with it.
    draw_mask(mask, 30, (160, 128))
    painted = mask.read_bytes()
    again = run(folder, "preview", *find, *UNTRAINED)
    assert again.stdout.startswith("my photo_mask_2.png: ") and mask.read_bytes() == painted
    given = ("my photo.jpg", "--mask", str(mask), *prompts, *UNTRAINED, "--output", "b.png")
    assert run(folder, "edit", *given).returncode == 0


def test_where_nothing_says_where_to_edit_the_prompts_do_and_nothing_is_trained(
    folder: Path,
) -> None:
    prompts = ("--source", "a red cup on a table", "--prompt", "a blue cup on a table")
    line = ("edit", "my photo.jpg", *prompts, *TINY)
    done = run(folder, *line, "--output", "found.png")
    assert done.returncode == 0, done.stderr
    assert "to iteration" not in done.stderr
    (told,) = (text for text in done.stderr.splitlines() if "--source and --prompt differ" in text)
    assert told.startswith("my photo.jpg: edited where") and "differ, without training; " in told
    shown = json.loads(run(folder, "show", "found.png").stdout)
    assert shown["settings"]["method"] == "editmod" and shown["settings"]["mask_source"] == "both"
    # To ask for it is the same, also with the source prompt of before; and what is told of the
    # whole picture works.
    again = ("edit", "my photo.jpg", *prompts[2:], *TINY)
    asked = run(folder, *again, "--find-mask", "both", "--output", "asked.png")
    assert asked.returncode == 0 and "differ" not in asked.stderr
    assert (folder / "asked.png").read_bytes() == (folder / "found.png").read_bytes()
    notice = run(folder, *again, "--output", "again.png").stderr
    assert "where --source of an earlier edit (" in notice and "differ" in notice
    whole = (*told.rpartition("add ")[2].split(), "--output", "whole.png")
    done = run(folder, "edit", "my photo.jpg", *prompts, *UNTRAINED, *whole)
    assert done.returncode == 0 and "differ" not in done.stderr
    shown = json.loads(run(folder, "show", "whole.png").stdout)
    assert shown["settings"]["mask_source"] == "none" and shown["settings"]["guidance"] == "cfg"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("edit", "none.jpg", "--prompt", "x"), "none.jpg: there is no such file"),
        (("edit", "my photo.jpg", "--prompt", "x", "--mask", "mask.png", "--box", "1,2,3,4"),
         "give only one of --mask, --box, --blend, --target and --find-mask"),
        (("new", "a", "my photo.jpg", "--prompt", "x", "--mask", "m", "--target", "x"),
         "give only one of --mask, --box, --blend and --target"),
        (("edit", "my photo.jpg", "--prompt", "x", "--find-mask", "both"),
         "--find-mask: the place is found by comparing both prompts, but there is no source"),
        (("edit", "my photo.jpg", "--prompt", "x", "--source", "x", "--find-mask", "both"),
         "they are equal; write what changes"),
        (("edit", "my photo.jpg", "--prompt", "x", "--source", "y", "--find-mask", "user"),
         "--find-mask: 'user' is not one of words, bits, both"),
        (("edit", "my photo.jpg", "--prompt", "x", "--source", "y", "--find-mask", "both",
          "--set", "mask_source=user"), "give only one of --find-mask and --set mask_source"),
        (("batch", ".", "--prompt", "x", "--source", "y", "--find-mask", "both", "--masks", "."),
         "give only one of --masks, --target and --find-mask"),
        (("preview", "my photo.jpg", "--box", "1,2,3,4", "--prompt", "x"),
         "--prompt, --source, --set: apply only with --find-mask"),
        (("edit", "my photo.jpg", "--prompt", "x", "--output", "a.gif"), "choose one of"),
        (("edit", "my photo.jpg", "--prompt", "x", "--target", "horse", "--source", "a cup"),
         "'horse' is not in the source prompt 'a cup'"),
        (("edit", "my photo.jpg", "--prompt", "x", "--set", "cfg"), "'cfg' is not KEY=VALUE"),
        (("edit", "my photo.jpg", "--prompt", "x", "--set", "cgf=3"), "cgf: is not a setting; did"),
        (("edit", "my photo.jpg", "--prompt", "x", "--set", "results=out"), "is set by this"),
        (("edit", "my photo.jpg", "--prompt", "x", "--model", "big"), "model: must be one of"),
        (("batch", "nowhere", "--prompt", "x"), "nowhere: is not a folder"),
        (("batch", ".", "--prompt", "x", "--masks", "none", "--target", "y"),
         "give only one of --masks, --target and --find-mask"),
        (("batch", ".", "--prompt", "x", "--target", "horse", "--source", "a cup"),
         "'horse' is not in the source prompt 'a cup'"),
        (("batch", "/", "--prompt", "x"), "/: has no name for the results; add --output FOLDER"),
        (("new", "a/b", "my photo.jpg", "--prompt", "x"), "it contains a /"),
        (("new", "a{b", "my photo.jpg", "--prompt", "x"), "cannot be the name of a case"),
        (("preview", "my photo.jpg"), "give either --mask, --box or --find-mask"),
        (("preview", ".", "--box", "1,1,9,9"), ".: is a folder, not a file; give the path of a"),
        (("preview", "my photo.jpg", "--output", "/proc/x.png", "--find-mask", "both", "--source",
          "a red cup", "--prompt", "a blue cup"), "/proc/x.png: cannot be written (No such file"),
        (("edit", "my photo.jpg", "--prompt", "x", "--box", "10,10"),
         "--box: is not x,y,width,height in pixels"),
        (("edit", "my photo.jpg", "--prompt", "x", "--box", "900,1,2,2"), "--box: the box 900,1"),
        (("edit", "my photo.jpg", "--prompt", "x", "--mask", "other.png"),
         "other.png: is 64×64 pixels but the photograph, upright, is 160×128"),
        *(
            ((*line, "--mask", "mask.png", "--mask-edit-region", "transparent"),
             "mask.png: has no transparent part; use --mask-edit-region black or white")
            for line in (("edit", "my photo.jpg", "--prompt", "x"), ("preview", "my photo.jpg"))
        ),
        (("edit", "my photo.jpg", "--prompt", "x", "--set", "seed=[1,2]"),
         "--set seed: draws 2 pictures, of which only the first would be written; give one value"),
        (("batch", ".", "--prompt", "x", "--set", "cfg=[3,4]"), "--set cfg: draws 2 pictures"),
        (("app", "my photo.jpg", "--no-open", "--set", "tau=[1,2]"), "--set tau: draws 2 pictures"),
        (("preview", "my photo.jpg", "--box", "900,1,2,2"), "--box: the box 900,1,2,2 lies"),
        (("show", "mask.png"), "mask.png: contains no settings"),
    ],
)  # fmt: skip
def test_faults_are_one_line(folder: Path, arguments: tuple[str, ...], fault: str) -> None:
    draw_mask(folder / "other.png", 20, (64, 64))
    done = run(folder, *arguments)
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("editinfinity: ")
    assert fault in done.stderr


HOSTILE_ENVIRONMENT = {
    "SNAKEMAKE_PROFILE": "of_other_workflows",
    "SNAKEMAKE_OUTPUT_CACHE": "/nonexistent",
    "HOME": "/proc/nobody",
    "TMPDIR": "/nonexistent/tmp",
    "PYTHONIOENCODING": "ascii:strict",
    "PYTHONWARNINGS": "always",
    "NO_COLOR": "1",
    "TERM": "dumb",
}


@pytest.mark.imports_itself
def test_nothing_of_the_users_surroundings_gets_in_the_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Profiles, homes and temporary folders of the user, and a folder with a hostile name."""
    for name, value in HOSTILE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "configuration"))
    for place in ("default", "profiles/default"):
        profile = folder / "configuration" / "snakemake" / place / "config.yaml"
        profile.parent.mkdir(parents=True)
        profile.write_text("executor: unknown\n")
    here = folder / os.fsdecode(b"{it's} #1 %s \xff")
    here.mkdir()
    (folder / "my photo.jpg").rename(here / "-é.jpg")
    (here / "weights").mkdir()
    line = ("edit", "--prompt", "a café", *UNTRAINED, "--set", "lpips_weights=weights")
    refused = run(here, *line, "--", "-é.jpg")
    assert refused.returncode == 1 and not refused.stdout
    # One line, before which nothing of Snakemake is told, with the path as the user gave it.
    assert refused.stderr.startswith("editinfinity: lpips_weights: weights contains no ")
    assert refused.stderr.count("\n") == 1
    done = run(here, *line[:-2], "--", "-é.jpg")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "-é_edited.jpg\n" and (here / "-é_edited.jpg").is_file()
    assert all(line.startswith("[") for line in done.stderr.splitlines()), done.stderr


@pytest.mark.imports_itself
def test_faults_of_options_are_told_before_the_work(folder: Path) -> None:
    """Each names the option, not a file of the folder that keeps trained files."""
    for options, said in (
        (("--prompt", " "), "--prompt is empty; write what the edited picture shows"),
        (("--prompt", os.fsdecode(b"\xff")), "--prompt: is not UTF-8 text; "),
        (
            ("--prompt", "x", "--target", ""),
            "--target is empty; write one word of the source prompt",
        ),
        (("--prompt", "x", "--output", "."), "--output: .: is a folder; name a file, e.g. my "),
    ):
        refused = run(folder, "edit", "my photo.jpg", *options)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"editinfinity: {said}"), refused.stderr
    assert not (folder / ".editinfinity").exists()


@pytest.mark.imports_itself
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-", "| true"])
def test_closed_streams_are_no_error(folder: Path, closed: str) -> None:
    command = f"'{sys.executable}' -m editinfinity --help {closed}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not done.stderr and done.returncode == 0


@pytest.mark.imports_itself
def test_names_that_no_encoding_has_are_printed(folder: Path) -> None:
    name = os.fsdecode(b"n\xc3\xa9 \xff\n.jpg")
    (folder / "my photo.jpg").rename(folder / name)
    strict = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for environment, printed in (
        (strict | {"PYTHONIOENCODING": "ascii:strict"}, b"n\xc3\xa9 \xff\\n"),
        ({"PYTHONIOENCODING": "cp1252:strict"}, b"n\xe9 "),
        ({"PYTHONIOENCODING": "utf-8:strict"}, b"n\xc3\xa9 \xff\\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "editinfinity", "preview", name, "--box", "9,9,60,60"],
            cwd=folder,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(printed) and done.stdout.count(b"\n") == 1
        refused = subprocess.run(
            [sys.executable, "-m", "editinfinity", "show", name],
            cwd=folder,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            check=False,
        )
        assert refused.stderr.startswith(b"editinfinity: n") and b"Error" not in refused.stderr
        assert refused.stderr.count(b"\n") == 1
