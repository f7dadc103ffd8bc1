"""Chosen before any test is imported: without a card, Triton's kernels run in its interpreter."""

import compileall
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator

import pytest

# Read when torch is imported. Threads that wait for each other by spinning take the processor from
# the other tests and processes; what is computed is the same.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
import torch

from tests.ready import ready_processes
from tests.workflow.project import ROOT

# Else each of thousands of processes would compile what it imports; copies of the project carry
# along what is compiled here.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["EDITINFINITY_KEEP_WARM"] = "0"  # else edits at a test's terminal leave a process
compileall.compile_dir(ROOT / "editinfinity", quiet=2)


def _let_loops_end_where_they_are_told_to() -> None:
    """Have the interpreter take a scalar as a loop's bound.

    It keeps scalars as arrays of one number, which recent NumPy does not convert.
    """
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patch_more(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch_more


if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, by whomever
    if importlib.util.find_spec("triton") is not None:
        _let_loops_end_where_they_are_told_to()


@pytest.fixture(scope="session")
def process_with_libraries() -> Iterator[dict[str, str]]:
    """Variables of the environment in which processes need not import: ``tests/ready.py``."""
    with ready_processes() as variables:
        yield variables


@pytest.fixture(autouse=True)
def _ready(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a slow test starts need not import, unless it is marked ``imports_itself``."""
    marks = request.node.get_closest_marker
    if marks("slow") and not marks("imports_itself"):
        for name, value in request.getfixturevalue("process_with_libraries").items():
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that a test calls in this process sets up logging, or silences it (--quiet)."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with warnings.catch_warnings():
        yield
    root.setLevel(level)
    root.handlers[:] = handlers
