"""What a run needs of its machine: weights, a place to write, cores, a package for its jobs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from editinfinity.environment import JOBS_AT_ONCE, PACKAGE
from editinfinity.errors import UserError
from editinfinity.files.model_folder import default_folder
from editinfinity.presets import preset


def weight_files(model: str, model_dir: Path | None = None) -> Iterator[Path]:
    """The weight files of a model that are there; none for a model made in memory."""
    patterns = preset(model).weights
    if patterns is None:
        return
    folder = default_folder(model) if model_dir is None else model_dir
    for pattern in (patterns.tokenizer, patterns.transformer, patterns.text_encoder):
        for path in sorted(folder.glob(pattern)) if pattern else ():
            yield from (sorted(path.rglob("*")) if path.is_dir() else (path,))


def require_writable(folder: Path) -> None:
    """Make sure that results can be written, before the first job finds out.

    Raises:
        UserError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"results: {folder} cannot be written to ({error.strerror}); choose another folder "
            "or make room"
        ) from None


def share_cores(limits: Mapping[str, Any]) -> None:
    """Tell the jobs of a workflow how many of them may run a model at once.

    On a CPU two models that each take every core are three times slower than one after the other
    (measured on two cores), so ``threads: auto`` divides the cores by this number.

    Args:
        limits: Snakemake's limits, ``_cores`` and perhaps ``gpu``; numbers or boxes of one.
    """
    numbers = [getattr(limits.get(name), "value", limits.get(name)) for name in ("_cores", "gpu")]
    known = [number for number in numbers if isinstance(number, int) and number > 0]
    os.environ[JOBS_AT_ONCE] = str(min(known, default=1))


def lend_to_jobs(root: Path) -> None:
    """Let the jobs of a workflow, processes of their own, import this package.

    Under ``--sdm conda`` they run another Python, which knows nothing of this one's packages and
    must not find torch and the like among them: an installed package is lent through a link.

    Args:
        root: folder of the Snakefile; in a checkout it holds the package too.
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
        except OSError:  # a folder that cannot be written to, or a race with another run
            folder = PACKAGE.parent
    paths = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
