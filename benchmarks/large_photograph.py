"""Time and memory of the processing of a 24-megapixel photograph outside the model.

    python benchmarks/large_photograph.py

Also measures the additional JPEG loss outside the edit, with the original's quantisation tables.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from editinfinity.editing.blend_mask import make_blend_mask
from editinfinity.files.cropping import crop_around
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import read_image, schedule_for, to_model, write_png
from editinfinity.files.maps import KERNEL, save_map
from editinfinity.files.masks import read_mask
from editinfinity.stages.finish import finish

SIZE = (4000, 6000)


def timed(what: str, call: Callable[[], object]) -> object:
    start = time.perf_counter()
    value = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.perf_counter() - start:.2f} s, peak so far {peak:.2f} GiB")
    return value


def main() -> None:
    print(f"load {Path('/proc/loadavg').read_text()[:4]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = np.random.default_rng(0).integers(0, 256, (500, 750, 3), dtype=np.uint8)
        photo = Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC)
        photo.save(folder / "photo.jpg", quality=92)
        mask = Image.new("L", SIZE[::-1], 255)
        mask.paste(0, (3000, 2000, 3400, 2300))
        mask.save(folder / "mask.png")
        del photo, mask
        image = timed("read for the model", lambda: read_image(folder / "photo.jpg"))
        edited = timed("read the mask", lambda: read_mask(folder / "mask.png", SIZE))
        timed("crop around it", lambda: crop_around([edited], "1M"))
        geometry = Geometry.fit(SIZE, schedule_for(SIZE, "1M").image_size)
        seen = timed("scale for the model", lambda: to_model(image, geometry))
        grid = (54, 72) if geometry.model_size[0] < geometry.model_size[1] else (72, 54)
        grid = tuple(side // 16 for side in geometry.model_size)
        kernel = timed("kernel", lambda: make_blend_mask(edited, grid, "linear"))
        save_map(folder / "kernel.st", KERNEL, kernel, {})
        drawn = Image.new("RGB", geometry.model_size[::-1], (200, 30, 30))
        write_png(folder / "drawn.png", drawn)
        levels = ((seen.transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
        write_png(folder / "rendering.png", Image.fromarray(levels))
        given = {
            "edited": folder / "drawn.png",
            "image": folder / "photo.jpg",
            "kernel": folder / "kernel.st",
            "rendering": folder / "rendering.png",
        }
        for background, ending in (("exact", "png"), ("detail", "png"), ("detail", "jpg")):
            more = {"background": background, "output": folder / f"out.{ending}"}
            timed(
                f"finish with {background} as {ending}", lambda more=more: finish(**given, **more)
            )
        before = np.asarray(Image.open(folder / "photo.jpg")).astype(np.int16)
        exact = np.asarray(Image.open(folder / "out.png")).astype(np.int16)
        jpeg = np.asarray(Image.open(folder / "out.jpg")).astype(np.int16)
        kept = (exact == before).all(-1)
        loss = np.abs(jpeg - before)[kept]
        print(
            f"unchanged in PNG {kept.mean():.2%}; JPEG's loss there: mean {loss.mean():.3f}, "
            f"99th percentile {np.percentile(loss, 99):.0f}, most {loss.max()} of 255"
        )


if __name__ == "__main__":
    main()
