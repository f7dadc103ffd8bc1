"""Find the place of every edit, draw it with every method, and measure the result.

All of it runs through the functions that the workflow's stages and the Python API call.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from editinfinity.editing.blend_mask import cells_of_attention, edited_cells
from editinfinity.evaluation.names import PSNR_CAP
from editinfinity.files.checkpoints import Adapter
from editinfinity.files.features import ImageFeatures
from editinfinity.files.maps import PromptMaps
from editinfinity.files.photograph import photograph_of
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.attention import attention_map
from editinfinity.method.composite import Compositor
from editinfinity.method.draw import adapted, decode, draw
from editinfinity.method.encode import encode_photograph
from editinfinity.method.invert import Trainer, source_of
from editinfinity.method.locate import (
    EditedRegion,
    blend_mask_of,
    region_of_attention,
    region_of_mask,
    region_of_prompts,
)
from editinfinity.method.prompt import tokens_of_word
from editinfinity.method.prompt_map import prompt_maps
from editinfinity.method.rendering import render
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset, preset
from editinfinity.settings.groups import (
    FOUND,
    FinishSettings,
    GuidanceSettings,
    LoraSettings,
    MaskSettings,
    PreservationSettings,
    SamplingSettings,
    TrainingSettings,
)
from editinfinity.settings.guidance import with_defaults
from editinfinity.settings.setting import make_groups
from training.ablation.measures import Witnesses
from training.two_prompts.recipes import BOTH, MASK, METHODS, NONE, PLACES, WORD, Method
from training.two_prompts.scenes import Scene, on

log = logging.getLogger(__name__)

Row = dict[str, Any]
Cells = NDArray[np.bool_]

SEED = 42

NOT_KEPT = {"psnr", "ssim", "named"}
"""Measures of the ablation that no table of this study shows."""


@dataclass(frozen=True)
class Studio:
    """The bundled model and the models that measure, on one device."""

    config: Preset
    tokenizer: Tokenizer
    transformer: Infinity
    witnesses: Witnesses
    device: torch.device

    @classmethod
    def load(cls, device: torch.device, witnesses: Witnesses) -> Studio:
        """Load the weights that are shipped with the package."""
        config = preset("bundled")
        return cls(
            config, load_tokenizer(config, device), load_transformer(config, device), witnesses,
            device,
        )  # fmt: skip


class Bench:
    """One edit on the bench: its photograph encoded, its places found, its drawings measured."""

    def __init__(self, studio: Studio, scene: Scene) -> None:
        self.studio, self.scene = studio, scene
        self.picture = Image.fromarray(scene.source)
        self.photograph: ImageFeatures = encode_photograph(
            self.picture, None, studio.config.pixel_budget, studio.config, studio.tokenizer
        )
        self.rendering = render(studio.tokenizer, self.photograph)
        self.edits = on(studio.device, [scene])

    @cached_property
    def true_cells(self) -> Cells:
        """The cells of the true place: those that it covers at least by half."""
        grid = self.photograph.schedule.reference_grid
        means = torch.nn.functional.adaptive_avg_pool2d(
            torch.from_numpy(self.scene.place)[None, None].float(), grid
        )
        return np.asarray(means[0, 0].numpy() > 0.5)

    def maps(self, close: bool = False) -> PromptMaps:
        """Return the maps of the two prompts, or of those that differ in the edited words only."""
        pair = (self.scene.texts[p + ("_close" if close else "")] for p in ("source", "target"))
        return prompt_maps(self.studio.transformer, self.photograph, *pair)

    def attention(self, scales: str = "all") -> NDArray[np.float32]:
        """Return the attention map of the word that the user gives."""
        prompt = self.scene.texts["source"]
        span = tokens_of_word(prompt, self.scene.word)
        return attention_map(self.studio.transformer, self.photograph, prompt, span, scales)

    def region(
        self, place: str, maps: PromptMaps | None, settings: MaskSettings = MaskSettings()
    ) -> EditedRegion | None:
        """Return the region of a place; None for the whole picture."""
        if place == MASK:
            return region_of_mask(self.scene.mask, self.photograph.geometry, "mask")
        if place == WORD:
            threshold = settings.attention_threshold
            return region_of_attention(self.attention(), threshold, self.scene.word)
        if place in FOUND:
            assert maps is not None
            return region_of_prompts(maps, place, self.photograph.pixels, settings)
        return None

    @cached_property
    def learned(self) -> tuple[Tensor | None, Adapter | None]:
        """Soft prompt and adapter of the photograph, learned as the workflow does."""
        studio, text = self.studio, self.scene.texts["source+"]
        source = source_of(self.photograph, text, studio.device)
        trainer = Trainer(studio.transformer, studio.config, TrainingSettings())
        embedding, adapter = trainer.learn(source, 10, 50, LoraSettings())
        return (embedding.vectors if embedding else None), adapter

    def draw(
        self, method: Method, region: EditedRegion | None
    ) -> tuple[Image.Image, NDArray[np.float32] | None]:
        """Draw the edit; return the picture, decoded, and the blend mask it was drawn under."""
        studio = self.studio
        sampling, guidance, preservation = make_groups(
            with_defaults({"seed": SEED, **method.settings}), SamplingSettings, GuidanceSettings,
            PreservationSettings,
        )  # fmt: skip
        vectors, adapter = self.learned if method.learned else (None, None)
        suffix = "" if vectors is None else "+"
        blend = None
        if region is not None:
            blend = blend_mask_of(region, self.photograph.schedule, preservation.smoothing)
        texts = self.scene.texts
        with adapted(studio.transformer, adapter):
            code = draw(
                studio.transformer, self.photograph, texts["target" + suffix], sampling,
                soft_prompt=vectors, blend_mask=blend, source_prompt=texts["source" + suffix],
                guidance=guidance,
            )  # fmt: skip
        return decode(studio.tokenizer, code), blend

    def measured(self, drawn: Image.Image, blend: NDArray[np.float32] | None) -> Row:
        """Return the measures of a drawing, as drawn and composited."""
        known = _tensor(self.rendering, self.studio.device)
        picture = _tensor(drawn, self.studio.device)
        measures = self.studio.witnesses(picture, known, self.edits)[0]
        row: Row = {key: value for key, value in measures.items() if key not in NOT_KEPT}
        for background in ("exact", "detail"):
            compositor = Compositor(
                photograph_of(self.picture), self.photograph.geometry, blend,
                FinishSettings(background=background),
                self.rendering if background == "detail" else None,
            )  # fmt: skip
            finished = compositor.paste(drawn)
            pixels = np.asarray(finished.pixels, dtype=np.float64)
            row[f"psnr_{background}"] = _psnr(pixels, self.scene.source, ~self.scene.mask)
        return row


def _tensor(picture: Image.Image, device: torch.device) -> Tensor:
    pixels = torch.from_numpy(np.array(picture)).to(device)
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


def _psnr(pixels: NDArray[np.floating], source: NDArray[np.uint8], where: Cells) -> float:
    """Return the PSNR of some pixels, the others counting as equal, as PIE-Bench measures."""
    error = float((np.square((pixels - source) / 255) * where[..., None]).mean())
    return min(PSNR_CAP, -10 * float(np.log10(max(error, 1e-12))))


def iou(found: Cells, true: Cells) -> float:
    """Return intersection over union of two regions of cells."""
    return float((found & true).sum() / max((found | true).sum(), 1))


def places_of(scene: Scene, method: Method) -> tuple[str, ...]:
    """Return the places that an edit is drawn under; fewer outside of the ablation's edits."""
    if method.learned and scene.set != "one":
        return ()
    places = PLACES if scene.set == "one" and not method.learned else (MASK, WORD, BOTH, NONE)
    return tuple(place for place in places if place != WORD or scene.word)


def found_rows(bench: Bench) -> Iterator[Row]:
    """Yield the overlap of each found place with the true one, before it is grown."""
    ungrown = MaskSettings(prompt_map_grow=0)
    texts = bench.scene.texts
    is_same = texts["source_close"].prompt == texts["target_close"].prompt  # of two near backdrops
    for prompts in ("captions",) if is_same else ("captions", "close"):
        maps = bench.maps(prompts == "close")
        for place in FOUND:
            for follow_edges in (True, False):
                settings = MaskSettings(prompt_map_grow=0, prompt_map_filter=follow_edges)
                region = region_of_prompts(maps, place, bench.photograph.pixels, settings)
                name = place if follow_edges else f"{place}, no filter"
                yield {
                    "prompts": prompts,
                    "place": name,
                    "iou": iou(region.edited, bench.true_cells),
                }
    if bench.scene.word:
        for scales in ("all", "fine"):
            cells = cells_of_attention(bench.attention(scales), ungrown.attention_threshold)
            name = WORD if scales == "all" else f"{WORD}, fine scales"
            yield {"prompts": "captions", "place": name, "iou": iou(cells, bench.true_cells)}
    grid = bench.photograph.schedule.reference_grid
    cells = edited_cells(bench.scene.mask, grid)
    yield {"prompts": "captions", "place": MASK, "iou": iou(cells, bench.true_cells)}


def drawn_rows(
    bench: Bench, methods: Sequence[Method] = METHODS, places: Sequence[str] | None = None,
    settings: MaskSettings = MaskSettings(), keep: Path | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Yield the measures of every drawing of an edit; pictures go to the folder ``keep``."""
    maps, regions = bench.maps(), dict[str, EditedRegion | None]()
    for method in methods:
        for place in places_of(bench.scene, method) if places is None else places:
            if place not in regions:
                regions[place] = bench.region(place, maps, settings)
            began = time.perf_counter()
            drawn, blend = bench.draw(method, regions[place])
            seconds = time.perf_counter() - began
            if keep is not None:
                _save(keep / f"{method.name}-{place}.png", drawn)
            yield {
                "method": method.name, "place": place, "seconds": seconds,
                **bench.measured(drawn, blend),
            }  # fmt: skip
    for place, region in regions.items():
        if keep is not None and region is not None:
            shown = Image.fromarray(np.where(region.edited, 0, 255).astype(np.uint8))
            _save(keep / f"mask-{place}.png", shown.resize((256, 256), Image.Resampling.NEAREST))


def _save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
