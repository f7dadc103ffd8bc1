"""How far the alignment of the bundled world can be trusted, on held-out pictures.

    python -m training.alignment_study --each 64 --drawn 12

Scenes with object × background pairs that neither the judge nor the model saw, ``--each`` of every
kind of edit, each asked about by the caption of the wanted scene:

- the true picture, against 75 other things put in the place of the edited one in the question, and
  against its nine other colours where one was named;
- the picture before the edit, which does not show what is asked for;
- with ``--drawn``, that many of each kind drawn by the bundled model.

With the mask and without it. Writes ``alignment.tsv``, a line a kind of picture and question, and
``alignment_scores.tsv``, a line a picture.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from editinfinity.editing.sampler import SamplingSettings
from editinfinity.evaluation.world.alignment import Alignment, JudgeOutput
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from editinfinity.evaluation.world.reading import NamedObject, ParsedPrompt, parse_prompt
from training.editor import load_editor
from training.evaluate import held_out_scenes
from training.look import to_bytes
from training.scenes import KINDS, Scenes, load_maker
from training.tables import write_table
from training.vocabulary import COLOUR_NAMES

log = logging.getLogger(__name__)

SURE = 0.5
"""From here on a picture counts as showing what was asked for."""


@dataclass(frozen=True)
class Score:
    """One picture asked about.

    Attributes:
        kind: of edit.
        picture: ``real``, ``before`` or ``drawn``.
        masked: whether the mask was told.
        caption: what was asked.
        score: alignment with it; None where it says nothing.
        best_other: the most that another thing in the place of the edited one gets.
        best_colour: the most that another colour of it gets.
    """

    kind: str
    picture: str
    masked: bool
    caption: str
    score: float | None
    best_other: float | None
    best_colour: float | None


def without_mask(looked: JudgeOutput) -> JudgeOutput:
    """The same where nobody told of a mask."""
    first = int(looked.masked)
    parts = looked.things[first:], looked.colours[first:], looked.centres[first:]
    return JudgeOutput(*parts, masked=False)


def edited_wanted(reading: ParsedPrompt, thing: int) -> NamedObject | None:
    """What a question says of the edited thing."""
    return next((wanted for wanted in reading.objects if wanted.thing == thing), None)


def swapped(reading: ParsedPrompt, old: NamedObject, new: NamedObject) -> ParsedPrompt:
    """The same question about another thing or colour."""
    wanted = tuple(new if each == old else each for each in reading.objects)
    return replace(reading, objects=wanted)


def scores_of(
    alignment: Alignment, scenes: Scenes, pictures: torch.Tensor, picture: str, things: int
) -> Iterator[Score]:
    """Every picture of a batch, with and without its mask."""
    for index, pixels in enumerate(to_bytes(pictures)):
        kind = KINDS[scenes.plan.kind[index]]
        caption = scenes.target_captions[index]
        reading = parse_prompt(caption)
        thing = int(scenes.plan.things[index, 1])
        mask = scenes.mask[index].cpu().numpy()
        told = alignment.judge_windows(pixels, mask)
        for looked in (told, without_mask(told)):
            score = looked.score(reading)
            other = colour = None
            wanted = edited_wanted(reading, thing)
            if wanted is not None and picture != "before":
                named = {each.thing for each in reading.objects}
                other = max(
                    looked.score(swapped(reading, wanted, replace(wanted, thing=t))) or 0.0
                    for t in range(things)
                    if t not in named
                )
                if wanted.colour is not None:
                    colour = max(
                        looked.score(swapped(reading, wanted, replace(wanted, colour=c))) or 0.0
                        for c in range(len(COLOUR_NAMES))
                        if c != wanted.colour
                    )
            yield Score(kind, picture, looked.masked, caption, score, other, colour)


def summary(scores: list[Score]) -> list[dict[str, object]]:
    """Shares by kind of edit, picture and mask."""
    rows = []
    for picture in ("real", "before", "drawn"):
        for masked in (True, False):
            for kind in (*KINDS, "all"):
                chosen = [
                    s
                    for s in scores
                    if s.picture == picture and s.masked == masked and kind in (s.kind, "all")
                ]
                known = [s for s in chosen if s.score is not None]
                if not known:
                    continue
                told = [s for s in known if s.best_other is not None]
                coloured = [s for s in known if s.best_colour is not None]
                rows.append(
                    {
                        "picture": picture,
                        "mask": "told" if masked else "not told",
                        "kind": kind,
                        "pictures": len(chosen),
                        "asked": len(known),
                        "sure": _share(s.score >= SURE for s in known),  # type: ignore[operator]
                        "median": float(np.median([s.score for s in known])),
                        "object told from 75 others": _share(s.score > s.best_other for s in told),  # type: ignore[operator]
                        "of": len(told),
                        "colour told from 9 others": _share(
                            s.score > s.best_colour  # type: ignore[operator]
                            for s in coloured
                        ),
                        "of them": len(coloured),
                    }
                )
    return rows


def _share(right: Iterator[bool]) -> float | str:
    found = list(right)
    return float(np.mean(found)) if found else "–"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("editinfinity/weights/bundled"))
    parser.add_argument("--judge", type=Path, default=WEIGHTS)
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--output", type=Path, default=Path("training/studies"))
    parser.add_argument("--each", type=int, default=64, help="scenes of every kind of edit")
    parser.add_argument("--drawn", type=int, default=0, help="of them drawn by the model, too")
    parser.add_argument("--backgrounds", type=int, default=64)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device("cpu")
    maker = load_maker(options.carry, device, options.backgrounds, cache=Path("build"))
    alignment = Alignment(load_judge(options.judge, device), device)
    things = len(maker.things)
    scores: list[Score] = []
    for scenes in held_out_scenes(maker, options.each):
        scores += scores_of(alignment, scenes, scenes.target, "real", things)
        scores += scores_of(alignment, scenes, scenes.source, "before", things)
        log.info("%d pictures", len(scores) // 2)
    if options.drawn:
        editor = load_editor(options.weights, options.carry, device)
        for seed, scenes in enumerate(held_out_scenes(maker, options.drawn)):
            edited = editor(scenes, scenes.target_captions, SamplingSettings(), seed=seed)
            scores += scores_of(alignment, scenes, edited.edit, "drawn", things)
            log.info("%d pictures", len(scores) // 2)
    rows = summary(scores)
    write_table(options.output / "alignment.tsv", rows)
    write_table(options.output / "alignment_scores.tsv", [vars(score) for score in scores])
    for row in rows:
        log.info("%s", row)


if __name__ == "__main__":
    main()
