"""Requirements of a run: weights, a writable results folder, cores, an importable package."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from editinfinity.environment import JOBS_AT_ONCE, PACKAGE, let_idle_threads_sleep
from editinfinity.errors import UserError
from editinfinity.files.model_folder import default_folder
from editinfinity.presets import preset


def weight_files(model: str, model_dir: Path | None = None) -> Iterator[Path]:
    """Yield the existing weight files of a model; none for a model that is created in memory."""
    patterns = preset(model).weights
    if patterns is None:
        return
    folder = default_folder(model) if model_dir is None else model_dir
    for pattern in (patterns.tokenizer, patterns.transformer, patterns.text_encoder):
        for path in sorted(folder.glob(pattern)) if pattern else ():
            yield from (sorted(path.rglob("*")) if path.is_dir() else (path,))


def require_writable(folder: Path) -> None:
    """Check that results can be written, before the first job starts.

    Raises:
        UserError: the folder is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"results: {folder} cannot be written to ({error.strerror}); choose another folder "
            "or free disk space"
        ) from None


def share_cores(limits: Mapping[str, Any]) -> None:
    """Set environment variables for the jobs: how many may run a model at once, and how they wait.

    ``threads: auto`` divides the cores by this number, because two models that run at once on all
    cores are three times slower than one after the other (measured on two cores).

    Args:
        limits: Snakemake's resource limits: ``_cores`` and optionally ``gpu``, each a number or an
            object with the number as ``value``.
    """
    numbers = [getattr(limits.get(name), "value", limits.get(name)) for name in ("_cores", "gpu")]
    known = [number for number in numbers if isinstance(number, int) and number > 0]
    os.environ[JOBS_AT_ONCE] = str(min(known, default=1))
    let_idle_threads_sleep()


def export_package(root: Path) -> None:
    """Make this package importable by the jobs of a workflow, which are separate processes.

    Under ``--sdm conda`` jobs run another Python interpreter, which does not see the packages of
    this one. It must not import torch and other packages from this interpreter's site-packages, so
    an installed package is made available through a link in a folder that contains nothing else.

    Args:
        root: folder of the Snakefile; in a checkout it contains the package too.
    """
    folder = root
    if PACKAGE.parent != root:
        folder = Path(".snakemake", "editinfinity").absolute()
        link = folder / PACKAGE.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink() or link.resolve() != PACKAGE:
                link.unlink(missing_ok=True)
                link.symlink_to(PACKAGE)
        except OSError:  # not writable, or a race with another run
            folder = PACKAGE.parent
    paths = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
