"""Draws tries with the warm pipeline, and keeps what was learned from photographs."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from PIL import ImageOps

from editinfinity.app.conversation import Conversation, Task
from editinfinity.app.pictures import view_of
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_bytes
from editinfinity.files.cropping import AUTO, FULL, Region, crop_around
from editinfinity.files.images import write_png
from editinfinity.files.masks import read_mask
from editinfinity.files.opening import size_upright
from editinfinity.inverted import Inversion
from editinfinity.method.invert import SOFT_PROMPT
from editinfinity.pipeline import EditInfinityPipeline
from editinfinity.planning.model import model_identity
from editinfinity.progress import Progress
from editinfinity.settings import groups
from editinfinity.settings.guidance import guidance_of, learns_nothing, values_of

_KEPT_IN_MEMORY = 4
"""Number of photographs whose inversions are kept in memory."""

_EDIT_GROUPS = (
    groups.SamplingSettings,
    groups.GuidanceSettings,
    groups.PreservationSettings,
    groups.MaskSettings,
    groups.FinishSettings,
)
"""Groups of the settings of ``EditInfinityPipeline.edit``."""


class _Learning:
    """Tells the app about each iteration, and ends a training that was cancelled.

    Args:
        conversation: the connection to the app.
        updates: iterations of both trainings together.
    """

    def __init__(self, conversation: Conversation, updates: int) -> None:
        self.conversation, self.updates = conversation, updates
        self.done, self.started = 0, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.loss is None:
            return
        self.done += 1
        passed = time.monotonic() - self.started
        self.conversation.tell(
            "progress",
            stage="words" if progress.stage == SOFT_PROMPT else "style",
            iteration=progress.step,
            of=progress.of,
            loss=progress.loss,
            seconds_left=passed / self.done * (self.updates - self.done),
        )
        self.conversation.require_wanted()


class Drawing:
    """Runs tasks with one pipeline.

    Args:
        settings: settings of the model.
        conversation: the connection to the app.

    Raises:
        UserError: the weights or the device do not exist.
    """

    def __init__(self, settings: Mapping[str, Any], conversation: Conversation) -> None:
        self.conversation = conversation
        self.pipeline = EditInfinityPipeline.from_pretrained(
            **settings, on_loading=lambda part: conversation.tell("loading", part=part)
        )
        self.pipeline.weights = model_identity(settings)
        self._inversions: OrderedDict[str, Inversion] = OrderedDict()

    @property
    def device(self) -> str:
        """Device of the model, such as ``cpu``."""
        return str(self.pipeline.device)

    def run(self, task: Task) -> list[str]:
        """Draw a try or find a mask.

        Returns:
            Lines to know about the result.

        Raises:
            UserError: a file or a setting does not fit.
            Cancelled: the app has cancelled the task.
        """
        heard = _Heard()
        logging.getLogger("editinfinity").addHandler(heard)
        try:
            self._find(task) if task.how else self._draw(task)
        finally:
            logging.getLogger("editinfinity").removeHandler(heard)
        return heard.lines

    def _find(self, task: Task) -> None:
        """Write the found mask, white where the photograph is edited."""
        self.conversation.tell("progress", stage="finding")
        inversion = self._inversion(task, None, {**task.settings, "method": "training_free"})
        if task.how == "word":
            chosen = _chosen(task.settings, "attention_threshold", "attention_scales")
            mask = self.pipeline.find_word(inversion, task.word, **chosen)
        else:
            chosen = _chosen(task.settings, *groups.FOUND_SETTINGS)
            mask = self.pipeline.find_mask(inversion, task.prompt, str(task.how), **chosen)
        write_png(Path(task.output), ImageOps.invert(mask.convert("L")))

    def _draw(self, task: Task) -> None:
        """Write the edited photograph, with its metadata and the settings that it was made with.

        The page shows the view while the photograph is written, which takes a second and more if
        it is large.
        """
        settings = task.settings
        inversion = self._inversion(task, self._region(task), settings)
        self.conversation.tell("progress", stage="drawing")
        edit = _edit_settings(settings)
        mask = None if task.mask is None else Path(task.mask)
        picture = self.pipeline.edit(
            inversion, task.prompt, mask=mask, **edit,
            on_progress=lambda _: self.conversation.require_wanted(),
        )  # fmt: skip
        if task.view is not None:
            write_bytes(Path(task.view), view_of(picture))
            self.conversation.tell("progress", stage="saving")
        picture.save(task.output)

    def _region(self, task: Task) -> Region | None:
        """Return the part of the photograph that the model sees; None for all of it."""
        if task.mask is None or task.settings["crop"] != AUTO:
            return None
        photograph, settings = Path(task.photograph), task.settings
        mask = read_mask(
            Path(task.mask), size_upright(photograph), settings["mask_edit_region"],
            settings["mask_grow"],
        )  # fmt: skip
        return crop_around([mask], self._budget(settings))

    def _budget(self, settings: Mapping[str, Any]) -> str:
        return settings["pixel_budget"] or self.pipeline.preset.pixel_budget

    def _inversion(
        self, task: Task, region: Region | None, settings: Mapping[str, Any]
    ) -> Inversion:
        """Return the inversion of the photograph: kept in memory, on disk, or learned now."""
        words, style = settings["train_textembedding_iter"], settings["train_lora_iter"]
        if learns_nothing(settings):
            words = style = 0
        training = groups.TrainingSettings.of(settings)
        lora = groups.LoraSettings.of(settings)
        photograph = Path(task.photograph)
        identity = [
            hashlib.sha256(photograph.read_bytes()).hexdigest(), task.source, words, style, region,
            self._budget(settings), self.pipeline.preset.name, asdict(training), asdict(lora),
        ]  # fmt: skip
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        folder = Path(task.learned, key)
        inversion = self._inversions.pop(key, None) or _load(folder)
        if inversion is None:
            self.conversation.tell("progress", stage="learning" if words + style else "reading")
            inversion = self.pipeline.invert(
                photograph, task.source, embedding_iterations=words, lora_iterations=style,
                crop=region or FULL, pixel_budget=self._budget(settings), training=training,
                lora=lora, on_progress=_Learning(self.conversation, words + style),
            )  # fmt: skip
            if words + style:
                _save(inversion, folder)
        self._inversions[key] = inversion
        while len(self._inversions) > _KEPT_IN_MEMORY:
            self._inversions.popitem(last=False)
        return inversion


class _Heard(logging.Handler):
    """Collects warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _edit_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of ``EditInfinityPipeline.edit`` for settings of config.yaml."""
    keys = [field.name for group in _EDIT_GROUPS for field in fields(group)]
    return {**_chosen(settings, *keys), "guidance": guidance_of(settings)}


def _chosen(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return single values of settings; the first where several are given."""
    return {
        key: values_of(settings, key)[0] if groups.SETTINGS[key].sweep else settings[key]
        for key in keys
    }


def _load(folder: Path) -> Inversion | None:
    """Return an inversion that was saved; None if there is none or it is damaged."""
    try:
        return Inversion.load(folder) if folder.is_dir() else None
    except UserError as error:
        logging.getLogger("editinfinity").warning("%s; it is learned again", error)
        return None


def _save(inversion: Inversion, folder: Path) -> None:
    """Save an inversion; the folder gets its name when it is complete.

    If the disk is full, the inversion is kept in memory only, with a warning.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    except OSError as error:
        reason = error.strerror
    else:
        try:
            inversion.save(temporary)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
            return
        except (OSError, UserError) as error:
            reason = str(error)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    logging.getLogger("editinfinity").warning(
        "what was learned cannot be kept (%s); after a restart it is learned again", reason
    )
