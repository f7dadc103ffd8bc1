"""``editinfinity weights`` against a stand-in of the hub, up to an edit by the real workflow.

The commands run as processes of their own: huggingface_hub reads its environment once. The real
presets are shrunk there by ``sitecustomize``, so that files of the real names and keys are small.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from editinfinity.cli import main
from editinfinity.released.catalogue import RELEASES
from tests.ready import HAND_OVER
from tests.released.files import shrunk, transformer_state, write_release
from tests.released.hub import Hub, serving
from tests.workflow.project import BARE, Project

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHRINK = """
import sys
if "editinfinity.presets" not in sys.modules:
    from dataclasses import replace
    from editinfinity import presets
    for name in [name for name in presets.PRESETS if name.startswith("infinity")]:
        full = presets.PRESETS[name]
        presets.PRESETS[name] = replace(
            full,
            tokenizer=replace(full.tokenizer, base_width=8, group_width=4),
            transformer=replace(
                full.transformer, width=32, heads=4, text_width=128, text_length=160
            ),
            text_encoder=replace(full.text_encoder, width=128),
            pixel_budget="0.06M",
        )
"""
SHARED = "FoundationVision/Infinity", "google/flan-t5-xl"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two repositories, with files nobody needs among them."""
    folder = tmp_path_factory.mktemp("hub")
    for name in RELEASES:
        write_release(shrunk(name), folder / "infinity")
    (folder / "infinity" / "flan-t5-xl").rename(folder / "t5")
    (folder / "infinity" / "infinity_vae_d32.pth").write_bytes(b"never fetched" * 1000)
    (folder / "t5" / "tf_model.h5").write_bytes(b"never fetched" * 1000)
    return {SHARED[0]: folder / "infinity", SHARED[1]: folder / "t5"}


@pytest.fixture
def hub(published: dict[str, Path]) -> Iterator[Hub]:
    with serving(published) as hub:
        yield hub


@pytest.fixture
def environment(tmp_path: Path, hub: Hub) -> dict[str, str]:
    """A home of its own for the hub's files, and the presets in small."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HAND_OVER + SHRINK)
    given = {
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
    }
    return {**{k: v for k, v in os.environ.items() if not k.startswith("HF_")}, **given}


def weights(
    environment: dict[str, str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "editinfinity", "weights", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_the_hub_to_an_edit(tmp_path: Path, hub: Hub, environment: dict[str, str]) -> None:
    """The same workflow for both: fetched, converted, and a photograph edited; with all trainings
    for the one, and what every edit needs for the other.
    """
    short = {"train_textembedding_iter": 1, "train_lora_iter": 1, "checkpoint_every": 1}
    project = Project.create(tmp_path / "project")
    project.add_case("cat", mask=True)
    early = project.run("-n", "--config", "model=infinity_2b", status=1, env=environment)
    assert "run `editinfinity weights fetch infinity_2b` once" in early.stderr
    assert "Traceback" not in early.stderr

    for name, settings in (("infinity_2b", short), ("infinity_8b", BARE)):
        done = weights(environment, "fetch", name)
        assert done.returncode == 0, done.stderr
        assert f"ready: set model: {name} in config.yaml" in done.stdout
        project.configure(model=name, results=name, **settings)
        run = project.call(env=environment)
        assert run.stderr.count("(Rule: finish)") == 1, run.stderr
        with Image.open(project.folder / name / "cat" / "edit.png") as picture:
            assert picture.size == (80, 64)
    assert (project.folder / "infinity_2b/cat/lora/embedding1/iter1").is_dir()
    asked = {file for file, _ in hub.downloads()}
    assert not asked & {"infinity_vae_d32.pth", "infinity_125M_256x256.pth", "tf_model.h5"}
    assert weights(environment, "verify", "infinity_2b", "infinity_8b").returncode == 0

    # Once there, nothing is fetched again, and offline works.
    count = len(hub.downloads())
    for name, offline in (("infinity_2b", "0"), ("infinity_8b", "1")):
        again = weights({**environment, "HF_HUB_OFFLINE": offline}, "fetch", name)
        assert again.returncode == 0, again.stderr
    assert len(hub.downloads()) == count


def test_a_broken_download_goes_on_where_it_stopped(
    tmp_path: Path, hub: Hub, environment: dict[str, str]
) -> None:
    file = "infinity_2b_reg.pth"
    larger = shutil.copytree(hub.repositories[SHARED[0]], tmp_path / "larger")
    state = transformer_state(shrunk("infinity_2b"))
    # The library keeps what came in pieces of 10 MB.
    state["block_chunks.0.module.0.sa.zero_k_bias"] = torch.zeros(2**23)
    torch.save(state, larger / file)
    hub.repositories = {**hub.repositories, SHARED[0]: larger}
    hub.break_off = {file}
    first = weights(environment, "fetch", "infinity_2b")
    if first.returncode:  # the library may itself have tried again
        assert "Traceback" not in first.stderr
        assert weights(environment, "fetch", "infinity_2b").returncode == 0
    ranges = [asked for name, asked in hub.downloads() if name == file]
    assert ranges[0] is None and ranges[-1] not in (None, "bytes=0-")


def test_damage_on_the_way_is_found_and_mended(
    tmp_path: Path, hub: Hub, environment: dict[str, str]
) -> None:
    hub.damage = {"infinity_vae_d32reg.pth"}
    done = weights(environment, "fetch", "infinity_2b")
    assert done.returncode == 1
    assert "infinity_vae_d32reg.pth: was downloaded damaged (its checksum differs)" in done.stderr
    assert "Traceback" not in done.stderr
    hub.damage = set()
    done = weights(environment, "fetch", "infinity_2b", "--download-to", tmp_path / "plain")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plain" / "flan-t5-xl" / "config.json").is_file()
    hub.damage = {"infinity_vae_d32reg.pth"}
    shutil.rmtree(tmp_path / "plain2", ignore_errors=True)
    done = weights(environment, "fetch", "infinity_2b", "--download-to", tmp_path / "plain2")
    assert "downloaded damaged" in done.stderr and done.returncode == 1

    # The plain folder is what `convert` takes.
    made = tmp_path / "made"
    done = weights(
        environment, "convert", "infinity_2b", "--from", tmp_path / "plain", "--to", made
    )
    assert done.returncode == 0 and "model_dir" in done.stdout
    assert "one unexpected" not in done.stdout.replace("none unexpected", "")
    assert "complete" in weights(environment, "verify", made / "transformer.safetensors").stdout


def told_in_a_line(stderr: str, fault: str) -> None:
    lines = [line for line in stderr.splitlines() if line.startswith("editinfinity: ")]
    assert len(lines) == 1 and fault in lines[0], stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    "change, arguments, fault",
    [
        ({"HF_HUB_OFFLINE": "1"}, (), "go online (and unset HF_HUB_OFFLINE)"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, (), "cannot be reached"),
        ({}, ("--revision", "nope/x"), "FoundationVision/Infinity"),
    ],
)
def test_faults_on_the_way_to_the_hub_are_one_line(
    environment: dict[str, str], change: dict[str, str], arguments: tuple[str, ...], fault: str
) -> None:
    done = weights({**environment, **change}, "fetch", "infinity_2b", *arguments)
    assert done.returncode == 1
    told_in_a_line(done.stderr, fault)


@pytest.mark.parametrize(
    "arguments, fault",
    [
        (("fetch", "infinity_3b"), "no released model is called 'infinity_3b'"),
        (("fetch", "infinity_2b", "--dtype", "int4"), "--dtype: must be released or bf16, got 'i"),
        (("convert", "infinity_2b", "--from", "/nowhere"), "/nowhere is not a folder"),
        (("convert", "infinity_2b", "--from", "/"), "contains no infinity_vae_d32*reg*"),
        (("verify", "nothing.pth"), "nothing.pth: there is no such file"),
        (("verify", __file__), "is damaged or not plain weights"),
    ],
)
def test_faults_before_anything_is_fetched_are_one_line(
    arguments: tuple[str, ...],
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["editinfinity", "weights", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    told_in_a_line(capsys.readouterr().err, fault)
