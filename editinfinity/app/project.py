"""The project folder of the page: photographs as cases, and the tries of each.

``data/ID`` is a case as the workflow reads it, made as soon as a photograph gets a mask or a
prompt. ``page/ID`` keeps what only the page uses: the tries, and what the model has learned.
``config.yaml`` names the cases that have a prompt, so ``editinfinity run`` in the folder edits
what the page shows. Everything is written at once, so a reload or a crash loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from editinfinity.app.tries import Try, read_tries
from editinfinity.cases.create import NewEdit, case_name, make_case
from editinfinity.cases.photo_folder import find_photographs
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_bytes, write_text
from editinfinity.files.input_files import is_folder
from editinfinity.files.opening import size_upright
from editinfinity.locks import NO_LOCKS, Lock
from editinfinity.names import printable, why_unusable
from editinfinity.planning.in_use import locked_for_change, paths_of_case

_ABOUT = "# Written by `editinfinity app` from what its page shows.\n"

_MAX_TEXT = 10_000
"""Maximum length of a prompt, in characters; the model reads fewer."""


@dataclass
class Photograph:
    """A photograph on the page.

    Attributes:
        id: name of its case.
        name: name for display.
        path: the file: the case's copy or, as long as there is no case, the user's own.
        source: description of the photograph; may be empty.
        prompt: description of the edited picture; may be empty.
        settings: settings that differ from the project's.
        tries: tries by number.
        has_mask: whether the case has a mask.
        mask_beside: the user's mask beside the photograph, which a new case gets; or None.
    """

    id: str
    name: str
    path: Path
    source: str = ""
    prompt: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    tries: dict[int, Try] = field(default_factory=dict)
    has_mask: bool = False
    mask_beside: Path | None = None


class Project:
    """Reads and writes the project folder. Thread-safe; one process at a time uses it.

    Args:
        folder: the project folder, which is created.
        base: settings of all photographs, as in config.yaml.

    Attributes:
        photographs: photographs by id, in the order of the page.

    Raises:
        UserError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, base: Mapping[Any, Any]) -> None:
        self.folder, self.base = Path(os.path.realpath(folder)), dict(base)
        self.photographs: dict[str, Photograph] = {}
        self._lock = threading.RLock()
        try:
            (self.folder / "page").mkdir(parents=True, exist_ok=True)
            self._open = Lock.take(self.folder / "page" / ".open")  # held as long as we run
            if self._open is None:
                raise UserError(f"{folder}: is open in another app; use its page, or end it first")
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(
                    f"{folder}: cannot be written to ({error.strerror}); choose another --project"
                ) from None
        for case in sorted(self.data.iterdir()) if is_folder(self.data) else ():
            if (photograph := self._read(case)) is not None:
                self.photographs[photograph.id] = photograph

    @property
    def data(self) -> Path:
        """Folder of the cases."""
        return self.folder / "data"

    def page_folder(self, photograph: Photograph) -> Path:
        """Return the folder of what only the page uses."""
        return self.folder / "page" / photograph.id

    def mask_path(self, photograph: Photograph) -> Path:
        """Return the path of the mask in the case."""
        return self.data / photograph.id / "image" / "mask.png"

    def open_folder(self, folder: Path) -> list[str]:
        """Add the photographs of a folder, without copying them; return one line for each fault."""
        found, here = find_photographs(folder, False, [self.folder]), {}
        faults = [file.reason for file in found.unedited if file.is_fault]
        for photograph in found.photographs:
            masks = found.masks_beside.get(photograph.path, [])
            try:
                added = self.add_file(photograph.path, masks[0] if len(masks) == 1 else None)
            except UserError as fault:
                faults.append(str(fault))
                continue
            here[added.id] = added
        self.photographs = here | self.photographs  # in the order of the folder
        return faults

    def add_file(self, path: Path, mask: Path | None = None) -> Photograph:
        """Add a photograph of the user; if it was added before, keep what was done with it.

        Raises:
            UserError: the folder of what was done with it leads out of the project.
        """
        id_ = case_name(Path(os.path.realpath(path)))
        with self._lock:
            if id_ not in self.photographs:
                added = Photograph(
                    id_, printable(path.name), Path(os.path.realpath(path)), mask_beside=mask
                )
                page = self.page_folder(added)
                if not all(map(self.contains, [page, *page.glob("*")])):
                    raise UserError(f"{page}: leads out of the project folder; delete it")
                self._read_page_files(added)
                self.photographs[id_] = added
            added = self.photographs[id_]
            self.photographs = {id_: added} | self.photographs  # shown first
            return added

    def add_upload(self, file: Path, name: str) -> Photograph:
        """Make a case of an uploaded file.

        Args:
            file: the file, which may be deleted afterwards; it has the ending of ``name``.
            name: its name on the user's machine, used for display and for the id.
        """
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        stem = case_name(Path(name.replace("/", "_") or "photo")).rpartition("-")[0]
        id_ = f"{stem}-{digest}"
        with self._lock:
            if id_ not in self.photographs:
                photograph = Photograph(id_, printable(name), file)
                self._make_case(photograph)
                self.photographs[id_] = photograph
            return self.photographs[id_]

    def continue_from(self, photograph: Photograph, picture: Path, number: int) -> Photograph:
        """Make a photograph of the picture of a try, to edit it further."""
        stem = Path(photograph.name).stem
        copy = self.add_upload(picture, f"{stem} {number}.png")
        with self._lock:
            if not copy.source:  # what should be there is there now
                self.set_texts(copy, photograph.tries[number].prompt, "", {})
        return copy

    def set_texts(
        self, photograph: Photograph, source: str, prompt: str, settings: Mapping[str, Any]
    ) -> None:
        """Store the prompts and settings of a photograph; files that stay the same are not written.

        Raises:
            UserError: a text is too long, the case is in use by a run, or the disk is full.
        """
        for text in (source, prompt):
            if len(text) > _MAX_TEXT:
                raise UserError(f"the text is longer than {_MAX_TEXT} characters; shorten it")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UserError("the text is not valid Unicode; type it again") from None
        with self._lock:
            with self._locked(photograph) as folder:
                self._make_case(photograph)
                _write_changed(folder / "prompt" / "original_image_prompt.txt", source + "\n")
                edit = folder / "prompt" / "edit_image_prompt.txt"
                if prompt.strip():
                    _write_changed(edit, prompt + "\n")
                else:
                    edit.unlink(missing_ok=True)
            photograph.source, photograph.prompt = source, prompt
            photograph.settings = dict(settings)
            self._write_page_file(photograph)
            self.write_config()

    def set_mask(self, photograph: Photograph, png: bytes | None) -> None:
        """Store the mask of a photograph: a PNG that is black where it is edited; None for none.

        Raises:
            UserError: the case is in use by a run, or the disk is full.
        """
        with self._lock:
            with self._locked(photograph):
                self._make_case(photograph)
                if png is None:
                    self.mask_path(photograph).unlink(missing_ok=True)
                else:
                    write_bytes(self.mask_path(photograph), png)
            photograph.has_mask = png is not None

    def require_mask(self, photograph: Photograph) -> Path | None:
        """Return the mask of a photograph, which may still lie beside it; None if it has none.

        Raises:
            UserError: the mask beside it cannot be read.
        """
        with self._lock:
            if photograph.mask_beside is not None:
                self._make_case(photograph)
            return self.mask_path(photograph) if photograph.has_mask else None

    def new_try(self, photograph: Photograph, settings: Mapping[str, Any]) -> Try:
        """Record a try of the prompts and mask that the photograph has now."""
        with self._lock:
            number = max(photograph.tries, default=0) + 1
            folder = self.page_folder(photograph)
            made = Try(folder, number, photograph.prompt, photograph.source, dict(settings))
            if photograph.has_mask:
                write_bytes(made.mask_path, self.mask_path(photograph).read_bytes())
            made.write()
            photograph.tries[number] = made
            return made

    def save_as_case(self, photograph: Photograph, made: Try, name: str) -> Photograph:
        """Save a try as a case of its own, which the page shows as a photograph too.

        Raises:
            UserError: the name is not usable or taken, or the disk is full.
        """
        if reason := why_unusable(name):
            raise UserError(f"{name!r} cannot be the name of a case: {reason}")
        with self._lock:
            folder = self.data / name
            if folder.exists() or name in self.photographs:
                raise UserError(f"{name}: there is a case of that name; choose another")
            mask = made.mask_path if made.mask_path.exists() else None
            edit = NewEdit(made.prompt, mask)
            with locked_for_change(paths_of_case(folder)):
                make_case(folder, photograph.path, made.source, {"edit": edit})
            copy = self._read(folder)
            assert copy is not None, "just made"
            copy.settings = dict(made.settings)
            self.photographs[name] = copy
            self._write_page_file(copy)
            self.write_config()
            return copy

    def cases_to_run(self) -> list[str]:
        """Return the names of the cases that have a prompt, and so can be run."""
        with self._lock:
            return [p.id for p in self.photographs.values() if p.prompt.strip()]

    def write_config(self) -> None:
        """Write config.yaml: the cases that have a prompt, with their settings."""
        cases = self.cases_to_run()
        chosen = {case: self.photographs[case].settings for case in cases}
        content = {
            **self.base,
            "cases": cases,
            "overrides": {case: settings for case, settings in chosen.items() if settings},
        }
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        _write_changed(self.folder / "config.yaml", _ABOUT + text)

    @contextmanager
    def _locked(self, photograph: Photograph) -> Iterator[Path]:
        """Lock the case of a photograph, and give its folder."""
        folder = self.data / photograph.id
        try:
            with locked_for_change(paths_of_case(folder)):
                yield folder
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}: ", f"{photograph.name}: ")) from None

    def _make_case(self, photograph: Photograph) -> None:
        """Copy a photograph into its case, with the mask beside it, unless it has been copied."""
        folder = self.data / photograph.id
        if _image_in(folder) is not None:
            return
        make_case(folder, photograph.path, None, {}, overwrite=True)
        copy = _image_in(folder)
        assert copy is not None, "just made"
        photograph.path = copy
        self._write_page_file(photograph)
        if photograph.mask_beside is not None:
            from editinfinity.app.pictures import mask_as_png  # imports NumPy

            beside, photograph.mask_beside = photograph.mask_beside, None  # next time without it
            write_bytes(self.mask_path(photograph), mask_as_png(beside, copy))
            photograph.has_mask = True

    def _read(self, case: Path) -> Photograph | None:
        """Read a case of the project; None if the folder is none, or leads out of the project."""
        image = _image_in(case)
        if image is None or why_unusable(case.name):
            return None
        photograph = Photograph(case.name, case.name, image)
        own = [image, self.mask_path(photograph), case / "prompt", *(case / "prompt").glob("*.txt")]
        page = self.page_folder(photograph)
        if not all(map(self.contains, [*own, page, *page.glob("*")])):
            return None
        photograph.source = _text_of(case / "prompt" / "original_image_prompt.txt")
        photograph.prompt = _text_of(case / "prompt" / "edit_image_prompt.txt")
        photograph.has_mask = self.mask_path(photograph).is_file()
        self._read_page_files(photograph)
        return photograph

    def contains(self, path: Path) -> bool:
        """Whether a path, following links, is below the project folder."""
        return Path(os.path.realpath(path)).is_relative_to(self.folder)

    def _read_page_files(self, photograph: Photograph) -> None:
        folder = self.page_folder(photograph)
        about = _json_of(folder / "photograph.json")
        photograph.name = printable(str(about.get("name", photograph.name)))
        settings = about.get("settings", {})
        photograph.settings = settings if isinstance(settings, dict) else {}
        photograph.tries = read_tries(folder)

    def _write_page_file(self, photograph: Photograph) -> None:
        content = {"name": photograph.name, "settings": photograph.settings}
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        _write_changed(self.page_folder(photograph) / "photograph.json", text)


def size_of(photograph: Photograph) -> tuple[int, int]:
    """Return (width, height) of a photograph, turned by its EXIF.

    Raises:
        UserError: it cannot be read.
    """
    height, width = size_upright(photograph.path)
    return width, height


def _image_in(case: Path) -> Path | None:
    files = (case / "image").glob("original_image.*")
    return next((path for path in sorted(files) if path.is_file()), None)


def _write_changed(path: Path, text: str) -> None:
    """Write a text unless the file has it already."""
    with suppress(OSError, UnicodeDecodeError):
        if path.read_bytes().decode() == text:
            return
    write_text(path, text)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip("\n")[:_MAX_TEXT]
    except OSError:
        return ""


def _json_of(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()  # or not to be sent
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
