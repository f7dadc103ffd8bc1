"""The command ``editinfinity`` as a process of its own, and options for a small model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.workflow.project import BARE, ROOT

TINY = ("--model", "tiny", "--set", "train_textembedding_iter=1", "--set", "train_lora_iter=1",
        "--set", "checkpoint_every=1", "--set", "device=cpu")  # fmt: skip
UNTRAINED = (*TINY, *(word for key, value in BARE.items() for word in ("--set", f"{key}={value}")))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder and wait for its end."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "editinfinity", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
