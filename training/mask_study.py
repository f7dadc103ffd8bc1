"""Study of how well the automatic mask (attention of a target word) finds held-out objects.

    python -m training.mask_study --count 80

Scenes have one or two objects; the word is the edited object's name. Writes a line per scene to
``training/studies/masks.tsv``: intersection over union, on the map's 64×64 cells, of the object and
the cells above half of the map's range, which is how the workflow makes its mask.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.blend_mask import cells_of_attention
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.prompts import find_word, tokens_of
from training.bundled import Bundled
from training.scenes import KINDS, load_maker
from training.tables import write_table

SEED = 10_006
REMOVE = KINDS.index("remove")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--output", type=Path, default=Path("training/studies/masks.tsv"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    maker = load_maker(options.carry, device, 16, cache=Path("build"))
    bundled = Bundled.load(device)
    rows: list[dict[str, float]] = []
    for step in range(options.count):
        scenes = maker.batch(SEED, step, 1, held_out=True, kinds=np.array([REMOVE]))
        prompt = scenes.source_captions[0]
        thing = maker.things[scenes.plan.things[0, 0]]
        names = sorted((thing.name, *thing.synonyms), key=len, reverse=True)
        word = next(n for n in names if re.search(rf"\b{n}\b", prompt, re.IGNORECASE))
        photograph = bundled.encode(scenes.source)
        span = tokens_of(find_word(prompt, word), bundled.text.offsets(prompt))
        collector = AttentionCollector(bundled.plan, span)
        sample(
            bundled.transformer, bundled.features(prompt), bundled.plan, SamplingSettings(),
            torch.Generator().manual_seed(0), ReplaySource(photograph.codes), collector,
        )  # fmt: skip
        found = cells_of_attention(collector.mean.cpu().numpy(), options.threshold)
        truth = F.adaptive_avg_pool2d(scenes.source_object.float(), found.shape)[0] > 0.5
        cells = truth.cpu().numpy()
        union = (found | cells).sum()
        rows.append({
            "prompt": prompt, "word": word, "objects": 1 + int(scenes.plan.shown[0, 2]),
            "iou": float((found & cells).sum() / union), "found": float(found.mean()),
        })  # fmt: skip
        write_table(options.output, rows)
    for objects in (1, 2):
        ious = np.array([r["iou"] for r in rows if r["objects"] == objects])
        if len(ious):
            quartiles = ", ".join(f"{q:.2f}" for q in np.quantile(ious, (0, 0.25, 0.5, 0.75, 1)))
            print(f"{objects} objects: {len(ious)} scenes, mean {ious.mean():.3f}, {quartiles}")


if __name__ == "__main__":
    main()
