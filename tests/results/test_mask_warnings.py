"""Masks that leave nothing to the edit are told at the end of a run, until they are mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from editinfinity.cases.load import load_cases
from editinfinity.config.load import load_config
from editinfinity.results.warnings import mask_warnings
from tests.workflow.project import BARE, SETTINGS, Project, draw_image, draw_mask

pytestmark = pytest.mark.slow

TOLD = (
    "a, edit: data/a/image/mask.png: marks too little for a visible edit, so the picture "
    "stays unchanged; enlarge it (mask_grow), or set crop: auto"
)

UNDRAWN = ("--until", "mask_pictures", "kernel", "edit_text_features")
"""Masks are told of from what their own jobs found, drawn under or not."""


def test_a_tiny_mask_is_told_of_and_a_mended_one_is_not(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    case = project.add_case("a")
    mask, page = case / "image" / "mask.png", project.folder / "results" / "report.html"
    draw_image(case / "image" / "original_image.jpg", 1, (640, 512))
    draw_mask(mask, 2, (640, 512))
    for _ in range(2):  # the second time nothing of the mask is made anew
        said = project.run(*UNDRAWN, "--config", "smoothing=[linear,hard]").stdout
        assert TOLD in said.splitlines()
        assert "marks too little" in page.read_text("utf-8")
        (case / "prompt" / "edit_image_prompt.txt").write_text("a goat on a hill")

    draw_mask(mask, 0, (640, 512))
    told = project.run(*UNDRAWN).stdout
    assert "marks too little" not in told and "mask.png: marks nothing as edited" in told
    draw_mask(mask, 200, (640, 512))
    assert "marks" not in project.run(*UNDRAWN).stdout
    assert "mask.png: marks" not in page.read_text("utf-8")


def test_only_the_kernels_that_are_asked_for_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mask of a few pixels, which is too little for the kernel that does not fade."""
    project = Project.create(tmp_path / "project", **BARE, smoothing=["linear", "none"])
    case = project.add_case("a")
    draw_image(case / "image" / "original_image.jpg", 1, (320, 256))
    (case / "image" / "mask.txt").write_text("100,80,5,5")
    assert "marks too little" in project.run("--until", "kernel").stdout
    monkeypatch.chdir(project.folder)
    for smoothing, told in (("linear", False), ("none", True)):
        config = load_config({**SETTINGS, **BARE, "smoothing": smoothing})
        said = "".join(mask_warnings(config, load_cases(config)))
        assert ("marks too little" in said) is told, smoothing
