"""Generates every edit with every variant, slice by slice, and writes the measurements.

A completed slice has its rows in separate files, so that an interrupted run continues with the
next slice. Several processes can share the slices.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from editinfinity.compute import reseed
from editinfinity.editing.blend import Editor, LockFirst, MaskBlend, keep_generated
from editinfinity.editing.blend_mask import make_blend_mask, resample_blend_mask
from editinfinity.editing.guidance import ClassifierFree, Guidance
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.models import bsq
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset, preset
from editinfinity.prompts import SOFT_PROMPT_LENGTH
from editinfinity.scales import ScaleSchedule, schedule
from editinfinity.settings.groups import TrainingSettings
from training.ablation.edits import Edits, read, read_facts
from training.ablation.many import (
    Adapted,
    ManyLoss,
    ManySourceNegative,
    Sources,
    losses_of,
    together,
    train_many,
)
from training.ablation.measures import Witnesses, in_bytes, pixels_of
from training.ablation.variants import (
    EVERYWHERE,
    INVERSIONS,
    VARIANTS,
    VECTOR_ITERATIONS,
    Learned,
    Variant,
)
from training.tables import join_tables, write_table

log = logging.getLogger(__name__)

SEED = 42
DROP_PATH, KL_WEIGHT = 0.1, 2e-7
SETTINGS = SamplingSettings()
"""The method's defaults: tau 0.5, top_k 900, top_p 0.97."""

DECODED_AT_ONCE = 20

Row = dict[str, object]


@dataclass(frozen=True)
class Studio:
    """The bundled model on one device."""

    config: Preset
    tokenizer: Tokenizer
    transformer: Infinity
    plan: ScaleSchedule
    device: torch.device

    @classmethod
    def load(cls, device: torch.device, name: str = "bundled") -> Studio:
        """Load the weights that are shipped with the package."""
        config = preset(name)
        return cls(
            config, load_tokenizer(config, device), load_transformer(config, device),
            schedule(1.0, config.pixel_budget), device,
        )  # fmt: skip

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode sums of codes (S, d, H, W) to pictures in [−1, 1], rounded as in 8-bit files."""
        parts = codes.clone().split(DECODED_AT_ONCE)
        return in_bytes(torch.cat([self.tokenizer.decode(part) for part in parts]))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return the raw features (S, d, H, W) of pictures."""
        return torch.cat([self.tokenizer.encode(part) for part in pictures.split(DECODED_AT_ONCE)])


@dataclass
class Slice:
    """Some edits with the results of their inversions; generates them.

    Attributes:
        raw: features of the sources; ``codes`` of every scale; ``rendering``: the decoded sources.
        vectors: vectors learned for each source, which follow its prompt, (S, N, Ct5).
        adapters: name of the inversion → parameters of its adapters.
    """

    studio: Studio
    edits: Edits
    number: int
    raw: Tensor = field(init=False)
    codes: list[Tensor] = field(init=False)
    rendering: Tensor = field(init=False)
    adapted: Adapted = field(init=False)
    vectors: Tensor | None = None
    adapters: dict[str, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        studio = self.studio
        self.raw = studio.encode(self.edits.source)
        quantized = bsq.quantize(self.raw, studio.plan.tokenizer_scales)
        self.codes = bsq.upsampled_codes(quantized.bits, studio.plan.tokenizer_grid)
        self.rendering = studio.decode(quantized.total)
        reseed(SEED, f"ablation/{self.number}/lora", 0)
        self.adapted = Adapted(studio.transformer, len(self.edits))

    def invert(self, inversions: Sequence[Learned], soft_prompt_iterations: int) -> None:
        """Learn the vectors, then adapters with them and, if required, adapters without them."""
        if any(each.vectors for each in inversions):
            self.vectors = self._learn_vectors(soft_prompt_iterations)
        for over in (True, False):
            wanted = {each.lora: each.name for each in inversions if each.vectors is over}
            wanted.pop(0, None)
            if wanted:
                self.adapted.restore(None)
                self._learn_adapters(self.vectors if over else None, wanted)

    def _learn_vectors(self, iterations: int) -> Tensor:
        model = self.adapted.restore(None).train()
        model.set_drop_path(DROP_PATH)
        for parameter in self.adapted.parameters:
            parameter.requires_grad_(False)
        width = self.studio.config.transformer.text_width
        zeros = torch.zeros(len(self.edits), SOFT_PROMPT_LENGTH, width, device=self.studio.device)
        vectors = nn.Parameter(zeros)
        self._train([vectors], vectors, "vectors", iterations, 0.0, lambda _: None)
        return vectors.detach()

    def _learn_adapters(self, vectors: Tensor | None, wanted: dict[int, str]) -> None:
        self.adapted.model.train().set_drop_path(DROP_PATH)
        for parameter in self.adapted.parameters:
            parameter.requires_grad_(True)

        def keep(iteration: int) -> None:
            if iteration in wanted:
                self.adapters[wanted[iteration]] = self.adapted.state()

        self._train(self.adapted.parameters, vectors, "lora", max(wanted), KL_WEIGHT, keep)

    def _train(
        self, parameters: Sequence[nn.Parameter], vectors: Tensor | None, stage: str,
        iterations: int, kl_weight: float, after: Callable[[int], None],
    ) -> None:  # fmt: skip
        training = self.studio.config.training
        rates = {
            "vectors": training.embedding_learning_rate,
            "lora": training.lora_learning_rate,
        }
        batches = {"vectors": training.embedding_batch_size, "lora": training.lora_batch_size}
        loss = ManyLoss(
            self.adapted.model, self.sources(vectors), vectors, TrainingSettings(), batches[stage],
            kl_weight,
        )  # fmt: skip
        over = "" if vectors is not None else "/alone"
        name = f"ablation/{self.number}/{stage}{over}"
        train_many(
            parameters, loss, TrainingSettings(), rates[stage], range(1, iterations + 1),
            lambda iteration: reseed(SEED, name, iteration), after,
        )  # fmt: skip

    def sources(self, vectors: Tensor | None) -> Sources:
        """Return the pictures to invert, with the texts that these vectors, or none, follow."""
        return Sources(self.raw, self.edits.texts(vectors).source, self.studio.plan)

    def model_of(self, learned: Learned) -> tuple[Infinity, Tensor | None]:
        """Return the transformer and the vectors of an inversion."""
        model = self.studio.transformer
        if learned.lora:
            model = self.adapted.restore(self.adapters[learned.name])
        return model, self.vectors if learned.vectors else None

    def draw(self, variant: Variant) -> Tensor:
        """Generate every edit with a variant, (S, 3, H, W)."""
        model, vectors = self.model_of(variant.learned)
        texts = self.edits.texts(vectors)
        blend, inside = self._blend(variant)
        guidance: Guidance = ClassifierFree(variant.strength)
        if variant.guidance == "source_negative":
            source = together(texts.source, vectors)
            guidance = ManySourceNegative(variant.strength, source, inside, self.studio.plan)
        drawn = sample(
            model, together(texts.target, vectors), self.studio.plan, SETTINGS,
            self._generator(), blend, guidance=guidance,
        )  # fmt: skip
        return self.studio.decode(drawn.code)

    def redraw(self, learned: Learned) -> Tensor:
        """Generate the sources from their prompts alone, to test how well they were inverted."""
        model, vectors = self.model_of(learned)
        text = together(self.edits.texts(vectors).source, vectors)
        drawn = sample(model, text, self.studio.plan, SETTINGS, self._generator())
        return self.studio.decode(drawn.code)

    def _generator(self) -> torch.Generator:
        """Return a generator with the same seed for every variant, so that edits are comparable."""
        return torch.Generator().manual_seed(SEED + self.number)

    def _blend(self, variant: Variant) -> tuple[Editor, Tensor | None]:
        if variant.kernel == EVERYWHERE:
            return keep_generated, None
        plan = self.studio.plan
        kernels = [
            resample_blend_mask(
                make_blend_mask(mask, plan.reference_grid, variant.kernel), plan.tokenizer_grid
            )
            for mask in self.edits.mask.cpu().numpy()
        ]
        kept = torch.from_numpy(np.stack(kernels)).to(self.studio.device)
        blend: Editor = MaskBlend(self.codes, kept[:, None])
        if variant.lock_scales:
            blend = LockFirst(self.codes, variant.lock_scales, blend)
        return blend, 1 - kept


def draw_all(
    pack: Path, output: Path, studio: Studio, witnesses: Witnesses, size: int = 40,
    shown: Sequence[int] = (), variants: Sequence[Variant] = VARIANTS,
    inversions: Sequence[Learned] = INVERSIONS, soft_prompt_iterations: int = VECTOR_ITERATIONS,
    process: tuple[int, int] = (0, 1),
) -> None:  # fmt: skip
    """Generate the edits of a pack with the variants of some inversions, slice by slice.

    When all slices are done, ``output/edits.tsv`` and ``inversions.tsv`` are written.

    Args:
        size: number of edits per slice. It decides the noise of each edit too.
        shown: numbers of the edits whose pictures are saved in ``output/pictures``.
        process: number of this process, and how many there are: each draws slices of its own.
    """
    numbers = [fact.edit for fact in read_facts(pack)]
    count = -(-len(numbers) // size)
    variants = [variant for variant in variants if variant.learned in inversions]
    output.mkdir(parents=True, exist_ok=True)
    for number in range(process[0], count, process[1]):
        if _is_done(output, number, inversions):
            log.info("slice %d of %d: already done", number + 1, count)
            continue
        _table(output, number, "inversions").unlink(missing_ok=True)
        began = time.monotonic()
        edits = read(pack, numbers[number::count], studio.device)
        part = Slice(studio, edits, number)
        part.invert(inversions, soft_prompt_iterations)
        log.info("slice %d of %d: %d sources inverted in %.0f s", number + 1, count, len(edits),
                 time.monotonic() - began)  # fmt: skip
        sources = _inversion_rows(part, inversions)
        rows = _edit_rows(part, variants, witnesses, output / "pictures", shown)
        write_table(_table(output, number, "edits"), rows)
        write_table(_table(output, number, "inversions"), sources)  # last: marks it as done
        log.info("slice %d of %d: drawn in %.0f s", number + 1, count, time.monotonic() - began)
    if all(_is_done(output, number, inversions) for number in range(count)):
        for name in ("edits", "inversions"):
            parts = [_table(output, number, name) for number in range(count)]
            join_tables(parts, output / f"{name}.tsv")


def _table(output: Path, number: int, name: str) -> Path:
    return output / f"slice{number}.{name}.tsv"


def _is_done(output: Path, number: int, inversions: Sequence[Learned]) -> bool:
    """Whether a slice was drawn with these inversions, and with no others."""
    table = _table(output, number, "inversions")
    if not table.exists():
        return False
    rows = [line.split("\t")[1] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    return set(rows) == {learned.name for learned in inversions}


def _inversion_rows(part: Slice, inversions: Sequence[Learned]) -> list[Row]:
    """Return rows with the loss and the reconstruction PSNR of every source and inversion."""
    rows: list[Row] = []
    for learned in inversions:
        model, vectors = part.model_of(learned)
        losses = losses_of(model, part.sources(vectors), vectors)
        error = ((part.redraw(learned) - part.rendering) / 2).square().mean((1, 2, 3))
        decibels = (-10 * error.clamp(min=1e-10).log10()).tolist()
        rows += [
            {"edit": fact.edit, "inversion": learned.name, "loss": loss, "redrawn": found}
            for fact, loss, found in zip(part.edits.facts, losses, decibels, strict=True)
        ]
    return rows


def _edit_rows(
    part: Slice, variants: Sequence[Variant], witnesses: Witnesses, pictures: Path,
    shown: Sequence[int],
) -> list[Row]:  # fmt: skip
    """Return rows for the true pictures, their renderings, and every edit and variant."""
    studio, edits = part.studio, part.edits
    wanted = bsq.quantize(studio.encode(edits.wanted), studio.plan.tokenizer_scales).total
    drawn: dict[tuple[str, str, str], Tensor] = {
        ("wanted", "-", "-"): edits.wanted, ("rendering", "-", "-"): studio.decode(wanted),
    }  # fmt: skip
    rows: list[Row] = []
    for key, picture in drawn.items():
        rows += _rows(key, picture, part, witnesses)
    masks = (~edits.mask)[:, None].expand(-1, 3, -1, -1).float() * 2 - 1
    seen = {
        "source": edits.source, "mask": masks, "source-rendering": part.rendering,
        "wanted": edits.wanted,
    }  # fmt: skip
    for name, picture in seen.items():
        _keep_pictures(pictures, name, picture, edits, shown)
    for variant in variants:
        picture = part.draw(variant)
        rows += _rows(variant.key, picture, part, witnesses)
        _keep_pictures(pictures, "-".join(variant.key), picture, edits, shown)
    return rows


def _rows(
    key: tuple[str, str, str], picture: Tensor, part: Slice, witnesses: Witnesses
) -> list[Row]:
    names = dict(zip(("inversion", "kernel", "guidance"), key, strict=True))
    found = witnesses(picture, part.rendering, part.edits)
    return [
        {"edit": fact.edit, **names, **{name: float(value) for name, value in row.items()}}
        for fact, row in zip(part.edits.facts, found, strict=True)
    ]


def _keep_pictures(
    folder: Path, name: str, pictures: Tensor, edits: Edits, shown: Sequence[int]
) -> None:
    for row, fact in enumerate(edits.facts):
        if fact.edit in shown:
            path = folder / str(fact.edit) / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_of(pictures[row : row + 1])[0]).save(path, quality=93)
