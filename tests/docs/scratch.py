"""Where the blocks of a page run: a copy of the project, with small random models in it.

The code, the cases and the commands are the real ones. ``sitecustomize`` gives the bundled model
the architecture of ``tiny`` and the released ones a small width, in every process that is started,
so that a page takes seconds. The bundled model itself is run by ``make run`` and by other tests.
One iteration of each training is the default, and in config.yaml too where a page names none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from editinfinity.presets import preset
from tests.docs.pages import ROOT, Block
from tests.ready import HAND_OVER

# SHRINK of tests/released makes the released models small.
from tests.released.test_fetch import SHRINK
from tests.released.upstream import finished_folder

CARRIED = ("Snakefile", "Makefile", "config.yaml", "data", "envs", "profiles", "rules", "schemas",
           "scripts")  # fmt: skip

BUNDLED = """
    presets.PRESETS["bundled"] = replace(presets.PRESETS["tiny"], name="bundled")
"""

TRAINED = {"train_textembedding_iter": 10, "train_lora_iter": 50, "pie_bench_lora_iter": 20}
"""Defaults that are 1 here."""

BRIEF = f"""
    from editinfinity.settings.groups import SETTINGS
    for key in {[*TRAINED]}:
        SETTINGS[key] = replace(SETTINGS[key], default=1)
"""


class Scratch:
    """A copy of the project in which somebody follows a page.

    Attributes:
        folder: the copy.

    Args:
        folder: where it is made.
        brief: config.yaml too asks for one iteration of each training.
        variables: of the environment.
    """

    def __init__(self, folder: Path, *, brief: bool = False, **variables: str) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        for name in CARRIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.folder / name)
            else:
                shutil.copy2(ROOT / name, self.folder / name)
        (self.folder / "editinfinity").symlink_to(ROOT / "editinfinity")
        programs = Path(sys.executable).parent
        (self.folder / ".venv").mkdir()
        (self.folder / ".venv" / "bin").symlink_to(programs)
        self._add_photographs()
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(HAND_OVER + SHRINK + BUNDLED + BRIEF)
        if brief:
            self._train_briefly()
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
            "HF_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            **variables,
        }

    def _train_briefly(self) -> None:
        """In config.yaml."""
        path = self.folder / "config.yaml"
        text = path.read_text("utf-8")
        for key, usual in TRAINED.items():
            assert f"\n{key}: {usual} #" in text
            text = text.replace(f"\n{key}: {usual} #", f"\n{key}: 1 #")
        path.write_text(text, "utf-8")

    def _add_photographs(self) -> None:
        """What pages call photo.jpg, mask.png, photos/ and EditInfinity/: the reader's own."""
        image, mask = (self.folder / "data" / "example_2" / "image" / name
                       for name in ("original_image.jpg", "mask.png"))  # fmt: skip
        shutil.copy2(image, self.folder / "photo.jpg")
        shutil.copy2(mask, self.folder / "mask.png")
        finished_folder(self.folder / "EditInfinity" / "example_case" / "example_2", preset("tiny"))
        (self.folder / "photos").mkdir()
        shutil.copy2(image, self.folder / "photos" / "town.jpg")

    def follow(self, block: Block, until: Callable[[], None] = lambda: None) -> None:
        """Do what a block says; fails where it fails, or does not make what it should.

        Args:
            block: in Bash or Python.
            until: waits for what goes on when the commands have ended.
        """
        command = ["bash", "-euo", "pipefail", "-c", block.code]
        if block.language == "python":
            command = [sys.executable, "-c", block.code]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, capture_output=True
        )
        said = f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        assert done.returncode == 0, f"{block.place}: status {done.returncode}\n{said}"
        assert "Traceback" not in done.stderr, f"{block.place}\n{said}"
        until()
        for name in block.makes:
            assert (self.folder / name).exists(), f"{block.place}: made no {name}\n{said}"
