"""The edits of the ablation: made once, and packed into one self-contained file.

Held-out scenes (object × backdrop pairs that training never saw) with masks as people draw them.
The pack contains pictures, masks, labels for the judge, and the text features of both prompts from
the bundled text encoder, with and without the caption suffix, so that generating needs neither
assets nor a text encoder.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from editinfinity.models.text_encoder import TextEncoder
from editinfinity.prompts import caption_suffix
from training.judge import UNKNOWN, labels
from training.look import to_bytes
from training.scenes import KINDS, SceneMaker, Scenes
from training.vocabulary import COLOUR_NAMES

SEED = 10_006
"""Seed of the scenes; ``training.mask_study`` uses it too."""

COUNTS = {"replace": 40, "recolour": 40, "add": 20, "remove": 20}
"""Number of edits of each kind."""

SUFFIXES = tuple(caption_suffix(follows) for follows in (False, True))
"""What may follow a prompt."""

PACK = "edits.safetensors"


@dataclass(frozen=True)
class Facts:
    """Prompts and labels of one edit.

    Attributes:
        edit: number of the edit.
        kind: one of ``KINDS``.
        source_prompt, prompt: captions of the picture before and after the edit.
        wanted: name of the thing that should be inside the mask, or "nothing".
        thing, colour: the judge's labels of that thing; ``colour`` is UNKNOWN if any is right.
    """

    edit: int
    kind: str
    source_prompt: str
    prompt: str
    wanted: str
    thing: int
    colour: int

    @property
    def wanted_colour(self) -> str:
        """Name of the colour; empty if any is right."""
        return "" if self.colour == UNKNOWN else COLOUR_NAMES[self.colour]


@dataclass(frozen=True)
class Texts:
    """Features (T, Ct5) of the prompts of some edits, without padding.

    Attributes:
        source, target: of the picture before and after the edit.
    """

    source: list[Tensor]
    target: list[Tensor]


@dataclass(frozen=True)
class Edits:
    """Some edits on one device; S edits, pictures in [−1, 1].

    Attributes:
        facts: prompts and labels of each edit.
        source, wanted: (S, 3, H, W) pictures before and after; they are equal outside the mask.
        mask: (S, H, W) bool, True where the picture may change.
        thing: (S, H, W) bool, the edited thing in the source.
        encoded: text that follows the prompts (:func:`~editinfinity.prompts.caption_suffix`) →
            features of the prompts that it follows.
    """

    facts: list[Facts]
    source: Tensor
    wanted: Tensor
    mask: Tensor
    thing: Tensor
    encoded: dict[str, Texts]

    def __len__(self) -> int:
        return len(self.facts)

    def texts(self, vectors: Tensor | None) -> Texts:
        """Return the texts of prompts that these vectors, or none, will follow."""
        return self.encoded[caption_suffix(vectors is not None)]


def make(
    maker: SceneMaker, encoder: TextEncoder, path: Path, counts: dict[str, int] | None = None
) -> None:
    """Make the scenes and pack them into a file."""
    tensors: dict[str, Tensor] = {}
    facts: list[Facts] = []
    for kind, count in (counts or COUNTS).items():
        kinds = np.full(count, KINDS.index(kind))
        scenes = maker.batch(SEED, KINDS.index(kind), count, held_out=True, kinds=kinds)
        found = _facts(maker, scenes, len(facts))
        for row, fact in enumerate(found):
            tensors |= _packed(scenes, row, fact, encoder)
        facts += found
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"facts": json.dumps([asdict(fact) for fact in facts])})


def _facts(maker: SceneMaker, scenes: Scenes, first: int) -> list[Facts]:
    names = [*(thing.name for thing in maker.things), "nothing"]
    things, colours = (part.tolist() for part in labels(scenes, maker, 1))
    return [
        Facts(
            first + row, KINDS[scenes.plan.kind[row]], *scenes.plan.captions[row],
            names[things[row]], things[row], colours[row],
        )
        for row in range(len(things))
    ]  # fmt: skip


def _packed(scenes: Scenes, row: int, fact: Facts, encoder: TextEncoder) -> dict[str, Tensor]:
    source, wanted = (
        to_bytes(scenes.source[row : row + 1])[0],
        to_bytes(scenes.target[row][None])[0],
    )
    mask, thing = scenes.mask[row].cpu().numpy(), scenes.source_object[row].cpu().numpy()
    shown = scenes.plan.shown[row, 0]
    inside = np.where(mask[..., None], wanted, 0)  # outside, it equals the source
    pictures = {"source": source, "wanted": inside, "mask": mask, "thing": thing & shown}
    found = {f"{name}/{fact.edit}": file_of(picture) for name, picture in pictures.items()}
    for suffix in SUFFIXES:
        for name, prompt in (("source", fact.source_prompt), ("target", fact.prompt)):
            features = encoder.encode(prompt + suffix).features[0].cpu()
            found[f"{name} text{suffix}/{fact.edit}"] = features.contiguous()
    return found


def file_of(array: np.ndarray, lossless: bool = True) -> Tensor:
    """Return a picture as the bytes of a WebP, a mask as those of a 1-bit PNG."""
    data = io.BytesIO()
    if array.dtype == bool:
        Image.fromarray(array).save(data, "PNG", optimize=True)
    else:
        quality = 50 if lossless else 95
        Image.fromarray(array).save(data, "WEBP", lossless=lossless, quality=quality, method=3)
    return torch.frombuffer(bytearray(data.getvalue()), dtype=torch.uint8)


def array_of(data: Tensor) -> np.ndarray:
    """Return the array of a picture or mask from :func:`file_of`."""
    return np.array(Image.open(io.BytesIO(data.numpy().tobytes())))


def read_facts(path: Path) -> list[Facts]:
    """Read the prompts and labels of the edits of a pack."""
    with safe_open(path, "pt") as file:
        return [Facts(**fact) for fact in json.loads(file.metadata()["facts"])]


def read(path: Path, numbers: Sequence[int], device: torch.device) -> Edits:
    """Read the edits with some numbers from a pack."""
    facts = read_facts(path)
    with safe_open(path, "pt") as file:

        def all_of(name: str) -> list[Tensor]:
            return [file.get_tensor(f"{name}/{number}") for number in numbers]

        def picture(name: str) -> Tensor:
            bytes_ = torch.from_numpy(np.stack([array_of(data) for data in all_of(name)]))
            return bytes_.to(device).permute(0, 3, 1, 2) / 127.5 - 1

        def region(name: str) -> Tensor:
            return torch.from_numpy(np.stack([array_of(data) for data in all_of(name)])).to(device)

        def texts(name: str, suffix: str) -> list[Tensor]:
            return [text.to(device) for text in all_of(f"{name} text{suffix}")]

        source, mask = picture("source"), region("mask")
        wanted = torch.where(mask[:, None], picture("wanted"), source)
        return Edits(
            [facts[number] for number in numbers], source, wanted, mask, region("thing"),
            {after: Texts(texts("source", after), texts("target", after)) for after in SUFFIXES},
        )  # fmt: skip
