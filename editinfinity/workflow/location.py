"""Where the workflow lies: at the root of a checkout, or inside the installed package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.presets import preset

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package ``editinfinity``."""


def workflow_root() -> Path:
    """Folder that holds Snakefile, rules, scripts, envs, profiles and config.yaml.

    Raises:
        UserError: the package was installed without its workflow.
    """
    for root in (PACKAGE / "_workflow", PACKAGE.parent):
        if (root / "Snakefile").is_file() and (root / "rules").is_dir():
            return root
    raise UserError(f"{PACKAGE}: carries no workflow; install editinfinity again, or use a clone")


def weights_folder(model: str, model_dir: Path | None = None) -> Path:
    """Folder of a model's weight files: the user's, else the one the package carries."""
    return PACKAGE / "weights" / model if model_dir is None else model_dir


def weight_files(model: str, model_dir: Path | None = None) -> Iterator[Path]:
    """The weight files of a model that are there; none for a model made in memory."""
    patterns = preset(model).weights
    if patterns is None:
        return
    folder = weights_folder(model, model_dir)
    for pattern in (patterns.tokenizer, patterns.transformer, patterns.text_encoder):
        for path in sorted(folder.glob(pattern)) if pattern else ():
            yield from (sorted(path.rglob("*")) if path.is_dir() else (path,))
