"""What made a picture travels in it, in every format; hostile texts and ``provenance: 0``."""

from __future__ import annotations

import html
import io
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from editinfinity.environment import Environment
from editinfinity.files.edited_picture import EditedPicture
from editinfinity.files.metadata import NAMESPACE, PARAMETERS_KEY, Metadata, with_settings
from editinfinity.files.photograph import Photograph, photograph_of, read_photograph
from editinfinity.files.provenance import Fingerprint, Provenance, parameters_of, settings_used
from editinfinity.files.writing import FORMATS, encode_photograph, read_settings, write_photograph
from editinfinity.settings.groups import SETTINGS
from editinfinity.settings.guidance import with_defaults

DEFAULTS: dict[str, Any] = {
    key: value[0] if isinstance(value := setting.default, tuple) and setting.sweep else value
    for key, setting in SETTINGS.items()
}
DEFAULTS = with_defaults({**DEFAULTS, "guidance": "cfg"})
SHA = "0123456789abcdef" * 4
MADE = Provenance(
    prompt="ein Café, Steps: 3, Seed: 99",
    settings=settings_used({**DEFAULTS, "method": "training_free"}, "user", 0, 0, 0),
    source_prompt="a bar",
    photograph=Fingerprint(SHA, 5),
    mask=Fingerprint(SHA, 7),
    weights="bundled weights=0123",
    environment=Environment("cpu", 2, "torch 2.9"),
)
PHOTOGRAPH = Photograph(Image.new("RGB", (48, 32), "tan"))
ENDINGS = [ending for ending in FORMATS if ending not in (".jpe", ".jfif", ".heif", ".hif")]


def usual_grammar(text: str) -> tuple[str, str, dict[str, str]]:
    """Read parameters as image tools do: (prompt, negative prompt, fields of the last line)."""
    *lines, last = text.strip().split("\n")
    fields = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    assert len(fields) >= 3
    negative = [line.removeprefix("Negative prompt:") for line in lines[1:]]
    return lines[0], "\n".join(negative).strip(), dict(fields)


def parameters_in(content: bytes) -> str:
    """Read the line of parameters of a picture as image tools do."""
    with Image.open(io.BytesIO(content)) as picture:
        if picture.format == "PNG":
            return str(picture.info[PARAMETERS_KEY])
        comment = picture.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment[:8] == b"UNICODE\0"
    return bytes(comment[8:]).decode("utf-16-be")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_says_what_made_a_picture_and_other_tools_read_it(ending: str) -> None:
    path = Path(f"a{ending}")
    content = encode_photograph(path, PHOTOGRAPH, MADE.to_json())
    prompt, negative, fields = usual_grammar(parameters_in(content))
    assert (prompt, negative) == (MADE.prompt, "a bar")
    assert fields == {
        "Steps": "7", "CFG scale": "4", "Seed": "42", "Size": "48x32", "Model": "bundled",
        "Version": "editinfinity",
    }  # fmt: skip
    assert content == encode_photograph(path, PHOTOGRAPH, MADE.to_json())


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_provenance_no_trace_is_left_even_of_an_earlier_edit(
    ending: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    taken = replace(PHOTOGRAPH, metadata=Metadata(exif.tobytes()))
    write_photograph(tmp_path / f"first{ending}", taken, MADE.to_json())
    earlier = read_photograph(tmp_path / f"first{ending}")
    content = encode_photograph(Path(f"second{ending}"), earlier)
    for word in ("editinfinity", "Café", "Steps", "bundled", SHA):
        for encoding in ("utf-8", "utf-16-be", "utf-16-le", "latin-1"):
            assert word.encode(encoding) not in content, (word, encoding)
    assert b"Maker" in content
    # With it, the earlier one is replaced.
    other = replace(MADE, prompt="a second")
    content = encode_photograph(Path(f"second{ending}"), earlier, other.to_json())
    assert "Café".encode("utf-16-be") not in content and "Café".encode() not in content
    assert parameters_in(content).startswith("a second\n")


@pytest.mark.parametrize(
    "description",
    [
        "<rdf:Description rdf:about='' xmlns:editinfinity=\"{ns}\" xmlns:xmp='x' xmp:Rating=\"5\" "
        'editinfinity:settings="{text}"/>',
        "<rdf:Description rdf:about='' xmlns:editinfinity='{ns}' xmlns:xmp='x'>\n"
        " <xmp:Rating>5</xmp:Rating>\n <editinfinity:settings>{text}</editinfinity:settings>\n"
        "</rdf:Description>",
    ],
)
def test_a_picture_that_another_program_has_saved(description: str, tmp_path: Path) -> None:
    """Such programs put XMP into other forms, and EXIF into another order of bytes."""
    found = description.format(ns=NAMESPACE, text=html.escape(MADE.to_json()))
    comment = b"UNICODE\0" + MADE.parameters((32, 48)).encode("utf-16-le")
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: comment}
    xmp = with_settings(None, "{}").decode()
    begin, end = xmp.index("<rdf:Description"), xmp.index("</rdf:RDF>")
    xmp = xmp[:begin] + found + xmp[end:]
    PHOTOGRAPH.picture().save(tmp_path / "a.jpg", exif=exif.tobytes(), xmp=xmp.encode())
    assert read_settings(tmp_path / "a.jpg") == MADE.to_json()
    earlier = read_photograph(tmp_path / "a.jpg")
    content = encode_photograph(Path("b.jpg"), earlier)
    for word in ("editinfinity", "Café", "Steps"):
        for encoding in ("utf-8", "utf-16-be", "utf-16-le"):
            assert word.encode(encoding) not in content, (word, encoding)
    assert b"Rating" in content
    write_photograph(tmp_path / "c.jpg", earlier, replace(MADE, prompt="a second").to_json())
    assert (tmp_path / "c.jpg").read_bytes().count(b"editinfinity:settings>") == 2
    assert "a second" in (read_settings(tmp_path / "c.jpg") or "")


def test_a_photographs_own_comment_is_kept() -> None:
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: b"ASCII\0\0\0at the lake"}
    taken = replace(PHOTOGRAPH, metadata=Metadata(exif.tobytes()))
    for settings in (MADE.to_json(), None):
        content = encode_photograph(Path("a.jpg"), taken, settings)
        assert b"at the lake" in content and "Steps".encode("utf-16-be") not in content
    blank = Image.Exif()
    blank[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: b"\0" * 40}
    taken = replace(PHOTOGRAPH, metadata=Metadata(blank.tobytes()))
    assert "Steps" in parameters_in(encode_photograph(Path("a.jpg"), taken, MADE.to_json()))


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".tif"])
def test_the_line_of_parameters_changes_no_other_exif(ending: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.ExposureTime: 0.004, ExifTags.Base.ISOSpeedRatings: 200, 37500: b"note",
        ExifTags.Base.LensSpecification: (24.0, 70.0, 2.8, 4.0),
        ExifTags.IFD.Interop: {1: "R98", 2: b"0100"},
    }  # fmt: skip
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 31.0, 12.5)}
    taken = replace(PHOTOGRAPH, metadata=Metadata(exif.tobytes()))
    found = []
    for settings in ('{"seed": 1}', MADE.to_json(), None):
        write_photograph(tmp_path / f"a{ending}", taken, settings)
        taken = read_photograph(tmp_path / f"a{ending}")
        with Image.open(tmp_path / f"a{ending}") as picture:
            tags = picture.getexif()
            sub = tags.get_ifd(ExifTags.IFD.Exif)
            found.append([dict(tags.get_ifd(ifd)) for ifd in (ExifTags.IFD.Interop, 0x8825)])
            found[-1] += [tags[ExifTags.Base.Make], {k: v for k, v in sub.items() if k != 40965}]
    plain, told, removed = found
    assert told[-1].pop(ExifTags.Base.UserComment)[:7] == b"UNICODE"
    assert plain == told == removed and told[0] and told[1] and told[-1][37500] == b"note"


def test_a_long_exif_is_worth_more_than_the_line_of_parameters(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {37500: b"note" * 16_370}
    taken = replace(PHOTOGRAPH, metadata=Metadata(exif.tobytes()))
    write_photograph(tmp_path / "a.jpg", taken, MADE.to_json())
    content = (tmp_path / "a.jpg").read_bytes()
    assert b"note" * 100 in content and "Steps".encode("utf-16-be") not in content
    assert read_settings(tmp_path / "a.jpg") == MADE.to_json()


def test_a_text_is_read_back_and_only_what_is_valid_is_taken() -> None:
    assert Provenance.from_json(MADE.to_json()) == (MADE, [])
    values = json.loads(MADE.to_json())
    assert "training_environment" not in values  # so it has the bytes of an earlier version's
    elsewhere = replace(MADE, training_environment=Environment("cuda", 8, "torch 2.7"))
    assert Provenance.from_json(elsewhere.to_json()) == (elsewhere, [])
    hostile = {
        **values["settings"], "model_dir": "/etc", "data": "/", "worker": "off", "cfg": "much",
        "lpips_weights": "/x", "seed": [1, 2], "threads": 4000, "crop": "../..",
        "a\nb": 1, "device": "cuda:7",
    }  # fmt: skip
    read = Provenance.from_json(json.dumps({**values, "settings": hostile, "more": 1}))
    assert read is not None
    assert set(read[1]) == {
        "model_dir", "data", "worker", "cfg", "lpips_weights", "seed", "threads", "crop", "a\nb",
        "device",
    }  # fmt: skip
    assert read[0].settings == {
        key: value for key, value in MADE.settings.items() if key not in ("cfg", "seed", "crop")
    }
    assert parameters_of(json.dumps({**values, "settings": hostile}), (3, 4)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": 3}, {"prompt": "a\ud800"}, {"prompt": "a" * 20_000}, {"source_prompt": None},
        {"settings": []}, {"settings": None}, {"box": "1,2,3"}, {"box": "1,2,3,4\n/etc/passwd"},
        {"photograph": {"sha256": "../x", "size": 1}}, {"mask": "x"}, {"environment": {}},
        {"environment": {"device": "cpu", "threads": "many", "versions": ""}},
        {"environment": {"device": "cpu", "threads": float("inf"), "versions": ""}},
        {"photograph": {"sha256": SHA, "size": float("inf")}},
    ],
)  # fmt: skip
def test_a_damaged_text_is_none(change: dict[str, Any]) -> None:
    assert Provenance.from_json(json.dumps({**json.loads(MADE.to_json()), **change})) is None


@pytest.mark.parametrize("text", [None, "", "no", "[]", "3", "{}", "[" * 100_000, "1" * 2**21])
def test_a_text_of_something_else_is_none(text: str | None) -> None:
    assert Provenance.from_json(text) is None and parameters_of(text, (1, 1)) is None


def test_only_settings_that_a_picture_depends_on_are_recorded() -> None:
    inversion = settings_used(DEFAULTS, "attention", 10, 50, 10)
    assert inversion["train_lora_iter"] == 50 and inversion["train_textembedding_iter"] == 10
    assert inversion["attention_scales"] == "all" and "mask_grow" not in inversion
    assert "use_embedding_iter" not in inversion and "deterministic" not in inversion
    # A point of a sweep: an earlier checkpoint, drawn without the embedding that it learned on.
    swept = settings_used({**DEFAULTS, "train_lora_iter": 80}, "none", 0, 20, 10)
    assert not swept["use_concat_embedding"] and swept["use_textembedding"]
    assert (swept["train_textembedding_iter"], swept["train_lora_iter"]) == (10, 20)
    mixed = settings_used(DEFAULTS, "none", 20, 50, 10)
    assert (mixed["train_textembedding_iter"], mixed["use_textembedding_iter"]) == (20, 10)
    editmod = settings_used({**DEFAULTS, "method": "editmod"}, "both", 0, 0, 0)
    assert editmod["editmod_confidence"] == 0.95 and editmod["prompt_map_grow"] == 1
    assert editmod.keys().isdisjoint({"lora_rank", "train_seed", "aredit_threshold", "guidance"})


def test_a_file_is_found_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    fingerprint = Fingerprint.of_file(tmp_path / "a")
    assert fingerprint == Fingerprint.of(b"first") and fingerprint.matches(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"other")
    assert not fingerprint.matches(tmp_path / "a")
    assert not fingerprint.matches(tmp_path) and not fingerprint.matches(tmp_path / "none")
    (tmp_path / "box.txt").write_text("-1  2, 3,4\n")
    boxed = MADE.with_mask_file(tmp_path / "box.txt")
    assert boxed.box == "-1 2, 3,4" and Provenance.from_json(boxed.to_json()) == (boxed, [])


# --- the picture of the Python API ----------------------------------------------------------------


@pytest.fixture
def taken(tmp_path: Path) -> Photograph:
    """A transparent photograph with EXIF, a profile and a resolution."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    picture = Image.new("RGBA", (48, 32), (200, 90, 10, 128))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(tmp_path / "a.png", exif=exif, dpi=(300, 300), icc_profile=profile)
    return photograph_of(Image.open(tmp_path / "a.png"))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_a_picture_is_saved_as_the_command_does(
    ending: str, taken: Photograph, tmp_path: Path
) -> None:
    write_photograph(tmp_path / f"command{ending}", taken, MADE.to_json())
    picture = EditedPicture.of(taken, MADE.to_json())
    wanted = (tmp_path / f"command{ending}").read_bytes()
    picture.save(str(tmp_path / f"python{ending}"))
    assert (tmp_path / f"python{ending}").read_bytes() == wanted
    buffer = io.BytesIO()
    picture.save(buffer, format=FORMATS[ending].lower())
    assert buffer.getvalue() == wanted
    with Image.open(tmp_path / f"python{ending}") as saved:
        assert saved.info["icc_profile"] == taken.profile and saved.getexif()[271] == "Maker"
    assert read_settings(tmp_path / f"python{ending}") == MADE.to_json()


def test_a_picture_is_like_any_other(taken: Photograph, tmp_path: Path) -> None:
    picture = EditedPicture.of(taken, MADE.to_json())
    picture.putpixel((0, 0), (1, 2, 3, 255))
    copied = pickle.loads(pickle.dumps(picture))
    for each in (picture, copied):
        each.save(tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as saved:
            assert saved.getpixel((0, 0)) == (1, 2, 3, 255) and saved.getexif()[271] == "Maker"
    assert type(picture.resize((9, 9))) is Image.Image
    picture.save(tmp_path / "a.gif")  # left to Pillow
    sizes = []
    for quality in (20, 95):
        picture.save(tmp_path / "a.jpg", quality=quality)
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
