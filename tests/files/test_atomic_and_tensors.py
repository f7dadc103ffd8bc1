"""Files are whole or absent, and equal content is equal bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path, reserve_path, write_json, write_text
from editinfinity.files.tensors import load_arrays, load_tensors, save_tensors

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""Runs a command as root of its own, so that it may mount."""


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_the_name_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 240 + ".png")
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".png"
        temporary.write_bytes(b"data")
        assert not target.exists()
    assert target.read_bytes() == b"data"


def test_results_are_readable_as_other_files_are(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "")


def test_what_a_killed_writer_leaves_goes_with_the_next_and_a_live_ones_does_not(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from editinfinity.files.atomic import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path: path.write_text('half'); os.abort()"
    )
    target = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False, capture_output=True)
    (left,) = tmp_path.iterdir()
    with atomic_path(target) as mine:
        assert not left.exists()
        write_text(target, "another writer")
        assert mine.exists()
        mine.write_text("done")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "done"


FULL = """
import sys; from pathlib import Path; import numpy as np; from PIL import Image
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_bytes
from editinfinity.files.images import write_png
from editinfinity.files.tensors import save_tensors
folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
for name, write in {
    "bytes": lambda path: write_bytes(path, noise.tobytes()),
    "picture.png": lambda path: write_png(path, Image.fromarray(noise)),
    "tensors": lambda path: save_tensors(path, {"a": noise}, {"kind": "test"}),
}.items():
    try:
        write(folder / name)
    except UserError as fault:
        print(fault)
print(sorted(path.name for path in folder.iterdir()))
"""


def test_a_full_disk_is_one_line_and_no_file(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=1M tmpfs '{tmp_path}'"
    script = f"""{mount} && exec '{sys.executable}' -c "$0" '{tmp_path}'"""
    command = [*NAMESPACE, "sh", "-c", script, FULL]
    run = subprocess.run(command, text=True, capture_output=True, check=False)
    if "mount" in run.stderr or "unshare" in run.stderr:
        pytest.skip("a small disk cannot be made here")
    lines = run.stdout.splitlines()
    assert len(lines) == 4 and lines[3] == "[]", run.stdout + run.stderr
    assert all("No space left on device" in line and "make room" in line for line in lines[:3])


def test_json_is_sorted(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'


def test_tensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array([1], np.uint8)}
    save_tensors(tmp_path / "t", arrays, {"kind": "test", "ratio": 1.25})
    loaded, metadata = load_arrays(tmp_path / "t", "test", ["a", "b"])
    assert metadata == {"kind": "test", "ratio": 1.25}
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    mixed = {"a": torch.ones(2, 2, dtype=torch.bfloat16).T, "b": arrays["b"]}
    save_tensors(tmp_path / "m", mixed, {"kind": "test"})
    again, _ = load_tensors(tmp_path / "m", "test")
    assert torch.equal(again["a"], mixed["a"]) and again["b"].tolist() == [1]


def test_equal_content_is_equal_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from editinfinity.files.tensors import save_tensors;"
        "names = 'abcdefgh' if sys.argv[2] == '0' else 'hgfedcba';"
        "save_tensors(Path(sys.argv[1]), {n: np.full(3, ord(n)) for n in names},"
        " {n: n for n in names})"
    )
    for seed in "01":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path / seed), seed]
        subprocess.run(command, check=True, env=environment)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_faults_of_tensor_files(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t", {"a": np.zeros(100)}, {"kind": "kernel"})
    with pytest.raises(UserError, match="there is no such file"):
        load_arrays(tmp_path / "none", "kernel")
    with pytest.raises(UserError, match="contains kernel, not image_features"):
        load_arrays(tmp_path / "t", "image_features")
    with pytest.raises(UserError, match="lacks b, c"):
        load_arrays(tmp_path / "t", "kernel", ["c", "a", "b"])
    whole = (tmp_path / "t").read_bytes()
    for name, data in {"cut": whole[:-9], "text": b"hello", "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name}: is damaged"):
            load_arrays(tmp_path / name, "kernel")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(UserError, match="contains unknown data"):
        load_arrays(tmp_path / "foreign", "kernel")


def test_a_name_is_claimed_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    assert reserve_path(path) and not reserve_path(path)
    with pytest.raises(UserError, match="cannot be written"):
        reserve_path(Path("/proc/a.png"))
    with pytest.raises(UserError, match="cannot be written"):
        reserve_path(tmp_path / ("a" * 300))
    with pytest.raises(UserError, match="cannot be written"):
        reserve_path(path / "below a file.png")
