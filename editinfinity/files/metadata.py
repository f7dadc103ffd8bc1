"""Picture metadata: EXIF, XMP, and the settings of the edit that produced the picture.

The settings are stored as JSON: in a text chunk in PNG, and in an XMP property in JPEG, WebP, TIFF
and AVIF. ``editinfinity show`` reads them back.
"""

from __future__ import annotations

import html
import logging
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass

from PIL import ExifTags, Image

log = logging.getLogger(__name__)

SETTINGS_KEY = "editinfinity"
"""Key of the PNG text chunk that holds the settings an image was made with."""

NAMESPACE = "urn:x-editinfinity:settings#"
MAX_XMP_BYTES = 65_502
"""Maximum size of the XMP in one JPEG segment, in bytes."""

_SETTINGS_PROPERTY = re.compile(
    r"\s*<rdf:Description[^>]*xmlns:editinfinity=[^>]*>\s*<editinfinity:settings>(.*?)"
    r"</editinfinity:settings>\s*</rdf:Description>",
    re.DOTALL,
)
_INSERTION_POINT = re.compile(r"(?=</rdf:RDF>)")
_XMP_GPS = re.compile(
    r"""\s*[\w-]+:G[Pp][Ss]\w+=("[^"]*"|'[^']*')|<([\w-]+:G[Pp][Ss]\w+)>.*?</\2>""", re.DOTALL
)
"""GPS properties in XMP: those of EXIF, and those of drones (``drone-dji:GpsLatitude``)."""
_XMP_ORIENTATION = re.compile(
    rb"""\s*tiff:Orientation=("[^"]*"|'[^']*')|<tiff:Orientation>.*?</tiff:Orientation>""",
    re.DOTALL,
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
    """EXIF and XMP as bytes, or None.

    The EXIF has no orientation (the picture is upright) and gives the picture's own size. It has
    no thumbnail, which would show the picture before the edit.
    """

    exif: bytes | None = None
    xmp: bytes | None = None

    def without_location(self) -> Metadata:
        """Return a copy without the location where the picture was taken."""
        xmp = self.xmp
        if xmp is not None:
            xmp = _XMP_GPS.sub("", xmp.decode("utf-8", "replace")).encode()
        if self.exif is None:
            return Metadata(None, xmp)
        exif = Image.Exif()
        exif.load(self.exif)
        exif.pop(ExifTags.IFD.GPSInfo, None)
        return Metadata(exif.tobytes(), xmp)


def metadata_of(image: Image.Image, name: str) -> Metadata:
    """Return the metadata of an upright picture that has just been opened.

    Args:
        image: result of ``open_picture``.
        name: its file name, for messages.
    """
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    with warnings.catch_warnings(action="ignore"):  # Pillow warns about entries that it skips
        exif = _exif_of(image, name)
    return Metadata(exif, _XMP_ORIENTATION.sub(b"", xmp) if isinstance(xmp, bytes) else None)


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
        with suppress(ValueError):  # a negative offset
            interop = exif.get_ifd(ExifTags.IFD.Interop)
        exif_directory.pop(ExifTags.IFD.Interop, None)
        if interop:
            exif_directory[ExifTags.IFD.Interop] = interop
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
        log.warning("%s: its EXIF cannot be read (%s) and is left out", name, error)
        return None


_POINTERS = {int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo), int(ExifTags.IFD.Interop)}
_STORAGE_TAGS = {
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339,
    700, 34665, 34675, 33723, 34377,
}  # fmt: skip
"""TIFF tags that describe how a file stores its pixels; a TIFF mixes them with its EXIF tags."""


def with_settings(xmp: bytes | None, settings: str) -> bytes:
    """Return an XMP packet with the settings added; those of an earlier edit are replaced.

    A packet that cannot be parsed is replaced. If the result is too long for a JPEG, it keeps
    only the settings.
    """
    text = _EMPTY_PACKET
    if xmp is not None:
        cleaned = _SETTINGS_PROPERTY.sub("", xmp.decode("utf-8", "replace"))
        if _INSERTION_POINT.search(cleaned):
            text = cleaned
    description = (
        f'<rdf:Description rdf:about="" xmlns:editinfinity="{NAMESPACE}"><editinfinity:settings>'
        f"{html.escape(settings, quote=False)}</editinfinity:settings></rdf:Description>\n"
    )
    packet = _INSERTION_POINT.sub(lambda _: description, text, count=1).encode()
    if len(packet) > MAX_XMP_BYTES and text != _EMPTY_PACKET:
        log.warning("the XMP is too long to store with the edit's settings; it is left out")
        return with_settings(None, settings)
    return packet


def settings_in(image: Image.Image) -> str | None:
    """Return the settings stored in a picture, if any."""
    if SETTINGS_KEY in image.info:
        return str(image.info[SETTINGS_KEY])
    xmp = image.info.get("xmp")
    if isinstance(xmp, bytes):
        xmp = xmp.decode("utf-8", "replace")
    if isinstance(xmp, str) and (match := _SETTINGS_PROPERTY.search(xmp)):
        return html.unescape(match[1])
    return None
