"""Checks the versions of Python and of the packages that pyproject.toml requires."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from editinfinity.doctor.findings import Finding, fault, note

OLDEST_PYTHON = (3, 11)
_LISTED = ("torch", "snakemake", "transformers", "peft", "safetensors", "pillow")


def check_python() -> Iterator[Finding]:
    """Check the version of the Python interpreter."""
    text = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < OLDEST_PYTHON:
        yield fault("Python", f"{text}: too old; use {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    else:
        yield Finding("Python", text)


def check_packages() -> Iterator[Finding]:
    """Check the versions of the required packages; one line if all are correct."""
    try:
        required = [Requirement(line) for line in metadata.requires("editinfinity") or ()]
    except metadata.PackageNotFoundError:
        yield note("packages", "editinfinity is not installed; pip install -e . in its folder")
        return
    listed = []
    for requirement in required:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield fault("packages", f"{requirement.name} is missing; pip install '{requirement}'")
            continue
        # Drop a local version suffix: torch's 2.9.0+cpu counts as 2.9.0.
        if not requirement.specifier.contains(version.partition("+")[0], prereleases=True):
            yield fault(
                "packages",
                f"{requirement.name} is {version}, not {requirement.specifier}; "
                f"pip install '{requirement}'",
            )
        elif requirement.name in _LISTED:
            listed.append(f"{requirement.name} {version}")
    yield Finding("packages", ", ".join(listed))
