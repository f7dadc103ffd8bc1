"""A folder that only this user can look into, for sockets and locks."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_LONGEST = 60
"""Of the folder's path: a Unix socket's must stay below 104 bytes."""


def private_folder() -> Path:
    """The user's folder for things that live as long as the machine runs; made if missing.

    Below /tmp, unless ``$XDG_RUNTIME_DIR`` says otherwise. The one that a login sets comes after
    /tmp: it is taken away at logout, under a run that goes on.

    Raises:
        OSError: there is none that belongs to this user alone.
    """
    fault: OSError | None = None
    for folder in _candidates():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            require_private(folder)
        except OSError as error:
            fault = error
        else:
            return folder
    raise fault or OSError("there is no folder for sockets and locks")


def require_private(folder: Path) -> None:
    """Refuse a folder that others may write to or look into, or that is only a link.

    Raises:
        PermissionError: it is one.
    """
    facts = folder.lstat()
    if (
        not stat.S_ISDIR(facts.st_mode)
        or facts.st_uid != os.getuid()
        or stat.S_IMODE(facts.st_mode) & 0o077
    ):
        raise PermissionError(f"{folder}: is not this user's alone (mode 0700)")


def _candidates() -> list[Path]:
    of_login = Path(f"/run/user/{os.getuid()}")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or of_login)
    folders = [] if runtime == of_login or not runtime.is_dir() else [runtime / "editinfinity"]
    # /tmp first: TMPDIR differs between shells, and all jobs of a user must meet.
    parents = (Path("/tmp"), of_login, Path(tempfile.gettempdir()))
    folders += [parent / f"editinfinity-{os.getuid()}" for parent in parents if parent.is_dir()]
    return [folder for folder in folders if len(os.fsencode(folder)) <= _LONGEST]
