"""The annotated pictures of a file, and which of them is the photograph."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from editinfinity.errors import UserError
from editinfinity.files.annotations.areas import Area
from editinfinity.files.geometry import Size
from editinfinity.names import look_of

_MAX_LISTED = 5
"""Maximum number of pictures listed in an error message."""

_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio writes before the name of a file that it was given."""


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture that a file annotates.

    Its values may be of any type, because only those of the picture that is used are checked. So a
    damaged annotation affects no other picture of the file.

    Attributes:
        names: names, paths or addresses of the picture; the first is used in messages.
        height, width: its size in the file; None if the file does not state it.
        entries: its annotations.
        areas: function of an annotation and the picture's (height, width); returns the areas. It
            raises ``AnnotationError``, or any error that unexpected content of a file causes.
        part: function that returns the part of the file about this picture, (ending, text).
        problem: why the picture cannot be used, "what is wrong; cure"; else empty.
    """

    names: tuple[Any, ...]
    entries: Sequence[Any]
    areas: Callable[[Any, Size], Iterable[Area]]
    part: Callable[[], tuple[str, str]]
    height: Any = None
    width: Any = None
    problem: str = ""

    @property
    def shown_name(self) -> str:
        """The name for messages; empty if the file states none."""
        return printable(next((name for name in self.names if name), ""))


def choose_picture(
    pictures: Sequence[AnnotatedPicture], photograph: Path | None, path: Path
) -> AnnotatedPicture:
    """Return the only picture, or the only one with the photograph's file name.

    Names are compared as they are displayed, without folders; then without ending; then without
    regard to capitals.

    Raises:
        UserError: not exactly one of several pictures has the photograph's name, or that picture
            cannot be used.
    """
    if len(pictures) == 1:
        return pictures[0]
    picture = _only_match(pictures, photograph, path)
    if picture.problem:
        raise UserError(f"{path}: {picture.problem}")
    return picture


def printable(name: object) -> str:
    """Return a name from a file, shortened and without unprintable characters, for messages."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:100])


def _only_match(
    pictures: Sequence[AnnotatedPicture], photograph: Path | None, path: Path
) -> AnnotatedPicture:
    matches: list[AnnotatedPicture] = []
    if photograph is not None:
        for form in (_name, _stem, _folded_stem):
            wanted = form(photograph.name)
            matches = [
                picture for picture in pictures
                if any(form(name) == wanted for name in _file_names(picture))
            ]  # fmt: skip
            if matches:
                break
    if len(matches) == 1:
        return matches[0]
    listed = matches or pictures
    shown = ", ".join(picture.shown_name or "without a name" for picture in listed[:_MAX_LISTED])
    more = f" and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
    mismatch = ""
    if photograph is not None:
        mismatch = f", {'several' if matches else 'none'} of them named like {photograph.name}"
    raise UserError(
        f"{path}: has annotations of several images ({shown}{more}){mismatch}; export only one"
    )


def _file_names(picture: AnnotatedPicture) -> set[str]:
    """Return the names that the picture's file may have."""
    # PureWindowsPath splits at both "/" and "\". An address may have a query behind the path.
    texts = [str(name)[:4096] for name in picture.names]
    names = {
        PureWindowsPath(version).name
        for text in texts
        for version in (text, unquote(text), unquote(text.partition("?")[0]))
    }
    names |= {_UPLOAD_PREFIX.sub("", name, count=1) for name in names}
    return names - {""}


def _name(name: str) -> str:
    return look_of(name)


def _stem(name: str) -> str:
    return look_of(PureWindowsPath(name).stem)


def _folded_stem(name: str) -> str:
    return _stem(name).casefold()
