"""Study of what ``background: detail`` gains: the part of a picture that an edit leaves unchanged.

    python -m training.ablation make
    python -m training.detail_study

The edits are those of the ablation (120 held-out scenes, 256×256), drawn under their masks with
nothing learned, by plain guidance. Each drawing is composited with every background by the
package's own code, and measured against the source in three regions, in which the wanted picture
equals the source: outside the blend mask's reach (``far``: G = 1), within the reach and outside the
mask (``rim``), and inside the mask (``inside``). ``right`` and ``to_wanted`` show whether anything
is lost where the edit does change the picture. The rows go to ``training/studies/detail.tsv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from editinfinity.editing.blend_mask import make_blend_mask, resample_blend_mask
from editinfinity.evaluation.names import PSNR_CAP
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from editinfinity.files.geometry import Geometry
from editinfinity.files.photograph import photograph_of
from editinfinity.method.composite import Compositor
from editinfinity.settings.groups import FinishSettings
from training.ablation.drawing import Slice, Studio
from training.ablation.edits import PACK, Edits, read, read_facts
from training.ablation.measures import Witnesses, pixels_of
from training.ablation.statistics import interval
from training.ablation.variants import NOTHING, Variant
from training.lpips import Lpips
from training.tables import write_table

BACKGROUNDS = ("decoded", "exact", "detail")
REGIONS = ("far", "rim", "inside")
MEASURES = (*(f"{measure}_{name}" for name in REGIONS for measure in ("psnr", "lpips")),
            "right", "to_wanted")  # fmt: skip

Row = dict[str, object]


def composited(
    edits: Edits, drawn: Tensor, rendering: Tensor, masks: list[np.ndarray], background: str
) -> Tensor:
    """Return the finished pictures (S, 3, H, W) of a slice, in [−1, 1]."""
    sources, pictures, known = (pixels_of(each) for each in (edits.source, drawn, rendering))
    finished = []
    for source, picture, same, mask in zip(sources, pictures, known, masks, strict=True):
        compositor = Compositor(
            photograph_of(Image.fromarray(source)),
            Geometry.fit(source.shape[:2], picture.shape[:2]),
            mask,
            FinishSettings(background=background),
            Image.fromarray(same) if background == "detail" else None,
        )
        result = compositor.paste(Image.fromarray(picture))
        finished.append(np.asarray(result.pixels))
    pixels = torch.from_numpy(np.stack(finished)).permute(0, 3, 1, 2)
    return pixels.to(drawn.device) / 127.5 - 1


def unchanged_rows(part: Slice, finished: Tensor, reach: Tensor, lpips: Lpips) -> list[Row]:
    """Return PSNR and LPIPS of the unchanged pixels of every region; ``reach`` is (S, H, W)."""
    edits = part.edits
    same = ((edits.wanted - edits.source).abs().amax(1) * 127.5) < 1
    regions = same & ~reach, same & reach & ~edits.mask, same & edits.mask
    rows: list[Row] = [{} for _ in edits.facts]
    for name, region in zip(REGIONS, regions, strict=True):
        where, sizes = region[:, None], region.sum((1, 2))
        error = (((finished - edits.source) / 2).square().mean(1) * region).sum((1, 2)) / sizes
        decibels = (-10 * error.clamp(min=1e-12).log10()).clamp(max=PSNR_CAP)
        black = torch.full_like(finished, -1)
        with torch.no_grad():
            distance = lpips(
                torch.where(where, finished, black), torch.where(where, edits.source, black)
            )
        for row, psnr, far, size in zip(rows, decibels, distance, sizes, strict=True):
            row[f"psnr_{name}"] = float(psnr) if size else float("nan")
            row[f"lpips_{name}"] = float(far) if size else float("nan")
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carry", type=Path, default=Path(".carry/ablation"))
    parser.add_argument("--count", type=int, default=120, help="edits, of every kind in proportion")
    parser.add_argument("--slice", type=int, default=20, help="edits at once")
    parser.add_argument("--output", type=Path, default=Path("training/studies/detail.tsv"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    studio = Studio.load(device)
    lpips = Lpips(options.carry / "lpips.safetensors").to(device).eval()
    witnesses = Witnesses(load_judge(WEIGHTS, device), lpips)
    everything = [fact.edit for fact in read_facts(options.carry / PACK)]
    numbers = everything[:: len(everything) // options.count]
    rows: list[Row] = []
    for first in range(0, len(numbers), options.slice):
        edits = read(options.carry / PACK, numbers[first : first + options.slice], device)
        part = Slice(studio, edits, first // options.slice)
        with torch.no_grad():
            drawn = part.draw(Variant(NOTHING))
        blend_masks = [
            make_blend_mask(mask, studio.plan.reference_grid, "linear")
            for mask in edits.mask.cpu().numpy()
        ]
        side = edits.mask.shape[1:]
        enlarged = np.stack([resample_blend_mask(each, side) for each in blend_masks])
        reach = torch.from_numpy(enlarged < 1).to(device)
        for background in BACKGROUNDS:
            finished = composited(edits, drawn, part.rendering, blend_masks, background)
            unchanged = unchanged_rows(part, finished, reach, lpips)
            judged = witnesses(finished, part.rendering, edits)
            rows += [
                {
                    "edit": fact.edit, "kind": fact.kind, "background": background, **same,
                    "right": float(found["right"]), "to_wanted": found["to_wanted"],
                }
                for fact, same, found in zip(edits.facts, unchanged, judged, strict=True)
            ]  # fmt: skip
        write_table(options.output, rows)
    _print(rows)


def _print(rows: list[Row]) -> None:
    """Print means with intervals, and the paired differences of ``detail`` from ``exact``."""

    def values(background: str, measure: str) -> np.ndarray:
        chosen = (row for row in rows if row["background"] == background)
        return np.array([row[measure] for row in chosen], dtype=float)

    for measure in MEASURES:
        exact, detail = (values(name, measure) for name in ("exact", "detail"))
        scale, digits = (1000, 1) if "lpips" in measure or measure == "to_wanted" else (1, 2)
        cells = [interval(values(name, measure)).cell(scale, digits) for name in BACKGROUNDS]
        change = interval(detail - exact).cell(scale, digits, signed=True)
        print(measure, *cells, change, sep=" | ")


if __name__ == "__main__":
    main()
