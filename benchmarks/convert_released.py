"""Time and memory of converting a released model at its real size, with random values.

    python benchmarks/convert_released.py FOLDER [MODEL]

Writes files of the real names, keys and shapes (tests/parity_data/released; 9 GB for infinity_2b)
into FOLDER, converts transformer and tokenizer, verifies them and deletes everything. What counts
is memory that only the process's end gives back (``RssAnon``) and the most that was resident,
pages of mapped files included (``VmHWM``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from editinfinity.files.state_dicts import find_weight_files
from editinfinity.presets import preset
from editinfinity.released.catalogue import release
from editinfinity.released.convert import _convert_part
from editinfinity.released.verify import verify
from tests.released.files import TOKENIZER_FILE, TOKENIZER_LIST, released_shapes


def write_full_size(model: str, folder: Path) -> None:
    """Random files in a process of its own, whose memory must not count."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for file, keys in (
        ("infinity_2b_reg.pth", model),
        (TOKENIZER_FILE[model], TOKENIZER_LIST[model]),
    ):
        state = {}
        for key, shape in released_shapes(keys).items():
            state[key] = torch.empty(shape).uniform_(-1, 1, generator=generator)
        torch.save({"vae": state} if "vae" in file else state, folder / file)


def status(name: str) -> float:
    """A line of /proc/self/status, in GiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 2**20
    return 0.0


class Watch(threading.Thread):
    """The most anonymous and resident memory, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = {"RssAnon": 0.0, "VmRSS": 0.0}

    def run(self) -> None:
        while True:
            for name in self.most:
                self.most[name] = max(self.most[name], status(name))
            time.sleep(0.05)


def main(folder: Path, model: str = "infinity_2b") -> None:
    source, target = folder / "released", folder / "converted"
    subprocess.run([sys.executable, __file__, "--write", str(source), model], check=True)
    size = sum(path.stat().st_size for path in source.iterdir()) / 2**30
    print(f"{size:.1f} GiB of released files; load {Path('/proc/loadavg').read_text()[:4]}")
    watch = Watch()
    before = status("VmRSS")
    watch.start()
    try:
        for part in ("tokenizer", "transformer"):
            start = time.perf_counter()
            files = find_weight_files(source, release(model)[part].pattern, part)
            done = _convert_part(preset(model), part, files, target)
            seconds = time.perf_counter() - start
            print(f"{part}: {done.tensors} tensors, {done.size / 2**30:.2f} GiB, {seconds:.1f} s")
        print(f"memory before {before:.2f} GiB, most {watch.most}")
        for path in sorted(target.iterdir()):
            start = time.perf_counter()
            print(verify(path)[0].line(), f"({time.perf_counter() - start:.1f} s)")
    finally:
        shutil.rmtree(source)
        shutil.rmtree(target)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write_full_size(sys.argv[3], Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), *sys.argv[2:])
