"""The picture that ``EditInfinityPipeline.edit`` returns: it saves what the photograph had."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from PIL import Image

from editinfinity.files.atomic import write_bytes
from editinfinity.files.metadata import Metadata
from editinfinity.files.photograph import Photograph, photograph_of
from editinfinity.files.writing import FORMATS, encode_photograph


class EditedPicture(Image.Image):
    """A Pillow picture that is saved with the photograph's EXIF, XMP and resolution, and settings.

    It can be used like any other picture. What Pillow makes of it (``resize``, ``convert``) is a
    plain picture without these.

    Attributes:
        metadata: those of the photograph.
        settings: what made the picture, as JSON (``Provenance``); None for nothing.
    """

    metadata: Metadata = Metadata()
    settings: str | None = None

    @classmethod
    def of(cls, photograph: Photograph, settings: str | None) -> EditedPicture:
        """Return an edited photograph as a picture.

        Args:
            photograph: the edited photograph.
            settings: what made it, as JSON.
        """
        picture = photograph.picture()
        picture.__class__ = cls  # Pillow has no constructor that takes over pixels
        assert isinstance(picture, cls)
        picture.metadata, picture.settings = photograph.metadata, settings
        return picture

    def save(
        self,
        fp: str | bytes | os.PathLike[str] | os.PathLike[bytes] | IO[bytes],
        format: str | None = None,
        **params: Any,
    ) -> None:
        """Save the picture with its metadata and settings, as ``editinfinity edit`` does.

        Args:
            fp: file name or binary file.
            format: name of the format, such as ``JPEG``; None for that of the file name's ending.
            params: arguments of Pillow's writer, such as ``quality``, which replace those chosen
                here. A format other than those of ``editinfinity edit`` is left to Pillow.

        Raises:
            UserError: the format cannot store the picture, or the file cannot be written.
        """
        path = None if not isinstance(fp, str | bytes | os.PathLike) else Path(os.fsdecode(fp))
        ending = _ENDINGS.get(format.upper()) if format else path and path.suffix.lower()
        if ending not in FORMATS:
            super().save(fp, format, **params)
            return
        photograph = replace(photograph_of(self.copy()), metadata=self.metadata)
        named = (path or Path("picture")).with_suffix(ending)
        content = encode_photograph(named, photograph, self.settings, chosen=params)
        if path is not None:
            write_bytes(path, content)
        else:
            fp.write(content)  # type: ignore[union-attr]

    def __getstate__(self) -> list[Any]:
        return [super().__getstate__(), self.metadata, self.settings]

    def __setstate__(self, state: list[Any]) -> None:
        pixels, self.metadata, self.settings = state
        super().__setstate__(pixels)


_ENDINGS = {format_: ending for ending, format_ in reversed(FORMATS.items())}
"""Format → its first ending."""
