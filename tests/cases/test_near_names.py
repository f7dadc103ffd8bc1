"""Files of a case, and config.yaml, whose names are nearly right: used and told, or only told."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from editinfinity.cases.case import Case
from editinfinity.cases.create import NewEdit, make_case
from editinfinity.cases.load import load_case, load_cases
from editinfinity.config.config_file import find_config_file
from editinfinity.config.load import ConfigError, load_config
from editinfinity.doctor.configuration import check_config
from editinfinity.errors import UserError
from tests.bad_input.corpus import photograph, require_clear
from tests.workflow.project import BARE, Project, draw_mask

IMAGE, PROMPT = "image/original_image.jpg", "prompt/edit_image_prompt.txt"
SOURCE = "prompt/original_image_prompt.txt"


def lay(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("text", encoding="utf-8")


def case_of(data: Path, *files: str, **settings: object) -> tuple[Case, tuple[str, ...]]:
    """(the case of these files, the notices)."""
    lay(data / "x", *files)
    config = load_config({"data": str(data), **settings})
    cases = load_cases(config)
    assert load_case(config, "x") == cases.by_name["x"], "a job decides otherwise than planning"
    return cases.by_name["x"], cases.notices


USED = [
    *[(f"image/{name}", "mask.png") for name in (
        "Mask.PNG", "MASK.png", "mask.png.png", "mask.PNG.png", "mask (1).png", "mask - Copy.png",
        "mask copy.png", "mask copy 2.png", "mask_copy.png", "mask kopie.png", "mask (copy).png",
        "Copy of mask.png", " mask.png", "mask .png", "mask.png ", "mask..png", "mask.jpg",
        "mask.JPEG", "mask.bmp", "mask.gif", "mask.webp", "mask.tif", "mask.jpg.png",
        "mask.TIFF", "mask.Avif", "mask.pbm",
    )],
    *[(f"image/{name}", "mask.edit.png") for name in (
        "mask.edit.PNG", "mask.Edit.png", "mask_edit.png", "mask-EDIT.png", "mask edit.png",
        "mask.edit.jpg", "mask.edit.png.png", "mask.edit (1).png",
    )],
    ("image/mask.JSON", "mask.json"),
    ("image/Mask.xml", "mask.xml"),
    ("image/mask.CSV", "mask.csv"),
    *[(f"image/{name}", "blend.npy") for name in (
        "Blend.npy", "blend.NPY", "blend (1).npy", "blend - Copy.npy", "blend.npy.npy",
    )],
    *[(f"image/{name}", "blend.png") for name in ("Blend.PNG", "blend (1).png", "blend_copy.png")],
    ("image/blend.SafeTensors", "blend.safetensors"),
    *[(f"image/{name}", "blend.edit.npy") for name in ("blend_edit.npy", "blend.Edit.npy")],
    ("image/Mask.txt.txt", "mask.txt"),
    *[(f"prompt/{name}", "target_word.txt") for name in (
        "target_word.txt.txt", "target_word.TXT", "Target_Word.txt", "target-word.txt",
        "target word.txt", "target_word", "target_word.text", "target_word.md",
        "target_word (2).txt", "target_word.txt (1).txt",
    )],
    ("prompt/target_word_edit.txt", "target_word.edit.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "right_name"), USED)
def test_a_slip_of_form_is_used_and_told(tmp_path: Path, file: str, right_name: str) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, SOURCE, file)
    edit = case.edits["edit"]
    assert tmp_path / "x" / file in (edit.mask, edit.blend, edit.target_word)
    (notice,) = notices
    assert notice.startswith(f"{tmp_path / 'x' / file}: is used as {right_name}; ")
    assert notice.endswith(f" {right_name}")
    assert case.faults == ()


@pytest.mark.parametrize(("file", "right_name"), USED)
def test_beside_the_right_file_a_slip_is_passed_over(
    tmp_path: Path, file: str, right_name: str
) -> None:
    right = f"{Path(file).parent}/{right_name}"
    case, notices = case_of(tmp_path, IMAGE, PROMPT, SOURCE, file, right)
    edit = case.edits["edit"]
    assert tmp_path / "x" / right in (edit.mask, edit.blend, edit.target_word)
    (notice,) = notices
    assert notice.startswith(f"{tmp_path / 'x' / file}: is not used, because {right_name} exists")
    assert case.faults == ()


def test_several_slips_for_one_place_are_a_fault(tmp_path: Path) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, SOURCE, "image/Mask.png", "image/mask (1).png")
    (line,) = case.faults
    assert "contains Mask.png and mask (1).png; keep one and rename it to mask.png" in line
    assert notices == ()
    case, _ = case_of(tmp_path / "two", IMAGE, PROMPT, "image/mask.edit.png", "image/mask.edit.txt")
    assert "contains mask.edit.png and mask.edit.txt; keep one" in case.faults[0]


UNUSED = [
    *[f"image/{name}" for name in (
        "maks.png", "masks.png", "msk.png", "mosk.png", "mask2.png", "Maks.PNG", "mask.edti.png",
        "maks.edit.png", "mask_final.png", "mask-2.png", "mask.psd", "mask.svg", "mask.edit.docx",
        "mask.png.txt", "mask.json.txt", "mask", "mask\n.png",
        "blned.npy", "blend.pt", "blend.jpg", "blend_2.npy", "blend.npy.png", "blend",
    )],
    *[f"prompt/{name}" for name in (
        "taget_word.txt", "target_wrod.txt", "targetword.txt", "target_words.txt",
        "target_word.docx", "target_word_2.txt",
    )],
]  # fmt: skip


@pytest.mark.parametrize("file", UNUSED)
def test_what_is_not_certain_is_told_and_the_case_not_edited_as_a_whole(
    tmp_path: Path, file: str
) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, SOURCE, file)
    edit = case.edits["edit"]
    assert (edit.mask, edit.blend, edit.target_word) == (None, None, None)
    (notice,) = notices
    assert Path(file).name.replace("\n", "\\n") in notice
    require_clear(notice, "is not used, ")
    assert case.faults == notices

    # Where everything is asked for, or the place is given, it is no fault.
    case, notices = case_of(tmp_path, mask_source="none")
    assert (len(notices), case.all_faults()) == (1, [])
    case, _ = case_of(tmp_path, "image/mask.txt", "prompt/target_word.txt")
    assert case.all_faults() == []


@pytest.mark.parametrize(
    ("file", "home"),
    [
        *[("mask.png", "image"), ("Mask.PNG", "image"), ("prompt/mask.json", "image")],
        *[("target_word.txt", "prompt"), ("image/target_word.txt", "prompt")],
        *[("blend.npy", "image"), ("image/original_image_prompt.txt", "prompt")],
    ],
)
def test_a_file_in_another_folder_of_the_case_is_told(tmp_path: Path, file: str, home: str) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, file)
    line = f"{tmp_path}/x/{file}: is not used, because it is not in {home}/; move it there"
    assert (notices, case.faults) == ((line,), (line,))
    case, notices = case_of(tmp_path, f"{home}/{Path(file).name}", mask_source="none")
    assert not any("is not in" in line for line in (*notices, *case.faults))


NOT_NEAR = [
    *[f"image/{name}" for name in (
        "old_mask.png", "old_2_mask.png", "._mask.png", ".mask.png", "mask.png~", "#mask.png#",
        ".mask.png.swp", "mask.png.bak", "weighted_tensor_heatmap.png", "original_image.json",
        "original_image.NEF", "original_image.jpg.xmp", "original_image_preview.png",
        "original_image_edited.jpg", "notes.txt", "Thumbs.db", "old_blend.npy", "blender.blend",
    )],
    *[f"prompt/{name}" for name in ("old_target_word.txt", "old_2_target_word.edit.txt", "a.txt")],
    *("splits/1.000_000001000.jsonl", "weight_tensor/weighted_tensor.pt", "readme.txt"),
    *("cross_attention_maps/attention_analysis.png", "each_scale_code/each_scale_code_0.pt"),
]  # fmt: skip


def test_what_others_leave_is_no_slip(tmp_path: Path) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, SOURCE, *NOT_NEAR, "image/mask/a.png")
    assert (notices, case.faults) == ((), ())
    assert case.edits["edit"].mask_source == "none"
    # Nor is the drawing that a mask was made of.
    case, notices = case_of(tmp_path, "image/mask.png", "image/mask.psd", "image/mask.png.json")
    assert (notices, case.faults) == ((), ())


@pytest.mark.parametrize(
    ("file", "right_name"),
    [
        ("original_image_prompt.TXT", "original_image_prompt.txt"),
        ("original_image_prompt.txt.txt", "original_image_prompt.txt"),
        ("Original-Image Prompt.txt", "original_image_prompt.txt"),
        ("original_image_prompt", "original_image_prompt.txt"),
        ("original_image_promt.txt", None),
        ("original_imag_prompt.txt", None),
        ("original_image_prompt.rtf", None),
    ],
)
def test_the_source_prompt(tmp_path: Path, file: str, right_name: str | None) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, f"prompt/{file}")
    (notice,) = notices
    assert file in notice
    used = right_name is not None
    assert case.source_prompt == (tmp_path / "x/prompt" / file if used else None)
    assert case.faults == (() if used else notices)


@pytest.mark.parametrize(
    ("file", "edits"),
    [
        ("edit_image_prompt.txt.txt", ["edit"]),
        ("edit_image_prompt (1).txt", ["edit"]),
        ("Edit_Image_Prompt.txt", ["edit"]),
        ("edit_image_prompt_2.txt", ["edit"]),
        ("edit_image_prompt-hat.txt", ["edit"]),
        ("edit_image_promt.hat.txt", ["edit"]),
        ("edit_image_prompt.docx", ["edit"]),
        ("edit_image_prompt.hat.TXT", ["edit", "hat"]),
        ("edit_image_prompt.hat.txt.txt", ["edit", "hat"]),
        ("edit-image-prompt.hat.txt", ["edit", "hat"]),
    ],
)
def test_prompts_of_edits(tmp_path: Path, file: str, edits: list[str]) -> None:
    case, notices = case_of(tmp_path, IMAGE, PROMPT, SOURCE, f"prompt/{file}")
    assert list(case.edits) == edits
    assert case.edits["edit"].prompt == tmp_path / "x" / PROMPT
    assert len(notices) == (file != "edit_image_prompt.docx")  # the draft of what is there
    assert all(str(tmp_path / "x/prompt" / file) in notice for notice in notices)
    if "hat" not in edits and "_2" not in file and "hat" not in file:
        (tmp_path / "x" / PROMPT).unlink()
        case, (notice,) = case_of(tmp_path)
        used = case.edits["edit"].prompt == tmp_path / "x/prompt" / file
        assert used == ("is used as edit_image_prompt.txt" in notice) == (".docx" not in file)


def test_masks_of_edits_with_names_much_alike(tmp_path: Path) -> None:
    prompts = [
        f"prompt/edit_image_prompt.{name}.txt" for name in ("1", "2", "Red Hat", "a b", "a.b")
    ]
    masks = [f"image/mask{name}.png" for name in (".1", ".3", "_2", ".red_hat", "-a-b")]
    case, notices = case_of(tmp_path, IMAGE, *prompts, *masks, SOURCE)
    found = {name: edit.mask and edit.mask.name for name, edit in case.edits.items()}
    assert found == {
        "1": "mask.1.png", "2": "mask_2.png", "Red Hat": "mask.red_hat.png", "a b": None,
        "a.b": None,
    }  # fmt: skip
    told = "\n".join(notices)
    assert "mask.3.png: is not used, because there is no edit 3; rename it to mask.png" in told
    assert "mask-a-b.png: is not used, because it may belong to several edits" in told
    assert len(notices) == 4
    assert ["mask-a-b.png" in line for line in case.faults] == [True]


@pytest.mark.parametrize(
    "file", ["original_image.jpg.jpg", "Original_Image.png", "original-image.tif"]
)
def test_the_photograph(tmp_path: Path, file: str) -> None:
    case, notices = case_of(tmp_path, f"image/{file}", PROMPT, SOURCE)
    assert case.image == tmp_path / "x/image" / file
    assert (len(notices), case.faults) == (1, ())


def test_a_photograph_of_another_format_is_named(tmp_path: Path) -> None:
    case, (notice,) = case_of(tmp_path, "image/original_image.NEF", PROMPT, SOURCE)
    assert "original_image.NEF: is not used, because files that end in .NEF cannot" in notice
    assert ["has no original_image" in line for line in case.faults] == [True]


def test_a_new_mask_takes_the_place_of_a_nearly_right_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data" / "x"
    photograph().save(tmp_path / "photo.png")
    make_case(folder, tmp_path / "photo.png", "a dog", {"edit": NewEdit("a cat")})
    draw_mask(folder / "image" / "mask (1).png", 24)
    content = (folder / "image" / "mask (1).png").read_bytes()

    with pytest.raises(UserError, match=r"mask \(1\)\.png: is a mask of this edit"):
        word = NewEdit("a cat", target_word="dog")
        make_case(folder, tmp_path / "photo.png", None, {"edit": word})
    with caplog.at_level(logging.WARNING):
        make_case(folder, tmp_path / "photo.png", None, {"edit": NewEdit("a hat")})
        assert "mask (1).png: still limits where to edit" in caplog.text
        box = NewEdit("a hat", box="0,0,9,9")
        make_case(folder, tmp_path / "photo.png", None, {"edit": box})
        draw_mask(tmp_path / "mine.png", 30)
        mine = NewEdit("a hat", mask=tmp_path / "mine.png")
        make_case(folder, tmp_path / "photo.png", None, {"edit": mine})
    assert (folder / "image" / "old_mask (1).png").read_bytes() == content
    case, notices = case_of(tmp_path / "data")
    assert case.edits["edit"].mask == folder / "image" / "mask.png"
    assert (notices, case.faults) == ((), ())


@pytest.mark.parametrize(
    "name",
    ["config.yml", "Config.yaml", "config.YAML", "config.yaml.txt", "config.yaml.yaml",
     "config (1).yaml", "config", "config - Copy.yaml"],
)  # fmt: skip
def test_config_yaml(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("model: tiny\n", encoding="utf-8")
    lay(tmp_path, "config.json", "config.toml", "old_config.yaml", "configuration.txt")
    path, (notice,) = find_config_file(tmp_path)
    assert path == tmp_path / name
    assert f"{name}: is used as config.yaml; " in notice
    config, findings = check_config(tmp_path)
    assert config is not None
    assert config.settings["model"] == "tiny"
    assert any(finding.text == notice for finding in findings)

    (tmp_path / "config.yaml").write_text("", encoding="utf-8")
    path, (notice,) = find_config_file(tmp_path)
    assert path == tmp_path / "config.yaml"
    assert f"{name}: is not used, because config.yaml exists" in notice


def test_config_yaml_that_cannot_be_told(tmp_path: Path) -> None:
    assert find_config_file(tmp_path) == (tmp_path / "config.yaml", [])
    (tmp_path / "confg.yaml").touch()
    with pytest.raises(ConfigError, match=r"confg\.yaml: is not used.*; rename it"):
        find_config_file(tmp_path)
    (tmp_path / "config.yaml").touch()
    assert find_config_file(tmp_path) == (tmp_path / "config.yaml", [])
    (tmp_path / "config.yaml").rename(tmp_path / "config.yml")
    (tmp_path / "Config.yaml").touch()
    with pytest.raises(ConfigError, match=r"contains Config\.yaml and config\.yml; keep one"):
        find_config_file(tmp_path)


@pytest.mark.slow
def test_a_run_tells_slips_and_edits_none_as_a_whole(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    (project.folder / "config.yaml").rename(project.folder / "config.yml")
    for name, mask in (("used", "Mask.PNG"), ("misspelt", "maks.png")):
        folder = project.add_case(name, mask=True)
        (folder / "image" / "mask.png").rename(folder / "image" / mask)
    run = project.run("--resources", "gpu=1", status=1)
    rows = dict(re.findall(r"^(\w+) +edit +(failed|edited|not made) ", run.stdout, re.M))
    assert rows == {"used": "edited", "misspelt": "failed"}
    told = (
        "config.yml: is used as config.yaml; rename it to config.yaml",
        "data/used/image/Mask.PNG: is used as mask.png; rename it to mask.png",
        "data/misspelt/image/maks.png: is not used, because its name looks like a misspelt",
    )
    for line in told:
        assert line in run.stderr.partition("Building DAG")[0]
        assert line in run.stdout
    made = project.folder / "results" / "used"
    assert (made / "mask" / "edit" / "kernel-linear.safetensors").exists()

    # Nor is all drawn anew where a mask loses its name after the case was checked.
    image = project.folder / "data" / "used" / "image"
    (image / "Mask.PNG").rename(image / "maks.png")
    run = project.run("--resources", "gpu=1", "--config", "cases=[used]", status=1)
    assert re.search(r"^used +edit +failed .*maks\.png: is not used", run.stdout, re.M)
