"""Photographs and masks that are not what they should be."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from editinfinity.files.images import read_image
from editinfinity.files.masks import read_mask
from tests.bad_input.corpus import SIZE, Accepted, Bad, photograph

LINE, RIGHT, EITHER = Accepted.LINE, Accepted.RIGHT, Accepted.EITHER
JPG = "image/original_image.jpg"
MASK = "image/mask.png"
NEAR = ("Mask.PNG", "mask (1).png")


def encoded(kind: str, picture: Image.Image | None = None, **options: object) -> bytes:
    """A picture's file."""
    target = io.BytesIO()
    (picture or photograph()).save(target, kind, **options)
    return target.getvalue()


def as_image(ending: str, data: bytes | Callable[[], bytes]) -> Callable[[Path], None]:
    """Put these bytes in place of the photograph."""

    def spoil(case: Path) -> None:
        (case / JPG).unlink()
        content = data() if callable(data) else data
        (case / "image" / f"original_image.{ending}").write_bytes(content)

    return spoil


def as_mask(data: bytes | Callable[[], bytes]) -> Callable[[Path], None]:
    """Put these bytes in place of the mask."""

    def spoil(case: Path) -> None:
        (case / MASK).write_bytes(data() if callable(data) else data)

    return spoil


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def shows(expected: Callable[[], Image.Image], tolerance: float = 6) -> Callable[[Path], None]:
    """The case's photograph is read as this picture, but for what compression changes."""

    def look(case: Path) -> None:
        (path,) = (case / "image").glob("original_image.*")
        found, right = read_image(path), expected().convert("RGB")
        assert found.size == right.size
        difference = np.abs(np.asarray(found, float) - np.asarray(right, float)).mean()
        assert difference < tolerance, difference

    return look


def marks(expected: Callable[[], np.ndarray]) -> Callable[[Path], None]:
    """The case's mask edits exactly these pixels."""

    def look(case: Path) -> None:
        found = read_mask(case / MASK, (SIZE[1], SIZE[0]))
        assert np.array_equal(found, expected())

    return look


def centre() -> np.ndarray:
    """What a sound case's mask edits."""
    edited = np.zeros((SIZE[1], SIZE[0]), bool)
    edited[16:48, 20:60] = True
    return edited


def centre_mask() -> Image.Image:
    return Image.fromarray(np.where(centre(), 0, 255).astype(np.uint8))


def nothing() -> np.ndarray:
    return np.zeros((SIZE[1], SIZE[0]), bool)


def everything() -> np.ndarray:
    return ~nothing()


def grey() -> Image.Image:
    return photograph().convert("L")


def cut_out() -> Image.Image:
    """Its right half is transparent."""
    picture = photograph().convert("RGBA")
    picture.paste((0, 0, 0, 0), (SIZE[0] // 2, 0, *SIZE))
    return picture


def over_white() -> Image.Image:
    ground = Image.new("RGBA", SIZE, "white")
    return Image.alpha_composite(ground, cut_out()).convert("RGB")


def sixteen_colours() -> tuple[Image.Image, int]:
    """The picture in a palette, and the number of a colour of its right half."""
    picture = photograph().quantize(16)
    return picture, int(np.asarray(picture)[0, -1])


def palette_with_transparency() -> bytes:
    picture, transparent = sixteen_colours()
    return encoded("PNG", picture, transparency=transparent)


def palette_over_white() -> Image.Image:
    picture, transparent = sixteen_colours()
    white = Image.new("RGB", SIZE, "white")
    return Image.composite(
        white, picture.convert("RGB"), Image.fromarray(np.asarray(picture) == transparent)
    )


def deep_grey() -> bytes:
    values = np.asarray(grey()).astype(np.uint16) * 257
    return encoded("PNG", Image.fromarray(values))


def deep_rgb() -> bytes:
    """16 bits a channel, which Pillow reads but does not write."""
    rows = np.asarray(photograph()).astype(">u2") * 257
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", *SIZE, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    )


def animated(kind: str) -> bytes:
    second = Image.new("RGB", SIZE, "red")
    return encoded(kind, save_all=True, append_images=[second], lossless=True)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return encoded("JPEG", photograph().rotate(-90, expand=True), exif=exif, quality=95)


def text_bomb() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 200_000_000, zip=True)
    return encoded("PNG", pnginfo=text)


def png_of(width: int, height: int) -> bytes:
    return encoded("PNG", Image.new("1", (width, height)))


def lying_png() -> bytes:
    """Says 30,000 × 30,000 and holds 80 × 64."""
    data = encoded("PNG")
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def oversize(path: Path, size: int = 3 * 2**30) -> None:
    """A file that takes no room but is long."""
    with path.open("r+b") as file:
        file.truncate(size)


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Replace one file by something that is none."""

    def spoil(case: Path) -> None:
        (case / name).unlink()
        make(case / name)

    return spoil


def linked_outside(name: str) -> Callable[[Path], None]:
    """Move a file out of the data folder and leave a link."""

    def spoil(case: Path) -> None:
        target = case.parents[1] / f"elsewhere{Path(name).suffix}"
        (case / name).rename(target)
        (case / name).symlink_to(target)

    return spoil


def lab_tiff() -> bytes:
    return encoded("TIFF", Image.new("LAB", SIZE, (100, 120, 130)))


IMAGES = (
    Bad("a truncated JPEG", as_image("jpg", half(encoded("JPEG"))), LINE, "original_image.jpg"),
    Bad("a truncated PNG", as_image("png", half(encoded("PNG"))), LINE, "original_image.png"),
    Bad("a truncated WebP", as_image("webp", half(encoded("WEBP"))), LINE, "original_image.webp"),
    Bad("an empty file", as_image("jpg", b""), LINE, "original_image.jpg"),
    Bad("a text called JPEG", as_image("jpg", b"not a picture"), LINE, "original_image.jpg"),
    Bad("PostScript called PNG", as_image("png", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        LINE, "original_image.png"),
    Bad("SVG called PNG", as_image("png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), LINE,
        "original_image.png"),
    Bad("a header and no more", as_image("png", encoded("PNG")[:33]), LINE, "original_image.png"),
    Bad("a PNG called JPEG", as_image("jpg", encoded("PNG")), RIGHT, right=shows(photograph)),
    Bad("a JPEG called PNG", as_image("png", encoded("JPEG")), RIGHT, right=shows(photograph)),
    Bad("a TIFF called JPEG", as_image("jpg", encoded("TIFF")), EITHER, "original_image.jpg",
        right=shows(photograph)),
    Bad("CMYK", as_image("jpg", encoded("JPEG", photograph().convert("CMYK"))), EITHER,
        "original_image.jpg", right=shows(photograph)),
    Bad("16-bit grey", as_image("png", deep_grey), EITHER, "original_image.png", right=shows(grey)),
    Bad("16-bit RGB", as_image("png", deep_rgb), EITHER, "original_image.png",
        right=shows(photograph)),
    Bad("a palette with transparency", as_image("png", palette_with_transparency), EITHER,
        "original_image.png", right=shows(palette_over_white)),
    Bad("transparency", as_image("png", encoded("PNG", cut_out())), EITHER, "original_image.png",
        right=shows(over_white)),
    Bad("grey", as_image("jpg", encoded("JPEG", grey())), RIGHT, right=shows(grey)),
    Bad("L*a*b*", as_image("png", lab_tiff), EITHER, "original_image.png"),
    Bad("an animated WebP", as_image("webp", lambda: animated("WEBP")), EITHER,
        "original_image.webp", right=shows(photograph)),
    Bad("an animated PNG", as_image("png", lambda: animated("PNG")), EITHER, "original_image.png",
        right=shows(photograph)),
    Bad("an animated GIF called PNG", as_image("png", lambda: animated("GIF")), EITHER,
        "original_image.png", right=shows(photograph, 12)),
    Bad("turned by EXIF", as_image("jpg", turned), EITHER, "original_image.jpg",
        right=shows(photograph)),
    Bad("nonsense for EXIF",
        as_image("jpg", encoded("JPEG", exif=b"Exif\0\0nonsense" + b"\xff" * 40)),
        EITHER, "original_image.jpg", right=shows(photograph)),
    Bad("nonsense for a colour profile",
        as_image("png", encoded("PNG", icc_profile=b"nonsense" * 9)),
        EITHER, "original_image.png", right=shows(photograph)),
    Bad("1 × 1", as_image("png", png_of(1, 1)), LINE, "original_image.png"),
    Bad("20000 × 10", as_image("png", png_of(20_000, 10)), LINE, "original_image.png"),
    Bad("10 × 20000", as_image("png", png_of(10, 20_000)), LINE, "original_image.png"),
    Bad("a decompression bomb", as_image("png", lambda: png_of(20_000, 10_000)), LINE,
        "original_image.png"),
    Bad("a bomb that lies", as_image("png", lying_png), LINE, "original_image.png"),
    Bad("a bomb in a comment", as_image("png", text_bomb), EITHER, "original_image.png",
        right=shows(photograph)),
    Bad("an oversize file", lambda case: oversize(case / JPG), LINE, "original_image.jpg"),
    Bad("no photograph", lambda case: (case / JPG).unlink(), LINE, "has no original_image"),
    Bad("no folder of images", lambda case: shutil.rmtree(case / "image"), LINE,
        "has no original_image"),
    Bad("two photographs", lambda case: (case / "image/original_image.png").write_bytes(
        encoded("PNG")), LINE, "original_image.jpg and original_image.png"),
    Bad("a folder for a photograph", in_place_of(JPG, Path.mkdir), LINE, "original_image.jpg"),
    Bad("a pipe for a photograph", in_place_of(JPG, os.mkfifo), LINE, "original_image.jpg"),
    Bad("a device for a photograph", in_place_of(JPG, lambda p: p.symlink_to("/dev/zero")), LINE,
        "original_image.jpg"),
    Bad("a link to nowhere", in_place_of(JPG, lambda p: p.symlink_to("gone.jpg")), LINE,
        "original_image.jpg"),
    Bad("a link to itself", in_place_of(JPG, lambda p: p.symlink_to(p.name)), LINE,
        "original_image.jpg"),
    Bad("a link to a secret", in_place_of(JPG, lambda p: p.symlink_to("/etc/passwd")), LINE,
        "original_image.jpg"),
    Bad("a photograph linked from elsewhere", linked_outside(JPG), EITHER, "original_image.jpg",
        right=shows(photograph)),
)  # fmt: skip

MASKS = (
    Bad("a mask of another shape", as_mask(encoded("PNG", Image.new("L", (64, 80)))), LINE,
        "mask.png"),
    Bad("a mask half the size", as_mask(encoded("PNG", centre_mask().resize((40, 32), 0))), EITHER,
        "mask.png", right=marks(centre)),
    Bad("a mask of one pixel", as_mask(png_of(1, 1)), LINE, "mask.png"),
    Bad("an all-white mask", as_mask(encoded("PNG", Image.new("L", SIZE, 255))), EITHER, "mask.png",
        right=marks(nothing)),
    Bad("an all-black mask", as_mask(encoded("PNG", Image.new("L", SIZE, 0))), EITHER, "mask.png",
        right=marks(everything)),
    Bad("a grey mask", as_mask(encoded("PNG", Image.new("L", SIZE, 130))), EITHER, "mask.png",
        right=marks(nothing)),
    Bad("a soft mask", as_mask(encoded("PNG", centre_mask().point(lambda v: 40 + v * 3 // 4))),
        EITHER, "mask.png", right=marks(centre)),
    Bad("a coloured mask", as_mask(encoded("PNG", centre_mask().convert("RGB"))), RIGHT,
        right=marks(centre)),
    Bad("a palette mask", as_mask(encoded("PNG", centre_mask().convert("P"))), RIGHT,
        right=marks(centre)),
    Bad("a 16-bit mask",
        as_mask(encoded("PNG", Image.fromarray(np.where(centre(), 0, 65535).astype(np.uint16)))),
        EITHER, "mask.png", right=marks(centre)),
    Bad("a transparent mask",
        as_mask(encoded("PNG", Image.new("RGBA", SIZE, (0, 0, 0, 0)))), EITHER, "mask.png",
        right=marks(nothing)),
    Bad("a truncated mask", as_mask(half(encoded("PNG", photograph()))), LINE, "mask.png"),
    Bad("an empty mask", as_mask(b""), LINE, "mask.png"),
    Bad("a text for a mask", as_mask(b"black in the middle"), LINE, "mask.png"),
    Bad("a bomb for a mask", as_mask(lambda: png_of(20_000, 10_000)), LINE, "mask.png"),
    Bad("an oversize mask", lambda case: oversize(case / MASK), LINE, "mask.png"),
    Bad("two near masks", in_place_of(MASK, lambda p: [
        p.with_name(name).write_bytes(encoded("PNG", centre_mask())) for name in NEAR]), LINE,
        "Mask.PNG and mask (1).png"),
    Bad("a near mask", lambda case: (case / MASK).rename(case / "image/Mask.PNG"), RIGHT),
    Bad("a pipe for a mask", in_place_of(MASK, os.mkfifo), LINE, "mask.png"),
    Bad("a device for a mask", in_place_of(MASK, lambda p: p.symlink_to("/dev/zero")), LINE,
        "mask.png"),
    Bad("a mask linked from elsewhere", linked_outside(MASK), EITHER, "mask.png",
        right=marks(centre)),
)  # fmt: skip
