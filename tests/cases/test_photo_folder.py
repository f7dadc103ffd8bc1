"""Which files of a folder are photographs, which are their masks, and which are neither."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from editinfinity.cases.create import case_name
from editinfinity.cases.photo_folder import (
    OTHER_MASK_ENDINGS,
    Found,
    MaskFolder,
    assign_masks,
    find_photographs,
)
from editinfinity.names import why_unusable
from tests.cases.nobody import as_nobody

Make = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def draw(path: Path, format: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), "red").save(path, format)
    return path


def names(found: Found) -> list[str]:
    return [str(photograph.folder / photograph.path.name) for photograph in found.photographs]


def reasons(found: Found) -> dict[str, tuple[bool, str]]:
    return {file.path.name: (file.is_fault, file.reason) for file in found.unedited}


def test_every_picture_is_found_whatever_its_format_and_the_case_of_its_ending(
    photos: Path,
) -> None:
    for name in ("a.JPG", "b.jfif", "c.bmp", "d.gif", "e.ppm", "f.WebP"):
        draw(photos / name, {".jfif": "JPEG", ".JPG": "JPEG"}.get(Path(name).suffix))
    draw(photos / "g", "PNG")  # without an ending
    for name in ("h.HEIC", "i.nef", "j.jxl", "k.psd"):  # what opening them says is told later
        (photos / name).write_bytes(b"?")
    for name in ("clip.mp4", "notes.txt", "a.xmp", "Thumbs.db", "a.json", "README"):
        (photos / name).write_bytes(b"P3 BM II*")
    found = find_photographs(photos, recursive=False)
    assert names(found) == [
        "a.JPG", "b.jfif", "c.bmp", "d.gif", "e.ppm", "f.WebP", "g",
        "h.HEIC", "i.nef", "j.jxl", "k.psd",
    ]  # fmt: skip
    assert not found.unedited and not found.hidden


def test_hidden_files_and_pictures_with_other_endings_are_named_but_not_edited(
    photos: Path,
) -> None:
    for name in ("one.jpg", ".trashed-17-two.jpg", ".Spotlight-V100/three.jpg"):
        draw(photos / name)
    (photos / "._one.jpg").write_bytes(b"Mac OS X")
    draw(photos / "one.jpg_original", "JPEG")
    found = find_photographs(photos, recursive=True)
    assert names(found) == ["one.jpg"]
    assert [path.name for path in found.hidden] == ["._one.jpg", ".trashed-17-two.jpg"]
    is_fault, reason = reasons(found)["one.jpg_original"]
    assert not is_fault and "its name ends in .jpg_original; rename it" in reason


def test_a_folder_named_like_a_photograph_is_told_unless_it_is_searched(photos: Path) -> None:
    draw(photos / "album.jpg" / "one.jpg")
    found = find_photographs(photos, recursive=False)
    assert reasons(found)["album.jpg"][0] and found.unsearched == 1
    assert "is a folder, not a file; to edit what is in it" in reasons(found)["album.jpg"][1]
    found = find_photographs(photos, recursive=True)
    assert names(found) == ["album.jpg/one.jpg"] and not found.unedited


def test_subfolders_are_searched_once_and_neither_results_nor_waste_baskets(photos: Path) -> None:
    for name in (
        "z.jpg",
        "b/y.jpg",
        "b/c/x.jpg",
        "out/z.jpg",
        "@eaDir/z.jpg",
        ".editinfinity/z.jpg",
    ):
        draw(photos / name)
    (photos / "b" / "loop").symlink_to("..")
    (photos / "a").symlink_to("b")  # the folder itself comes first, not what links to it
    (photos / "out2").symlink_to("out")
    other = draw(photos.parent / "other" / "w.jpg")
    (photos / "linked").symlink_to(other.parent)
    (photos / "self").symlink_to("self")
    found = find_photographs(photos, True, [photos / "out", photos / "missing"])
    assert names(found) == ["z.jpg", "b/y.jpg", "b/c/x.jpg", "linked/w.jpg"]
    # A folder to leave out that contains the photographs' folder does not stop the search.
    assert names(find_photographs(photos / "b", True, [photos])) == ["y.jpg", "c/x.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(photos: Path) -> None:
    draw(photos / "one.jpg")
    (photos / "closed").mkdir(mode=0o700)
    with as_nobody(photos):
        found = find_photographs(photos, recursive=True)
    assert names(found) == ["one.jpg"]
    assert "cannot be listed (Permission denied)" in reasons(found)["closed"][1]


@pytest.mark.parametrize(
    "mask", ["one_mask.png", "one.mask.png", "one-Mask.jpg", "one mask.webp", "ONE_masks.bmp",
             "one.jpg_mask.png", "one_mask.json", "one.mask.txt",
             "one_mask.xml", "one_mask.csv"],
)  # fmt: skip
def test_a_mask_beside_its_photograph_is_used_and_not_edited(photos: Path, mask: str) -> None:
    draw(photos / "one.jpg")
    draw(photos / "two.jpg")
    if Path(mask).suffix in OTHER_MASK_ENDINGS:
        (photos / mask).write_text("1,1,2,2")
    else:
        draw(photos / mask)
    found = find_photographs(photos, recursive=False)
    assign_masks(found, lambda photograph: found.masks_beside.get(photograph.path, []))
    assert {p.path.name: p.mask for p in found.photographs} == {
        "one.jpg": photos / mask, "two.jpg": None
    }  # fmt: skip
    assert not any(file.is_fault for file in found.unedited)


def test_what_only_looks_like_a_mask_is_told_or_edited(photos: Path) -> None:
    for name in ("one.jpg", "mask.png", "one_edited.jpg", "one_edited_2.png", "one_preview.png",
                 "one_mask.png", "one_mask_2.png",
                 "carnival_mask.jpg", "masks of venice.jpg", "two_edited.jpg"):  # fmt: skip
        draw(photos / name)
    found = find_photographs(photos, recursive=False)
    assert names(found) == [
        "carnival_mask.jpg", "masks of venice.jpg", "one.jpg", "two_edited.jpg",
    ]  # fmt: skip
    told = reasons(found)
    assert set(told) == {
        "mask.png", "one_edited.jpg", "one_edited_2.png", "one_preview.png", "one_mask.png",
        "one_mask_2.png",
    }  # fmt: skip
    assert f"--masks {photos}/mask.png" in told["mask.png"][1]
    assert "that of a file made from one.jpg; rename it" in told["one_preview.png"][1]
    assert not any(is_fault for is_fault, _ in told.values())


def test_a_folder_of_masks_mirrors_that_of_the_photographs(photos: Path, tmp_path: Path) -> None:
    accent = "caf\u00e9.jpg"
    for name in ("a.jpg", "sub/a.jpg", "sub/b.jpg", "c.jpg", "d.jpg", "D.jpg", "e.jpg", "e.png",
                 "f.jpg", accent):  # fmt: skip
        draw(photos / name)
    masks = tmp_path / "masks"
    for name in ("a.png", "sub/a.webp", "C_mask.png", "d.png", "D.PNG", "e.jpg.png", "e.png.png",
                 "f.png", "f.bmp", unicodedata.normalize("NFD", "caf\u00e9.png")):  # fmt: skip
        draw(masks / name)
    draw(masks / "._a.png", "PNG")
    found = find_photographs(photos, True, [masks])
    assign_masks(found, MaskFolder(masks, found.photographs).masks_of, needed_in=masks)
    used = {str(p.path.relative_to(photos)): str(p.mask and p.mask.relative_to(masks))
            for p in found.photographs}  # fmt: skip
    assert unicodedata.normalize("NFC", used.pop(accent)) == "caf\u00e9.png"
    assert used == {
        "a.jpg": "a.png", "sub/a.jpg": "sub/a.webp", "c.jpg": "C_mask.png", "d.jpg": "d.png",
        "D.jpg": "D.PNG", "e.jpg": "e.jpg.png", "e.png": "e.png.png",
    }  # fmt: skip
    told = reasons(found)
    assert told["b.jpg"] == (
        False, f"{photos}/sub/b.jpg: is not edited, as it has no mask in {masks}"
    )  # fmt: skip
    assert told["f.jpg"][0] and "has several masks" in told["f.jpg"][1]


def test_a_subfolder_of_masks_is_found_in_any_spelling(photos: Path, tmp_path: Path) -> None:
    masks, folder = tmp_path / "masks", "caf\u00e9"
    draw(photos / folder / "a.jpg")
    mask = draw(masks / unicodedata.normalize("NFD", folder) / "a.png")
    found = find_photographs(photos, True)
    assign_masks(found, MaskFolder(masks, found.photographs).masks_of, needed_in=masks)
    assert [photograph.mask for photograph in found.photographs] == [mask]


def test_an_unreadable_subfolder_of_masks_stops_no_other(photos: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    for name in ("a.jpg", "sub/b.jpg", "zoo/c.jpg"):
        draw(photos / name)
    draw(masks / "a.png")
    draw(masks / "zoo" / "c.png")
    (masks / "sub").write_text("")
    found = find_photographs(photos, True)
    assign_masks(found, MaskFolder(masks, found.photographs).masks_of, needed_in=masks)
    assert names(found) == ["a.jpg", "zoo/c.jpg"]
    assert reasons(found) == {
        "b.jpg": (
            True,
            f"{photos}/sub/b.jpg: is not edited; {masks}/sub: cannot be listed (Not a directory); "
            "allow reading it",
        )
    }


def test_masks_in_the_folder_of_the_photographs_are_never_other_photographs(photos: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg", "b_mask.png", "c.jpg"):
        draw(photos / name)
    (photos / "c.json").write_text("{}")
    found = find_photographs(photos, False, [photos])  # as the folder of the masks
    assign_masks(found, MaskFolder(photos, found.photographs).masks_of, needed_in=photos)
    assert {p.path.name: p.mask for p in found.photographs} == {
        "b.jpg": photos / "b_mask.png", "c.jpg": photos / "c.json"
    }  # fmt: skip


def test_one_mask_for_all_is_not_edited_itself(photos: Path) -> None:
    draw(photos / "a.jpg")
    mask = draw(photos / "region.png")
    found = find_photographs(photos, False)
    assign_masks(found, lambda photograph: [mask])
    assert {p.path.name: p.mask for p in found.photographs} == {"a.jpg": mask}
    assert not reasons(found)["region.png"][0]


@pytest.mark.parametrize(
    "stem",
    ["x <final> {y}", "\U0001f408" * 70, "a" * 250, "ab" * 40, "..", "a/b"[:1], " ", "\udcff"],
)
def test_every_photograph_has_the_name_of_a_case(stem: str) -> None:
    name = case_name(Path("photos") / f"{stem}.jpg")
    assert why_unusable(name) is None
    assert name != case_name(Path("photos") / f"{stem}.png")
