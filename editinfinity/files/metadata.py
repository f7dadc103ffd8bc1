"""Picture metadata: EXIF, XMP, resolution, and the settings of the edit that made the picture.

The settings (``Provenance``) are stored as JSON: in a text chunk in PNG, and in an XMP property in
JPEG, WebP, TIFF, AVIF and HEIC. ``editinfinity show`` and ``again`` read them back. For other
tools, they are also written as a line of parameters: in a text chunk in PNG, else in EXIF.
"""

from __future__ import annotations

import html
import logging
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace

from PIL import ExifTags, Image

from editinfinity.errors import first_sentence
from editinfinity.files.provenance import PROGRAM
from editinfinity.files.xmp import without_lost_parts

log = logging.getLogger(__name__)

SETTINGS_KEY = "editinfinity"
"""Key of the PNG text chunk that holds the settings an image was made with."""

PARAMETERS_KEY = "parameters"
"""Key of the PNG text chunk with ``Provenance.parameters``; all image tools use this key."""

NAMESPACE = "urn:x-editinfinity:settings#"

_SETTINGS_PROPERTY = re.compile(
    r"(?<!\s)\s*<rdf:Description[^<>]{0,500}xmlns:editinfinity=[^<>]{0,500}>\s*"
    r"<editinfinity:settings>([^<]*)</editinfinity:settings>\s*</rdf:Description>"
)
"""The expressions here take time proportional to the length of any XMP, however hostile."""
_SETTINGS_OF_OTHERS = re.compile(
    r"""(?<!\s)\s*editinfinity:settings=("[^"]*"|'[^']*')|"""
    r"""(?<!\s)\s*xmlns:editinfinity=(?:"[^"]*"|'[^']*')|"""
    r"""<editinfinity:settings>([^<]*)</editinfinity:settings>"""
)
"""The settings as other programs write them, beside other properties."""
_INSERTION_POINT = re.compile(r"(?=</rdf:RDF>)")
_XMP_GPS = re.compile(
    r"""(?<!\s)\s*(?<![\w-])[\w-]{1,64}:G[Pp][Ss]\w{1,64}=("[^"]*"|'[^']*')|"""
    r"""<([\w-]{1,64}:G[Pp][Ss]\w{1,64})>[^<]*</\2>"""
)
"""GPS properties in XMP: those of EXIF, and those of drones (``drone-dji:GpsLatitude``)."""
_XMP_ORIENTATION = re.compile(
    rb"""(?<!\s)\s*tiff:Orientation=("[^"]*"|'[^']*')|"""
    rb"""<tiff:Orientation>[^<]*</tiff:Orientation>"""
)
"""The orientation in XMP. Without one in EXIF, viewers use it and would turn an upright picture."""
_EMPTY_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    '</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
)


@dataclass(frozen=True)
class Metadata:
    """EXIF and XMP as bytes, and the resolution in dots per inch (horizontal, vertical), or None.

    The EXIF has no orientation (the picture is upright) and gives the picture's own size. It has
    no thumbnail, which would show the picture before the edit. Neither describes parts of the file
    that an edit cannot keep, such as a gain map.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def without_settings(self) -> Metadata:
        """Return a copy without the settings of an earlier edit."""
        xmp, exif = self.xmp, self.exif
        if xmp is not None and b"editinfinity" in xmp:
            xmp = _without_property(xmp.decode("utf-8", "replace")).encode()
        if exif is not None:
            exif = without_parameters(exif)
        return replace(self, exif=exif, xmp=xmp)

    def without_location(self) -> Metadata:
        """Return a copy without the location where the picture was taken."""
        xmp = self.xmp
        if xmp is not None:
            xmp = _XMP_GPS.sub("", xmp.decode("utf-8", "replace")).encode()
        if self.exif is None:
            return replace(self, xmp=xmp)
        exif = Image.Exif()
        exif.load(self.exif)
        exif.pop(ExifTags.IFD.GPSInfo, None)
        return replace(self, exif=exif.tobytes(), xmp=xmp)


def metadata_of(image: Image.Image, name: str, notes: list[str]) -> Metadata:
    """Return the metadata of an upright picture that has just been opened.

    Args:
        image: result of ``open_picture``.
        name: its file name, for messages.
        notes: gets a message if some metadata have to be left out.
    """
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    with warnings.catch_warnings(action="ignore"):  # Pillow warns about entries that it skips
        exif = _exif_of(image, name)
    if not isinstance(xmp, bytes):
        return Metadata(exif, None, _dpi_of(image))
    cleaned = without_lost_parts(xmp)
    if cleaned is None:
        notes.append(f"{name}: its XMP is too large or damaged, and is left out")
        return Metadata(exif, None, _dpi_of(image))
    return Metadata(exif, _XMP_ORIENTATION.sub(b"", cleaned), _dpi_of(image))


def _dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Return the resolution in dots per inch; None if there is none, or none that makes sense."""
    try:
        if image.format in ("JPEG", "MPO") and not image.info.get("jfif_unit"):
            _ = image.getexif()[ExifTags.Base.XResolution]  # without it, Pillow returns 72
        horizontal, vertical = (round(float(value), 2) for value in image.info["dpi"])
    except Exception:  # EXIF may hold arbitrary bytes
        return None
    # A PNG stores dots per metre, so 300 dpi come back as 299.9994. JPEG has two bytes. Pillow
    # returns 1 for a TIFF without a resolution.
    return (
        (horizontal, vertical)
        if 2 <= min(horizontal, vertical) <= max(horizontal, vertical) <= 65535
        else None
    )


def _exif_of(image: Image.Image, name: str) -> bytes | None:
    try:
        exif = image.getexif()
        if not exif:
            return None
        exif.pop(ExifTags.Base.Orientation, None)
        exif_directory = exif.get_ifd(ExifTags.IFD.Exif)
        for tag, length in (
            (ExifTags.Base.ExifImageWidth, image.width),
            (ExifTags.Base.ExifImageHeight, image.height),
        ):
            if tag in exif_directory:
                exif_directory[tag] = length
        # The EXIF directory holds only the file offset of the Interop directory, which would be
        # wrong in a new file. So the offset is replaced by the directory's content.
        interop = {}
        with suppress(ValueError, KeyError):  # a negative offset; Pillow 11 without one
            interop = exif.get_ifd(ExifTags.IFD.Interop)
        exif_directory.pop(ExifTags.IFD.Interop, None)
        if interop:
            exif_directory[ExifTags.IFD.Interop] = interop
        if bytes(exif_directory.get(_MAKER_NOTE, b"")).startswith(b"Apple iOS"):
            del exif_directory[_MAKER_NOTE]  # its HDR gain map and its Live Photo's video
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        result = Image.Exif()
        result.update({tag: exif[tag] for tag in exif if tag not in _POINTERS | _STORAGE_TAGS})
        if exif_directory:
            result.get_ifd(ExifTags.IFD.Exif).update(exif_directory)
            result[ExifTags.IFD.Exif] = result.get_ifd(ExifTags.IFD.Exif)
        if gps:
            result[ExifTags.IFD.GPSInfo] = gps
        return result.tobytes()
    except Exception as error:  # EXIF may hold arbitrary bytes
        log.warning("%s: its EXIF cannot be read (%s) and is left out", name, first_sentence(error))
        return None


def with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """Return EXIF with the resolution added, unless it has one; for formats without a field."""
    tags = Image.Exif()
    tags.load(exif or b"")
    if ExifTags.Base.XResolution in tags:
        return exif or b""
    tags[ExifTags.Base.XResolution], tags[ExifTags.Base.YResolution] = dpi
    tags[ExifTags.Base.ResolutionUnit] = 2  # inches
    return tags.tobytes()


def with_parameters(exif: bytes | None, parameters: str) -> bytes | None:
    """Return EXIF with ``Provenance.parameters`` as its comment, where image tools look for them.

    A photograph that has a comment of its own keeps it.
    """
    tags = Image.Exif()
    tags.load(exif or b"")
    directory = tags.get_ifd(ExifTags.IFD.Exif)
    own = directory.get(ExifTags.Base.UserComment) or b""
    if not isinstance(own, bytes) or own[8:].strip(b"\0 "):
        return exif
    comment = _UNICODE_COMMENT + parameters.encode("utf-16-be")
    changed = {**directory, ExifTags.Base.UserComment: comment}
    if ExifTags.IFD.Interop in directory:  # the content, not its offset in the old file
        changed[ExifTags.IFD.Interop] = tags.get_ifd(ExifTags.IFD.Interop)
    tags[ExifTags.IFD.Exif] = changed
    return tags.tobytes()


def without_parameters(exif: bytes) -> bytes:
    """Return EXIF without a comment that ``with_parameters`` wrote."""
    tags = Image.Exif()
    tags.load(exif)
    directory = tags.get_ifd(ExifTags.IFD.Exif)
    comment = directory.get(ExifTags.Base.UserComment)
    if not isinstance(comment, bytes) or not comment.endswith(_PARAMETERS_ENDS):
        return exif
    directory.pop(ExifTags.Base.UserComment)
    if not directory:
        tags.pop(ExifTags.IFD.Exif, None)
    return tags.tobytes() if tags else b""


_UNICODE_COMMENT = b"UNICODE\0"
"""Begin of a comment in EXIF that is UTF-16, in the byte order of A1111's images."""

_PARAMETERS_ENDS = tuple(
    f", Version: {PROGRAM}".encode(encoding) for encoding in ("utf-16-be", "utf-16-le")
)
"""End of ``Provenance.parameters`` in EXIF; other programs may write it in their byte order."""


def without_maker_note(exif: bytes) -> bytes:
    """Return EXIF without the maker note, which is most of it in many photographs."""
    tags = Image.Exif()
    tags.load(exif)
    tags.get_ifd(ExifTags.IFD.Exif).pop(_MAKER_NOTE, None)
    return tags.tobytes()


_POINTERS = {int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo), int(ExifTags.IFD.Interop)}
_MAKER_NOTE = 37500
_STORAGE_TAGS = {
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290,
    291, 292, 293, 297, 301, 317, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 333, 334,
    336, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532,
    559, 700, 34665, 34675, 33723, 34377, 37724, 50255, 50838, 50839, 52545,
}  # fmt: skip
"""TIFF tags that describe how a file stores its pixels; a TIFF mixes them with its EXIF tags.

The last ones hold other content that is not of the edited picture: 37724 and 50255 Photoshop's
layers, 50838 and 50839 ImageJ's stacks, 52545 a signature (C2PA).
"""


def with_settings(xmp: bytes | None, settings: str) -> bytes:
    """Return an XMP packet with the settings added; those of an earlier edit are replaced.

    A packet that cannot be parsed is replaced.
    """
    text = _EMPTY_PACKET
    if xmp is not None:
        cleaned = _without_property(xmp.decode("utf-8", "replace"))
        if _INSERTION_POINT.search(cleaned):
            text = cleaned
    description = (
        f'<rdf:Description rdf:about="" xmlns:editinfinity="{NAMESPACE}"><editinfinity:settings>'
        f"{html.escape(settings, quote=False)}</editinfinity:settings></rdf:Description>\n"
    )
    return _INSERTION_POINT.sub(lambda _: description, text, count=1).encode()


def settings_in(image: Image.Image) -> str | None:
    """Return the settings stored in a picture, if any."""
    if SETTINGS_KEY in image.info:
        return str(image.info[SETTINGS_KEY])
    xmp = image.info.get("xmp")
    if isinstance(xmp, bytes):
        xmp = xmp.decode("utf-8", "replace")
    if isinstance(xmp, str):
        for match in _SETTINGS_OF_OTHERS.finditer(xmp):
            attribute, element = match.groups()
            if attribute or element:
                return html.unescape(attribute[1:-1] if attribute else element)
    return None


def _without_property(xmp: str) -> str:
    return _SETTINGS_OF_OTHERS.sub("", _SETTINGS_PROPERTY.sub("", xmp))
