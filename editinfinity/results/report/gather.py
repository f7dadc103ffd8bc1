"""Gathers the data of the report page from the configuration, the cases and the results.

The data is JSON-compatible, and the page's script reads it by the same keys. Links are relative to
the page and percent-encoded. Positions in a photograph are fractions of its width and height, so
they apply to a picture of any size.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from safetensors import SafetensorError, safe_open

from editinfinity.cases.case import Case, Cases, Edit, Text
from editinfinity.config.load import Config
from editinfinity.errors import UserError
from editinfinity.evaluation.names import METRICS
from editinfinity.evaluation.record import MetricResults
from editinfinity.files.opening import size_upright
from editinfinity.files.prompts import read_prompt, read_target_word
from editinfinity.files.tensors import METADATA_KEY
from editinfinity.jobs.record import JobRecord, largest, read_records
from editinfinity.planning.targets import Layout, layout
from editinfinity.planning.variants import Variant, chosen_by_settings, parse_variant, variants_of
from editinfinity.results.outcomes import Outcome, outcomes
from editinfinity.results.selection import chosen_variant, metric_results_of
from editinfinity.results.warnings import kernels_of, warnings_of

Json = dict[str, Any]
Box = tuple[float, float, float, float]
"""Left, top, width and height of a part of a photograph, as fractions of its size."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_MAX_POINTS = 200
"""Maximum number of points of a loss curve; a longer curve is averaged down."""

_STAGES = {
    "Check": r"check|jsonl",
    "Encode the photograph": r"image_features",
    "Encode the prompts": r"(edit/[^/]+/)?text(_plain)?_features",
    "Train the text embedding": r"text_embedding/.*",
    "Train LoRA": r"lora/.*",
    "Attention map": r"mask/[^/]+/attention_map",
    "Prompt map": r"mask/[^/]+/prompt_map",
    "Kernel": r"mask/.*",
    "Draw": r"edit/[^/]+/embedding[^/]*(?<!\.metrics)",
    "Metrics": r"edit/[^/]+/.*metrics.*|metrics.*",
    "Choose": r"edit/[^/]+/select",
    "Finish": r"edit/[^/]+/finish|rendering",
}
"""Title of a stage → pattern of its job names, in running order; the first match counts."""

_DECIMALS = {"background_psnr": 1, "background_mse": 5, "structure_distance": 4, "clip_whole": 1,
           "clip_edited": 1, "image_reward": 2, "alignment": 2}  # fmt: skip
"""Number of decimals of a metric; 3 for all others."""


class Gatherer:
    """Reads the results of a configuration.

    Args:
        config: the configuration of the run.
        page: path of the page; links are relative to its folder.
    """

    def __init__(self, config: Config, page: Path) -> None:
        self.config, self.root = config, page.parent

    def gather(self, cases: Cases) -> Json:
        """Return all data of the page for the given cases.

        ``made`` is in seconds since the epoch. ``settings`` are the settings of the run, without
        those that change no picture. ``metrics`` are those that at least one picture has.
        """
        content = [self.case(case) for case in cases.by_name.values()]
        names = {
            name
            for case in content
            for edit in case["edits"]
            for variant in edit["variants"]
            for name in (*variant["metrics"], *variant["missing"])
        }
        run = self.config.settings
        return {
            "title": self.root.absolute().parent.name or "editinfinity",
            "made": time.time(),
            "settings": {key: value for key, value in run.items() if key not in _HIDDEN},
            "metrics": _metric_descriptions(names),
            "cases": content,
            "notes": [*cases.notices],
        }

    def case(self, case: Case) -> Json:
        """Return the data of one case; anything that cannot be read is left out.

        ``source`` is None if the prompt cannot be read. ``size`` is (width, height) in pixels, or
        None. ``settings`` are those that differ from the run's. ``stages`` are those shared by its
        edits. ``curves`` have points (iteration, loss) in order.
        """
        where = layout(self.config, case.name)
        folder = Path(where.folder)
        records = read_records(folder / "logs")
        by_edit = outcomes(case, where, records, since=None)
        box = _box_of_features(folder / "features" / "image.safetensors")
        size = None
        with suppress(UserError):
            size = size_upright(case.image)[::-1]
        return {
            "name": case.name,
            "source": _text(case.source_prompt, "source prompt") if case.source_prompt else "",
            "link": self._link(case.image),
            "size": size,
            "warnings": warnings_of(records, kernels_of(case)),
            "settings": _differences(case.settings, self.config.settings),
            "stages": _stages(records, None),
            "curves": _curves(folder),
            "edits": [
                self.edit(case, edit, by_edit[edit.name], _stages(records, edit.name), box)
                for edit in case.edits.values()
            ],
        }

    def edit(self, case: Case, edit: Edit, outcome: Outcome, stages: list[Json], box: Box) -> Json:
        """Return the data of one edit; the model sees the part ``box`` of the photograph.

        ``prompt`` is None if it cannot be read. ``reason`` says why there is no picture. ``link``
        points to the picture at the photograph's size, and ``made`` is its modification time in
        seconds since the epoch; both are None if there is no picture. The blend mask and the
        attention map cover ``box``. ``why`` explains why the metrics selected the chosen variant.
        ``settings`` are those that differ from the settings of the run and the case.
        """
        where = layout(self.config, case.name)
        word = None
        if edit.target_word is not None and edit.mask_source == "attention":
            with suppress(UserError):
                word = read_target_word(edit.target_word)
        reason = ""
        with suppress(UserError):
            if chosen_by_settings(edit.settings) is None:  # else the file may be outdated
                reason = str(_json(Path(where.selection(edit.name))).get("why") or "")
        picture = Path(outcome.detail) if outcome.succeeded else None
        return {
            "name": edit.name,
            "prompt": _text(edit.prompt, "edit prompt"),
            "outcome": outcome.status,
            "reason": "" if picture else outcome.detail,
            "mask": edit.mask_source,
            "word": word,
            "link": self._link(picture) if picture else None,
            "made": picture.stat().st_mtime if picture and picture.exists() else None,
            "box": box,
            "why": reason,
            "settings": _differences(edit.settings, {**self.config.settings, **case.settings}),
            "stages": stages,
            "variants": self._variants(edit, where),
            "files": self._files(edit, where),
        }

    def _variants(self, edit: Edit, where: Layout) -> list[Json]:
        """Return the data of all existing pictures of an edit, the configured variants first.

        ``name`` is the file name without extension. ``label`` distinguishes the picture from the
        others and is empty if it is the only one. ``metrics`` has None for a value that could not
        be computed, and ``missing`` has the reason why there is no value. ``box`` is the part of
        the photograph that the picture shows.
        """
        planned: Sequence[Variant] = ()
        with suppress(UserError):
            planned = variants_of(edit.settings)
        order = {variant.name: number for number, variant in enumerate(planned)}
        found: dict[str, Variant] = {}
        for path in Path(where.folder, "edit", edit.name).glob("embedding*.png"):
            with suppress(UserError):
                found[path.stem] = parse_variant(path.stem)
        names = sorted(found, key=lambda name: (order.get(name, len(order)), _natural(name)))
        labels = _labels(names)
        chosen = chosen_variant(edit, where)
        content: list[Json] = []
        for name in names:
            variant = found[name]
            picture = Path(where.picture(edit.name, variant))
            settings = _json(picture.with_suffix(".json"))
            results = metric_results_of(edit, where, variant) or MetricResults()
            smoothing = None
            if edit.mask_source != "none":
                smoothing = str(variant.setting("smoothing", edit.settings))
            content.append(
                {
                    "name": name,
                    "label": labels[name],
                    "link": self._link(picture),
                    "settings": settings,
                    "metrics": {metric: results.number(metric) for metric in results.values},
                    "missing": dict(results.missing),
                    "chosen": variant == chosen,
                    "smoothing": smoothing,
                    "box": _box(settings.get("geometry")),
                }
            )
        return content

    def _files(self, edit: Edit, where: Layout) -> list[tuple[str, str]]:
        """Return (label, link) of the other files to open."""
        folder, (mask, heat_map) = Path(where.folder), where.mask_pictures(edit.name)
        known = (
            ("Mask", Path(mask)),
            ("Heat map", Path(heat_map)),
            ("Sweep", folder / "edit" / edit.name / "sweep.png"),
            ("Logs", folder / "logs"),
        )
        return [(label, self._link(path)) for label, path in known if path.exists()]

    def _link(self, path: Path) -> str:
        """Return the link from the page to a file."""
        return quote(os.fsencode(os.path.relpath(path, self.root)))


_HIDDEN = {"model_dir", "device", "threads", "gradient_checkpointing", "deterministic", "worker"}
"""Settings that the page does not show, because they do not affect any picture."""


def _metric_descriptions(names: Container[str]) -> list[dict[str, Any]]:
    """Return the description of the metrics with these names, in display order."""
    return [
        {
            "name": name,
            "label": metric.title,
            "about": metric.meaning,
            "higher": metric.higher_is_better,
            "unit": "dB" if name == "background_psnr" else "",
            "digits": _DECIMALS.get(name, 3),
        }
        for name, metric in METRICS.items()
        if name in names
    ]


def _text(source: Text, what: str) -> str | None:
    """Return a prompt, or None if it cannot be read."""
    try:
        return read_prompt(source, what=what, may_be_empty=True)
    except UserError:
        return None


def _differences(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose values differ from those in ``others``."""
    return {key: value for key, value in settings.items() if value != others.get(key)}


def _finite(number: str) -> float | None:
    """Parse a number of a JSON file; None if it is infinite (1e999), which the page cannot hold."""
    return value if math.isfinite(value := float(number)) else None


def _json(path: Path) -> dict[str, Any]:
    """Load a JSON object, with non-finite numbers as None; empty if it cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        text = path.read_text("utf-8")
        found = json.loads(text, parse_float=_finite, parse_constant=lambda _: None)
        if isinstance(found, dict):
            return found
    return {}


def _box(geometry: Any) -> Box:
    """Return the part of a photograph that a picture shows, from the ``geometry`` it records."""
    try:
        height, width = geometry["image_size"]
        top, left, crop_height, crop_width = geometry["crop"]
        box = (left / width, top / height, crop_width / width, crop_height / height)
        return box if all(map(math.isfinite, box)) else WHOLE
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return WHOLE


def _box_of_features(path: Path) -> Box:
    """Return the part of a photograph that the model sees; read only the header of the file."""
    with suppress(OSError, SafetensorError, ValueError, TypeError, AttributeError, RecursionError):
        with safe_open(path, framework="np") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
        return _box(metadata.get("geometry"))
    return WHOLE


def _natural(name: str) -> list[Any]:
    """Return a key for natural sorting: text and integers alternate."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Return a label for each name: its parts that are not common to all names."""
    parts = {name: name.split("-") for name in names}
    shared = set.intersection(*map(set, parts.values())) if parts else set()
    return {
        name: " ".join(word for word in words if word not in shared)
        for name, words in parts.items()
    }


def _stages(records: Iterable[JobRecord], edit: str | None) -> list[Json]:
    """Return the stages of an edit in running order; None means those shared by all edits.

    ``memory`` and ``card`` are the peak use of RAM and GPU memory in bytes; None if not measured.
    """
    by_name: dict[str, list[JobRecord]] = {name: [] for name in _STAGES}
    for record in records:
        if record.edit == edit and record.seconds is not None:
            titles = (name for name in _STAGES if re.fullmatch(_STAGES[name], record.job))
            by_name[next(titles, "Draw")].append(record)
    return [
        {
            "name": name,
            "seconds": sum(record.seconds or 0.0 for record in jobs),
            "memory": largest([record.memory for record in jobs]),
            "card": largest([record.card for record in jobs]),
            "jobs": len(jobs),
        }
        for name, jobs in by_name.items()
        if jobs
    ]


def _curves(folder: Path) -> list[Json]:
    """Return the loss curves of a case: of its text embedding, and of LoRA per base embedding."""
    tables = {"Text embedding": list((folder / "text_embedding").glob("iter*.losses.tsv"))}
    adapters = sorted((folder / "lora").glob("embedding*"), key=lambda path: _natural(path.name))
    for base in adapters:
        over = "" if len(adapters) == 1 else f" over {base.name}"
        tables[f"LoRA{over}"] = list(base.glob("iter*/losses.tsv"))
    curves = []
    for name, paths in tables.items():
        losses: dict[int, float] = {}
        for path in sorted(paths, key=lambda path: _natural(str(path))):
            losses.update(_losses(path))
        if losses:
            curves.append({"name": name, "points": _averaged(losses)})
    return curves


def _losses(path: Path) -> Mapping[int, float]:
    """Return iteration → loss of one table; rows that cannot be read are left out."""
    losses: dict[int, float] = {}
    with suppress(OSError, UnicodeDecodeError, csv.Error), path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            with suppress(KeyError, TypeError, ValueError):
                if math.isfinite(loss := float(row["loss"])):
                    losses[int(row["iteration"])] = loss
    return losses


def _averaged(losses: Mapping[int, float]) -> list[tuple[int, float]]:
    """Return (iteration, loss) in order; with too many points, neighbours are averaged."""
    points = sorted(losses.items())
    step = -(-len(points) // _MAX_POINTS)
    groups = [points[first : first + step] for first in range(0, len(points), step)]
    return [
        (group[-1][0], float(f"{sum(loss / len(group) for _, loss in group):.6g}"))
        for group in groups
    ]
