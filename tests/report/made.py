"""Results as a run leaves them, made in a moment: every kind of file the page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from editinfinity.cases.case import Cases
from editinfinity.cases.load import load_cases
from editinfinity.config.load import Config, load_config
from editinfinity.files.maps import ATTENTION, KERNEL, save_map
from editinfinity.files.tensors import save_tensors
from editinfinity.jobs.record import ResourceUsage
from editinfinity.planning.targets import layout
from editinfinity.planning.variants import variants_of
from tests.jobs.records import done, write_record
from tests.jobs.records import failed as failed_with
from tests.workflow.project import draw_mask, write

HOSTILE = '</script><script>document.title="broken in"</script><img src=x onerror=alert(1)>'
"""A prompt that must be nothing but text on the page."""


def load(**settings: Any) -> tuple[Config, Cases]:
    """The configuration of the current folder and its cases."""
    config = load_config({"data": "data", **settings})
    return config, load_cases(config)


def make_data(
    name: str,
    prompt: str = "a cat on a hill",
    *,
    size: tuple[int, int] = (160, 128),
    mask: bool = False,
    word: str | None = None,
    seed: int = 1,
    picture: Image.Image | None = None,
) -> None:
    """One case below ``data``; sizes are (width, height)."""
    folder = Path("data", name)
    write(folder / "prompt" / "original_image_prompt.txt", "a dog on a hill")
    write(folder / "prompt" / "edit_image_prompt.txt", prompt)
    (folder / "image").mkdir(parents=True)
    (picture or scene(size, seed)).save(folder / "image" / "original_image.jpg", quality=90)
    if mask:
        draw_mask(folder / "image" / "mask.png", min(size) // 3, size)
    if word is not None:
        write(folder / "prompt" / "target_word.txt", word)


def make_results(
    config: Config,
    cases: Cases,
    *,
    failed: Mapping[str, str] | None = None,
    metrics: Sequence[str] = ("background_psnr", "clip_edited"),
    edited: Image.Image | None = None,
) -> None:
    """Everything a run would have written; of failed cases (name → reason) the record alone."""
    for number, (name, case) in enumerate(cases.by_name.items()):
        where = layout(config, name)
        folder = Path(where.folder)
        logs = folder / "logs"
        if name in (failed or {}):
            write_record(logs, "check", failed_with((failed or {})[name]))
            continue
        with Image.open(case.image) as image:
            width, height = image.size
        side = min(width, height)
        crop = [(height - side) // 2, (width - side) // 2, side, side]
        geometry = {"image_size": [height, width], "crop": crop, "model_size": [64, 64]}
        _training(folder)
        save_tensors(
            folder / "features" / "image.safetensors",
            {"nothing": np.zeros(1, np.float32)},
            {"kind": "image", "geometry": geometry},
        )
        (folder / "check.json").write_text(json.dumps({"warnings": []}), "utf-8")
        for edit in case.edits.values():
            place = folder / "edit" / edit.name
            place.mkdir(parents=True)
            for index, variant in enumerate(variants_of(edit.settings)):
                picture = edited or scene((64, 64), 100 + number + index)
                picture.save(place / f"{variant.name}.png")
                facts = {"prompt": "a cat", "seed": variant.seed, "geometry": geometry}
                (place / f"{variant.name}.json").write_text(json.dumps(facts), "utf-8")
                values = dict.fromkeys(metrics, 20.0 + number + index / 10)
                missing = {"clip_edited": "no weights; run editinfinity weights fetch clip"}
                values["clip_edited"] = None
                told = json.dumps({"values": values, "missing": missing})
                if metrics:
                    (place / f"{variant.name}.metrics.json").write_text(told, "utf-8")
                write_record(logs, f"edit/{edit.name}/{variant.name}", *done(2.5 + number))
            (edited or scene((width, height), 200 + number)).save(where.result(edit.name))
            if edit.mask_source != "none":
                _masks(folder / "mask" / edit.name, (width, height), edit.mask_source)
            write_record(logs, f"edit/{edit.name}/finish", *done(0.5))


def scene(size: tuple[int, int], seed: int) -> Image.Image:
    """Soft colours, (width, height) = ``size``."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def _masks(folder: Path, size: tuple[int, int], source: str) -> None:
    folder.mkdir(parents=True)
    draw_mask(folder / "mask.png", min(size) // 3, size)
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    save_map(folder / "kernel-linear.safetensors", KERNEL, ramp, {})
    if source == "attention":
        save_map(folder / "attention.safetensors", ATTENTION, ramp, {})


def _training(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for place, first, last in (
        ("text_embedding/iter10.losses.tsv", 1, 10),
        ("lora/embedding10/iter10/losses.tsv", 1, 10),
        ("lora/embedding10/iter20/losses.tsv", 11, 20),
    ):
        rows = [f"{n}\t{0.5 / n**0.2 + rng.normal() / 50:.6f}" for n in range(first, last + 1)]
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["iteration\tloss", *rows]) + "\n", "utf-8")
    write_record(folder / "logs", "check", *done(0.7, 51_500_000))
    for last, seconds, memory, card in ((10, 7.9, 812, None), (20, 7.5, 912, 3456 * 10**6)):
        usage = ResourceUsage("train_lora", seconds, memory * 10**6, card)
        job = f"lora/embedding10/iter{last}"
        write_record(folder / "logs", job, usage, *done(8.0, 51_500_000))
