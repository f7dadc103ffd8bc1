"""How long a further prompt takes on the page, compared with the drawing alone; without a browser.

    python benchmarks/further_prompt.py                                        the bundled model
    python benchmarks/further_prompt.py --model infinity_2b --model-dir FOLDER       on a GPU

Starts the app, hardly trains on a photograph, then sends what the page sends for each further
prompt, and waits for the picture that the page shows first (*seen*), and for the photograph that it
shows when that is written (*saved*). After that, the parts of such an edit are timed one by one in
this process, with a Python pipeline as the app's. *Drawing* is sampling and decoding.
``--model-dir`` gets random weights at the model's real size, unless they are there (7 GB for
infinity_2b). Needs the extra ``app``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from editinfinity.environment import let_idle_threads_sleep

let_idle_threads_sleep()  # as the app's process does, before torch is imported

import torch
from batch import write_weights
from PIL import Image

from editinfinity import EditInfinityPipeline, pipeline
from editinfinity.app.tries import DONE, ENDED, SAVING
from editinfinity.presets import preset
from tests.app.running import QUICK, App, box_mask, path_of

PHOTOGRAPH = ROOT / "data" / "photo" / "image" / "original_image.jpg"
SOURCE = "a red apple on a table"
COLOURS = ("green", "blue", "pink", "grey", "black", "brown", "white", "orange", "purple", "violet")
PROMPTS = [f"a {colour} apple" for colour in COLOURS]
WARM_UP = 3
"""Pictures that are not counted: on a GPU the third is the first that is replayed."""

PARTS = ("encode_prompt", "render", "draw", "decode")
"""Functions that the pipeline calls."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--height", type=int, default=1200)
    options = parser.parse_args()
    size, weights = (options.width, options.height), options.model_dir
    if weights is not None:
        weights = weights.resolve()
        weights.mkdir(parents=True, exist_ok=True)
        write_weights(preset(options.model), weights, torch.bfloat16)
    box = (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2)
    print(f"{options.model}, {size[0]}x{size[1]}, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Image.open(PHOTOGRAPH) as picture:
            picture.resize(size, Image.Resampling.LANCZOS).save(folder / "photo.jpg", quality=95)
        waited = waits_on_page(folder, options.model, weights, box_mask(size, box))
        drawing = parts_of_edit(folder, options.model, weights, box)
    print(f"waited / drawing: {waited:.3f} / {drawing:.3f} = {waited / drawing:.2f}")


def waits_on_page(folder: Path, model: str, weights: Path | None, mask: bytes) -> float:
    """Return the median of the seconds from *Draw* to the picture, for a learned photograph."""
    options = [] if weights is None else ["--set", f"model_dir={weights}"]
    app = App.start("photo.jpg", *QUICK, *options, cwd=folder, model=model)
    times = []
    try:
        app.listen()
        (photograph,) = app.state()["photographs"]
        path = path_of(photograph["id"])
        app.request("PUT", f"{path}/mask", mask)
        print(" seen/s  saved/s", flush=True)
        for prompt in PROMPTS:
            app.put(path, {"source": SOURCE, "prompt": prompt})
            start = time.monotonic()
            number = app.post(f"{path}/tries").json["try"]
            made = _heard(app, number, (SAVING, *ENDED))
            assert made["state"] in (SAVING, DONE), made["line"]
            app.get(f"{path}/tries/{number}/view").picture().load()
            times.append(time.monotonic() - start)
            assert _heard(app, number, ENDED)["state"] == DONE
            app.get(f"{path}/tries/{number}/picture").picture().load()
            print(f"{times[-1]:7.3f}  {time.monotonic() - start:7.3f}", flush=True)
    finally:
        app.close()
    return statistics.median(times[WARM_UP:])


def _heard(app: App, number: int, states: Sequence[str]) -> dict[str, Any]:
    """Return a try as soon as the page would hear that it is in one of some states."""
    while True:
        for event in reversed(app.events):
            made: dict[str, Any] | None = event.get("try") if event["type"] == "try" else None
            if made and made["n"] == number and made["state"] in states:
                return made
        assert app.process.poll() is None, "the app has ended"
        time.sleep(0.002)


def parts_of_edit(
    folder: Path, model: str, weights: Path | None, box: tuple[int, int, int, int]
) -> float:
    """Print the median seconds of each part of a further edit; return those of the drawing."""
    pipe = EditInfinityPipeline.from_pretrained(model, model_dir=weights)
    photograph = folder / "photo.jpg"
    inversion = pipe.invert(photograph, SOURCE, embedding_iterations=1, lora_iterations=2)
    left, top, right, bottom = box
    times: dict[str, list[float]] = defaultdict(list)
    for part in PARTS:
        setattr(pipeline, part, _timed(getattr(pipeline, part), times[part]))
    for prompt in PROMPTS:
        edit = _timed(pipe.edit, times["edit, all"])
        picture = edit(inversion, prompt, mask=(left, top, right - left, bottom - top))
        _timed(picture.save, times["save"])(folder / "edit.png")
    seconds = {part: statistics.median(each[WARM_UP:] or [0]) for part, each in times.items()}
    for part, each in seconds.items():
        print(f"{part:14} {each:6.3f} s")
    return seconds["draw"] + seconds["decode"]


def _timed(function: Callable[..., Any], times: list[float]) -> Callable[..., Any]:
    """Return a function that does the same and appends its seconds to ``times``.

    It waits for what it queued on a GPU, where otherwise the pipeline would prepare the seam
    meanwhile, and that time would be missing in the drawing.
    """

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **options)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        return result

    return timed


if __name__ == "__main__":
    main()
