"""Edits of the study: held-out scenes with both prompts, the mask and the true place.

Three sets are judged: the 120 edits of the ablation, 60 of scenes with two things, and 40 in which
only the backdrop changes. A fourth set of 80 edits, of another seed, is only for choosing settings.
A pack holds the pictures and the encoded prompts (fp16), so drawing needs no text encoder. Only the
ablation's pictures are stored without loss, so that they are the same there and here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from editinfinity.files.features import PromptFeatures
from editinfinity.models.text_encoder import TextEncoder
from training.ablation import edits as ablation
from training.ablation.edits import Facts
from training.captions import caption
from training.judge import UNKNOWN, labels
from training.look import to_bytes
from training.scenes import KINDS, Plan, SceneMaker, Scenes
from training.vocabulary import BACKDROPS

SEED = 10_016
"""Seed of all scenes but the ablation's."""

TWO_THINGS = {"replace": 20, "recolour": 20, "add": 10, "remove": 10}
BACKDROPS_CHANGED = 40
TUNING = {"replace": 20, "recolour": 20, "add": 20, "remove": 20}

SETS = ("one", "two", "backdrop", "tuning")
BACKDROP = "backdrop"
"""Kind of an edit that changes only the backdrop."""

_TEXTS = ("source", "target", "source_close", "target_close")
"""Prompts of an edit. The captions of each picture are phrased independently, as two people would;
those of the close pair differ only in the words of the edit."""


@dataclass(frozen=True)
class Scene:
    """One edit of the study; pictures are (256, 256, 3) uint8, regions (256, 256) bool.

    Attributes:
        set: one of ``SETS``.
        facts: prompts and the judge's labels.
        word: the edited thing's name in the source prompt; empty if it is not there.
        source, wanted: pictures before and after the edit; equal outside ``mask``.
        mask: where the picture may change, like a hand-drawn mask.
        place: the true place: the edited thing itself, or all but the thing for a new backdrop.
        thing: the edited thing in the source; for a new backdrop, the thing that stays.
        texts: name of a prompt in ``_TEXTS`` → its features; with ``+`` behind the name, those
            with the caption suffix.
    """

    set: str
    facts: Facts
    word: str
    source: NDArray[np.uint8]
    wanted: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    place: NDArray[np.bool_]
    thing: NDArray[np.bool_]
    texts: dict[str, PromptFeatures]


_PICTURES = ("source", "wanted", "mask", "place", "thing")


def make(maker: SceneMaker, encoder: TextEncoder, path: Path, sets: tuple[str, ...]) -> None:
    """Make the edits of some sets, and pack them into one file."""
    tensors: dict[str, Tensor] = {}
    facts: list[dict[str, Any]] = []
    for name in sets:
        for pictures, described in _SETS[name](maker):
            number = len(facts)
            for part, array in pictures.items():
                tensors[f"{part}/{number}"] = ablation.file_of(array, lossless=name == "one")
            texts = {}
            for text in _TEXTS:
                for suffix in ("",) if text.endswith("_close") else ablation.SUFFIXES:
                    encoded = encoder.encode(described[text] + suffix)
                    key = text + ("+" if suffix else "")
                    tensors[f"prompt {key}/{number}"] = (
                        encoded.features[0].cpu().half().contiguous()
                    )
                    texts[key] = encoder.offsets(described[text] + suffix)
            facts.append({"set": name, **described, "edit": number, "offsets": texts})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"facts": json.dumps(facts)})


def read(path: Path, numbers: list[int] | None = None) -> Iterator[Scene]:
    """Yield the edits of a pack, or those with some numbers."""
    names = {field.name for field in fields(Facts)}
    with safe_open(path, "pt") as file:
        for fact in json.loads(file.metadata()["facts"]):
            number = fact["edit"]
            if numbers is not None and number not in numbers:
                continue
            arrays = {p: ablation.array_of(file.get_tensor(f"{p}/{number}")) for p in _PICTURES}
            outside = ~arrays["mask"]
            arrays["wanted"][outside] = arrays["source"][outside]
            texts = {
                key: PromptFeatures(
                    "bundled",
                    fact[key.rstrip("+")],
                    file.get_tensor(f"prompt {key}/{number}").float().numpy(),
                    [tuple(span) for span in spans],
                )
                for key, spans in fact["offsets"].items()
            }
            described = {"source_prompt": fact["source"], "prompt": fact["target"]}
            kept = {k: v for k, v in (fact | described).items() if k in names}
            yield Scene(fact["set"], Facts(**kept), fact["word"], **arrays, texts=texts)


def _one(maker: SceneMaker) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    for kind, count in ablation.COUNTS.items():
        kinds = np.full(count, KINDS.index(kind))
        scenes = maker.batch(ablation.SEED, KINDS.index(kind), count, held_out=True, kinds=kinds)
        yield from _edits(maker, scenes)


def _two(maker: SceneMaker) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    for kind, count in TWO_THINGS.items():
        yield from _edits(maker, maker.draw(_chosen(maker, kind, count, "two")))


def _tuning(maker: SceneMaker) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    for kind, count in TUNING.items():
        yield from _edits(maker, maker.draw(_chosen(maker, kind, count, "tuning")))


def _backdrop(maker: SceneMaker) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """Yield scenes of one thing whose backdrop alone changes."""
    plan = _chosen(maker, "recolour", BACKDROPS_CHANGED, BACKDROP)
    rng = np.random.default_rng([SEED, SETS.index(BACKDROP), 1])
    other = (plan.backdrop + rng.integers(1, len(BACKDROPS), len(plan.backdrop))) % len(BACKDROPS)
    before, after = maker.draw(plan), maker.draw(replace(plan, backdrop=other))
    things, colours = (part.tolist() for part in labels(before, maker, 0))
    for row, thing in enumerate(things):
        placed = [maker.placed(plan, row, 0)]
        texts = {
            name: caption(placed, BACKDROPS[backdrop[row]], np.random.default_rng([SEED, row, n]))
            for name, backdrop, n in (
                ("source", plan.backdrop, 0), ("target", other, 1),
                ("source_close", plan.backdrop, 2), ("target_close", other, 2),
            )
        }  # fmt: skip
        shown = before.source_object[row].cpu().numpy()
        pictures = {
            "source": to_bytes(before.source[row][None])[0],
            "wanted": to_bytes(after.source[row][None])[0],
            "mask": ~shown, "place": ~shown, "thing": shown,
        }  # fmt: skip
        name = maker.things[thing].name
        yield pictures, {
            "kind": BACKDROP, **texts, "word": "", "wanted": name, "thing": thing,
            "colour": colours[row],
        }  # fmt: skip


_SETS = {"one": _one, "two": _two, BACKDROP: _backdrop, "tuning": _tuning}


def _chosen(maker: SceneMaker, kind: str, count: int, name: str) -> Plan:
    """Return held-out scenes of a kind: of two things, of one thing for a backdrop, or of any."""
    rng = np.random.default_rng([SEED, SETS.index(name), KINDS.index(kind)])
    plan = maker.plan(rng, count * 8, True, np.full(count * 8, KINDS.index(kind)))
    companion = plan.shown[:, 2]
    wanted = {"two": companion, BACKDROP: ~companion}.get(name, np.ones(len(companion), bool))
    rows = np.flatnonzero(wanted)[:count]
    assert len(rows) == count
    parts = {field.name: getattr(plan, field.name) for field in fields(Plan)}
    every = parts.pop("captions")
    captions = [every[row] for row in rows]
    return Plan(**{key: array[rows] for key, array in parts.items()}, captions=captions)


def _edits(
    maker: SceneMaker, scenes: Scenes
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    plan = scenes.plan
    things, colours = (part.tolist() for part in labels(scenes, maker, 1))
    names = [*(thing.name for thing in maker.things), "nothing"]
    for row, (source, target) in enumerate(plan.captions):
        kind = KINDS[plan.kind[row]]
        before, after = (
            part[row].cpu().numpy() for part in (scenes.source_object, scenes.target_object)
        )
        pictures = {
            "source": to_bytes(scenes.source[row][None])[0],
            "wanted": to_bytes(scenes.target[row][None])[0],
            "mask": scenes.mask[row].cpu().numpy(),
            "place": after if kind == "add" else before,
            "thing": before & plan.shown[row, 0],
        }
        thing = maker.things[plan.things[row, 0]]
        called = sorted((thing.name, *thing.synonyms), key=len, reverse=True)
        found = (n for n in called if re.search(rf"\b{re.escape(n)}\b", source, re.IGNORECASE))
        placed = [maker.placed(plan, row, part) for part in range(3)]
        shown, backdrop = plan.shown[row], BACKDROPS[plan.backdrop[row]]
        close = [
            caption(
                [placed[i] for i in (part, 2) if shown[i]], backdrop, np.random.default_rng(row)
            )
            for part in (0, 1)
        ]
        yield pictures, {
            "kind": kind, "source": source, "target": target, "source_close": close[0],
            "target_close": close[1],
            "word": next(found, "") if kind != "add" else "",
            "wanted": names[things[row]], "thing": things[row], "colour": colours[row],
        }  # fmt: skip


def scene_as_dict(scene: Scene) -> dict[str, Any]:
    """Return the texts and labels of an edit, for the table of what was asked."""
    facts = {k: v for k, v in asdict(scene.facts).items() if k not in ("thing", "colour")}
    colour = "" if scene.facts.colour == UNKNOWN else scene.facts.wanted_colour
    return {"set": scene.set, **facts, "wanted_colour": colour, "word": scene.word}


def on(device: torch.device, scenes: list[Scene]) -> ablation.Edits:
    """Return edits in the form that the ablation's measures take."""

    def picture(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device).permute(0, 3, 1, 2) / 127.5 - 1

    def region(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    return ablation.Edits(
        [s.facts for s in scenes], picture([s.source for s in scenes]),
        picture([s.wanted for s in scenes]), region([s.mask for s in scenes]),
        region([s.thing for s in scenes]), {},
    )  # fmt: skip
