"""``editinfinity weights fetch clip`` against a stand-in of the hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from editinfinity.evaluation.backbones import BACKBONES
from tests.released.hub import serving

ROOT = Path(__file__).parents[2]


def weights(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    given = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-m", "editinfinity", "weights", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**kept, **given, **environment},
        timeout=240,
    )


@pytest.mark.slow
def test_a_metrics_model_is_fetched_by_name_to_where_metrics_look(tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tf_model.h5"):
        (published / name).write_bytes(name.encode() * 500)
    clip, home = BACKBONES["clip"], tmp_path / "home"
    with serving({clip.repository: published}) as hub:
        place = {"HF_HOME": str(home), "HF_ENDPOINT": hub.address}
        done = weights("fetch", "clip", **place)
        assert done.returncode == 0, done.stderr
        folder = home / "editinfinity" / "clip"
        assert f"ready in {folder}" in done.stdout
        assert clip.missing_file(folder) is None
        assert not (folder / "tf_model.h5").exists()  # nothing reads other frameworks' weights
        asked = len(hub.downloads())
        assert weights("fetch", "clip", **place).returncode == 0
        assert len(hub.downloads()) == asked


@pytest.mark.slow
def test_what_cannot_be_reached_is_told_in_a_line(tmp_path: Path) -> None:
    for name in ("lpips", "dino"):
        done = weights("fetch", name, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert "HF_HUB_OFFLINE" in done.stderr
