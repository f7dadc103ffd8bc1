"""The folder for sockets and locks, which only its owner can access."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_MAX_PATH_BYTES = 60
"""Maximum length of the folder's path, in bytes. A Unix socket's path must be below 104 bytes."""


def private_folder() -> Path:
    """Return the user's folder for files that need not survive a reboot. Create it if missing.

    It is below /tmp, unless ``$XDG_RUNTIME_DIR`` names another folder. The folder that a login sets
    as ``$XDG_RUNTIME_DIR`` is tried only after /tmp: it is removed at logout, even if a run
    continues.

    Raises:
        OSError: if there is no folder that only this user can access.
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
    """Check that a path is a real folder, not a link, that only this user can access.

    Raises:
        PermissionError: if it is not.
    """
    stats = folder.lstat()
    if (
        not stat.S_ISDIR(stats.st_mode)
        or stats.st_uid != os.getuid()
        or stat.S_IMODE(stats.st_mode) & 0o077
    ):
        raise PermissionError(f"{folder}: is not a folder that only you can access (mode 0700)")


def _candidates() -> list[Path]:
    login_folder = Path(f"/run/user/{os.getuid()}")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or login_folder)
    folders = [] if runtime == login_folder or not runtime.is_dir() else [runtime / "editinfinity"]
    # /tmp first: TMPDIR differs between shells, but all jobs of a user must use the same folder.
    parents = (Path("/tmp"), login_folder, Path(tempfile.gettempdir()))
    folders += [parent / f"editinfinity-{os.getuid()}" for parent in parents if parent.is_dir()]
    return [folder for folder in folders if len(os.fsencode(folder)) <= _MAX_PATH_BYTES]
