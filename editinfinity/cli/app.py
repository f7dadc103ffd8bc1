"""The command ``app``: paint a mask, type a prompt, see the edit, in a browser."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.cli.edit_options import EditOptions, Model, Set, on_disk
from editinfinity.cli.one_edit import checked_settings
from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder
from editinfinity.settings.groups import ModelSettings

log = logging.getLogger(__name__)


def app(
    place: Annotated[
        Path | None,
        typer.Argument(metavar="PHOTO|FOLDER", help="A photograph, or a folder.", callback=on_disk),
    ] = None,
    model: Model = ModelSettings.model,
    set: Set = None,
    project: Annotated[
        Path | None,
        typer.Option(help="Folder for cases, tries and results; default: PHOTO_project beside it."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Edit photographs in a browser: paint the place, type, see the edit.

        editinfinity app photo.jpg

    Prints the page's address. Nothing is sent to other machines. Ctrl-C ends it.
    """
    _require_extra()
    settings = EditOptions("any", model=model, set=set).settings()
    checked_settings(settings)
    from editinfinity.app.project import Project
    from editinfinity.app.serve import serve

    folder = project or _project_of(place)
    opened = Project(folder, settings)
    notices, shown = [], None
    if place is not None and is_folder(place):
        shown = os.path.realpath(place).rpartition("/")[2]
        if folder != place:
            notices = opened.open_folder(place)
    elif place is not None:
        _require_photograph(place)
        opened.add_file(place)

    def on_start(address: str) -> None:
        typer.echo(address)
        if browser:
            # In a thread, as some browsers let the call wait until they are closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    serve(opened, shown, notices, port, on_start)


def _require_extra() -> None:
    """Raise unless the packages of the extra ``app`` are installed."""
    for package in ("starlette", "uvicorn", "python_multipart"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"the page needs {package}; install it with: pip install 'editinfinity[app]'"
            )


def _project_of(place: Path | None) -> Path:
    """Return the project folder: ``place`` itself if it is one, else one beside it."""
    if place is None:
        return Path("editinfinity_project")
    if is_folder(place / "page"):
        return place
    real = Path(os.path.realpath(place))
    return real.with_name(f"{real.stem if real.is_file() else real.name}_project")


def _require_photograph(path: Path) -> None:
    from editinfinity.files.opening import size_upright

    size_upright(path)
