"""Environment variables of the user that keep a run from working, and what replaces them.

A container started with ``docker run -u 12345`` has a user without a name and with the home ``/``,
which it cannot write to. Snakemake, Triton and other libraries end with a traceback then. So every
command replaces such variables for its own process and those that it starts.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from editinfinity.files.model_folder import hub_home
from editinfinity.worker.private import private_folder

PROFILE = "SNAKEMAKE_PROFILE"
"""Environment variable with the profile that Snakemake uses for every workflow of the user."""


@dataclass(frozen=True)
class Replacement:
    """An environment variable that this process sets, because the user's would not work.

    Attributes:
        name: name of the variable.
        value: its new value.
        notice: what is wrong with the user's, what is done instead, and how to mend it; empty if
            another replacement says it.
    """

    name: str
    value: str
    notice: str = ""


def replace_unusable(environment: MutableMapping[str, str] = os.environ) -> list[Replacement]:
    """Replace the variables that would keep a run from working, and return the replacements."""
    done = []
    for find in (_user_name, _temporary_folder, _home, _caches):
        for replacement in find(environment):
            environment[replacement.name] = replacement.value
            done.append(replacement)
    return done


def without_snakemake_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Snakemake finds no settings of the user's own workflows."""
    return {k: v for k, v in environment.items() if not k.startswith("SNAKEMAKE_")}


def _user_name(environment: Mapping[str, str]) -> Iterator[Replacement]:
    """Yield variables with a name for a user that the system knows only by number."""
    if any(environment.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    try:
        getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
        yield Replacement("LOGNAME", name)
        yield Replacement("USER", name, f"USER: this user has no name; {name} is used as the name")


def _temporary_folder(environment: Mapping[str, str]) -> Iterator[Replacement]:
    named = environment.get("TMPDIR")
    if named and not _can_create(Path(named), create_parents=False):
        folder = tempfile.gettempdir()  # the first that works: of $TEMP, $TMP, /tmp, …
        yield Replacement(
            "TMPDIR",
            folder,
            f"TMPDIR: {named} is not a folder that can be written to; {folder} is used instead",
        )


def _home(environment: Mapping[str, str]) -> Iterator[Replacement]:
    """Yield a home if there is none: HOME is not set, and the system does not know the user."""
    if os.path.expanduser("~") == "~" and (folder := _private_folder()):  # noqa: PTH111
        text = f"HOME: is not set; {folder} is used instead, which a restart deletes; set HOME"
        yield Replacement("HOME", str(folder), text)


def _caches(environment: Mapping[str, str]) -> Iterator[Replacement]:
    """Yield other folders for the caches of libraries, if they cannot be created in the home."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    if not _can_create(cache / "snakemake") and (folder := _private_folder()):
        if not environment.get("HF_HOME"):
            yield Replacement("HF_HOME", str(hub_home()))  # weights are read where they are
        yield Replacement(
            "XDG_CACHE_HOME",
            str(folder / "cache"),
            f"caches: {cache} cannot be written to; {folder / 'cache'} is used instead, which a "
            "restart deletes; set HOME or XDG_CACHE_HOME to a folder of your own",
        )
    triton = environment.get("TRITON_HOME") or home
    if not _can_create(Path(triton, ".triton")) and (folder := _private_folder()):
        yield Replacement("TRITON_HOME", str(folder))


def _private_folder() -> Path | None:
    """Return the private folder; None if no folder can be created for this user."""
    try:
        return private_folder()
    except OSError:
        return None


def _can_create(folder: Path, create_parents: bool = True) -> bool:
    """Whether files can be created in a folder, which itself may have to be created."""
    try:
        existing = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder)
        if existing != folder and not create_parents:
            return False
        with tempfile.TemporaryFile(dir=existing):
            return True
    except OSError:  # also for a name that is too long, or a folder that may not be searched
        return False
