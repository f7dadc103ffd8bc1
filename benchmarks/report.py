"""Size of the report page for many cases, time to make it, and time to its first view.

Photographs and edits have realistic detail, at the size ``--pixels``:
thumbnails of plain pictures would be too small. The browser measures the first view: the first
pictures are decoded and the next frame is drawn, since the start of the navigation.

    python benchmarks/report.py [--cases 500] [--pixels 1024]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from editinfinity.results.report.make import make_report
from tests.report.browser import chromium
from tests.report.made import load, make_data, make_results

PHOTOGRAPH = Path(__file__).parents[1] / "data" / "photo" / "image" / "original_image.jpg"


def main() -> None:
    """Make the cases, the page twice, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--pixels", type=int, default=1024, help="longest side of a photograph")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with Image.open(PHOTOGRAPH) as image:
            photograph = image.convert("RGB")
        photograph.thumbnail((args.pixels, args.pixels))
        rng = np.random.default_rng(0)
        for number in range(args.cases):
            kind = {"mask": True} if number % 3 == 0 else {"word": "dog"} if number % 3 == 1 else {}
            make_data(f"case {number}", picture=_altered(photograph, rng), **kind)
        config, cases = load()
        make_results(config, cases, edited=_altered(photograph, rng))
        rows = [("cases, photographs of", f"{args.cases}, {photograph.width}×{photograph.height}")]
        for what in ("making the page", "making it again"):
            began = time.perf_counter()
            page = make_report(config, cases)
            rows.append((what, f"{time.perf_counter() - began:.1f} s"))
        rows.append(("size of the page", f"{page.stat().st_size / 1e6:.1f} MB"))
        for what, size in (("first view, desktop", (1440, 900)), ("first view, phone", (390, 844))):
            rows.append((what, f"{_first_view(page, *size) / 1000:.2f} s"))
    print("| what | number |\n|---|--:|")
    print("\n".join(f"| {what} | {number} |" for what, number in rows))


def _altered(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the photograph with random rotation, mirroring and light, so that files differ."""
    picture = photograph.rotate(float(rng.uniform(-8, 8)), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain = rng.uniform(0.8, 1.2, 3)
    pixels = np.clip(np.asarray(picture, np.float32) * gain, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def _first_view(page: Path, width: int, height: int) -> float:
    """Return the milliseconds to the first view."""
    with chromium(width, height) as browser:
        browser.get("about:blank")
        browser.get(page.absolute().as_uri())
        mark = "return performance.getEntriesByName('first-view')[0]?.startTime"
        give_up = time.monotonic() + 60
        while (found := browser.execute_script(mark)) is None and time.monotonic() < give_up:
            time.sleep(0.05)
        return float(found)


if __name__ == "__main__":
    main()
