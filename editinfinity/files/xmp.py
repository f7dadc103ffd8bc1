"""Remove from XMP what is not true of an edited picture: descriptions of lost parts of the file."""

from __future__ import annotations

from xml.dom import minidom
from xml.parsers.expat import ExpatError

MAX_XMP_BYTES = 8_000_000
"""Maximum size of XMP that is kept, in bytes; that of photographs has some thousands."""

_MAX_PARSED_BYTES = 1_000_000

_LOST = (
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
    "http://ns.apple.com/depthData/1.0/",
    "http://ns.apple.com/pixeldatainfo/1.0/",
    "http://ns.google.com/photos/1.0/",  # camera (motion photos), container, depth, image, …
    "http://ns.google.com/photos/dd/1.0/",
)
"""Beginnings of the namespaces that describe gain maps, videos, depth maps and other pictures."""

_PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
"""How a panorama is projected is true of the edited picture too."""

_LOST_NAMES = {
    "http://ns.adobe.com/xmp/note/": "HasExtendedXMP",  # in further segments, which are not read
    "http://ns.adobe.com/xap/1.0/": "Thumbnails",  # of the picture before the edit
    "http://purl.org/dc/terms/": "provenance",  # a signature of the picture before the edit
}
"""Namespace → a single name in it that is removed."""

_XMLNS = "http://www.w3.org/2000/xmlns/"


def without_lost_parts(xmp: bytes) -> bytes | None:
    """Return XMP without the properties that describe lost parts; None if that is impossible.

    XMP without such properties is returned unchanged.
    """
    if len(xmp) > MAX_XMP_BYTES:
        return None
    if not any(text.encode() in xmp for text in (*_LOST, *_LOST_NAMES.values())):
        return xmp
    if len(xmp) > _MAX_PARSED_BYTES or b"<!DOCTYPE" in xmp:  # entities could expand without end
        return None
    try:
        document = minidom.parseString(xmp.strip(b"\0"))
        _remove_lost(document)
        return "".join(node.toxml() for node in document.childNodes).encode()
    except (ExpatError, ValueError, LookupError, RecursionError):
        return None


def _remove_lost(document: minidom.Document) -> None:
    root = document.documentElement
    pending = [] if root is None else [root]
    while pending:
        element = pending.pop()
        for attribute in list((element.attributes or {}).values()):
            is_declaration = attribute.namespaceURI == _XMLNS
            uri = attribute.value if is_declaration else attribute.namespaceURI
            if _is_lost(uri, "" if is_declaration else attribute.localName):
                element.removeAttributeNode(attribute)
        for child in list(element.childNodes):
            if child.nodeType != child.ELEMENT_NODE:
                continue
            if _is_lost(child.namespaceURI, child.localName):
                element.removeChild(child)
            else:
                pending.append(child)


def _is_lost(uri: str | None, name: str) -> bool:
    if uri is None or uri == _PANORAMA:
        return False
    return uri.startswith(_LOST) or _LOST_NAMES.get(uri) == name
