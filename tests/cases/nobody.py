"""Run a part of a test as a user who may not open what belongs to the others."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Change to the user "nobody", who may read this folder; only root can."""
    if os.geteuid() != 0:
        pytest.skip("changes the user")
    for path in (folder, *folder.parents):
        if Path(tempfile.gettempdir()) in path.parents:
            path.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
