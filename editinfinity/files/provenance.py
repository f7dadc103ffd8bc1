"""What made a picture: the prompts, settings, files and versions, as a text that travels in it.

``editinfinity again`` reads it back. A picture may come from anybody, so of its settings only known
ones with valid values are taken, and nothing in it names a file or a folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from editinfinity.environment import Environment
from editinfinity.files.geometry import Size
from editinfinity.presets import PRESETS
from editinfinity.scales import PIXEL_BUDGETS
from editinfinity.settings import groups
from editinfinity.settings.guidance import guidance_of, learns_nothing, numbers_of
from editinfinity.settings.types import InvalidValue

_MAX_CHARACTERS = 2**20
"""Maximum length of the text that is read; that of a picture has some thousands."""

_MAX_WORDS = 2**14
"""Maximum length of a prompt or of another short text in it."""

_BOX = re.compile(r"-?\d{1,7}( ?[, ] ?-?\d{1,7}){3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_BOX_BYTES = 100


@dataclass(frozen=True)
class Fingerprint:
    """Identifies the content of a file.

    Attributes:
        sha256: its SHA-256, in hexadecimal.
        size: its size in bytes.
    """

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> Fingerprint:
        """Return the fingerprint of the content of a file."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def of_file(cls, path: Path) -> Fingerprint:
        """Return the fingerprint of a file.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(digest, file.tell())

    def matches(self, path: Path) -> bool:
        """Whether a path is a file with this content; only files of its size are read."""
        try:
            same_size = path.is_file() and path.stat().st_size == self.size
            return same_size and Fingerprint.of_file(path) == self
        except OSError:
            return False


@dataclass(frozen=True)
class Provenance:
    """What made a picture.

    Attributes:
        prompt: description of the edited picture.
        settings: setting → single value in canonical form, of all settings that the picture
            depends on (``settings_used``).
        source_prompt: description of the photograph; empty for none.
        target_word: word of the source prompt that was edited, if that was how it was found.
        photograph: the photograph's file; None if it was no file.
        mask: the file of the mask or blend mask, if one was used and was a file.
        box: the mask, if it was a box ``x,y,w,h``.
        weights: identity of the model and of its weights; None if unknown.
        environment: device, threads and versions of the drawing (in an ``Inversion``, of its
            training); None if unknown.
        training_environment: those of a training, if they differ from those of the drawing.
    """

    prompt: str
    settings: Mapping[str, Any]
    source_prompt: str = ""
    target_word: str | None = None
    photograph: Fingerprint | None = None
    mask: Fingerprint | None = None
    box: str | None = None
    weights: str | None = None
    environment: Environment | None = None
    training_environment: Environment | None = None

    def with_mask_file(self, path: Path) -> Provenance:
        """Return a copy for the file of a mask or blend mask; a box is taken over itself.

        Raises:
            OSError: it cannot be read.
        """
        if path.suffix.lower() == ".txt" and path.stat().st_size <= _MAX_BOX_BYTES:
            text = " ".join(path.read_text("utf-8-sig", "replace").split())
            if _BOX.fullmatch(text):
                return replace(self, box=text)
        return replace(self, mask=Fingerprint.of_file(path))

    def to_json(self) -> str:
        """Return it as the text that is stored in pictures."""
        values = asdict(self)
        if self.training_environment is None:  # as earlier versions wrote it
            del values["training_environment"]
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None) -> tuple[Provenance, list[str]] | None:
        """Read the text of a picture, from whatever source.

        Returns:
            The provenance, and the names of the settings that are left out because they are
            unknown here or their values are not valid. None if the text is no provenance.
        """
        try:
            values: Any = None
            if text is not None and len(text) <= _MAX_CHARACTERS:
                values = json.loads(text)
            settings, left_out = _valid_settings(values["settings"])
            provenance = cls(
                prompt=_text(values["prompt"]),
                settings=settings,
                source_prompt=_text(values["source_prompt"]),
                target_word=_optional(_text, values.get("target_word")),
                photograph=_optional(_fingerprint, values.get("photograph")),
                mask=_optional(_fingerprint, values.get("mask")),
                box=_optional(_box, values.get("box")),
                weights=_optional(_text, values.get("weights")),
                environment=_optional(_environment, values.get("environment")),
                training_environment=_optional(_environment, values.get("training_environment")),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return provenance, left_out

    def parameters(self, size: Size) -> str:
        """Return the text that image tools show, in the grammar of AUTOMATIC1111's web UI.

        Args:
            size: (height, width) of the picture.
        """
        settings = self.settings
        model = PRESETS[settings["model"]]
        steps = PIXEL_BUDGETS[settings.get("pixel_budget") or model.pixel_budget]
        fields = {
            "Steps": steps,
            "CFG scale": f"{settings['cfg']:g}",
            "Seed": settings["seed"],
            "Size": f"{size[1]}x{size[0]}",
            "Model": model.name,
            "Version": PROGRAM,
        }
        lines = [" ".join(self.prompt.split())]
        if guidance_of(settings) == "source_negative" and self.source_prompt:
            lines.append(f"Negative prompt: {' '.join(self.source_prompt.split())}")
        lines.append(", ".join(f"{name}: {value}" for name, value in fields.items()))
        return "\n".join(lines)


PROGRAM = "editinfinity"
"""How ``Provenance.parameters`` names this program, at its end."""


def parameters_of(settings: str | None, size: Size) -> str | None:
    """Return ``Provenance.parameters`` for the text of a picture; None if it is no provenance."""
    read = Provenance.from_json(settings)
    try:
        return None if read is None else read[0].parameters(size)
    except KeyError:  # without the settings that are shown
        return None


_ALWAYS_USED = (
    *("model", "attention_bias", "text_encoder_dtype", "method", "pixel_budget", "crop"),
    *groups.SamplingSettings.settings(),
    *("lock_scales", "background", "mask_feather", "gps"),
)
_USED_WITH_MASK = {
    "none": (),
    "blend": (),
    "user": ("smoothing", "mask_edit_region", "mask_grow"),
    "attention": ("smoothing", "attention_threshold", "attention_scales"),
    **dict.fromkeys(groups.FOUND, ("smoothing", *groups.FOUND_SETTINGS)),
}
"""Origin of the mask → further settings that are used."""

_RECORDED = frozenset(
    {
        *_ALWAYS_USED,
        *(key for keys in _USED_WITH_MASK.values() for key in keys),
        *("mask_source", "deterministic"),
        *groups.GuidanceSettings.settings(),
        *groups.InversionSettings.settings().keys() - {"checkpoint_every"},
        *("use_concat_embedding", "use_embedding_iter", "use_lora", "use_lora_iter"),
        *groups.TrainingSettings.settings(),
        *groups.LoraSettings.settings(),
    }
)
"""Settings that are taken from pictures."""


def settings_used(
    settings: Mapping[str, Any], mask_source: str, embedding: int, lora: int, base: int
) -> dict[str, Any]:
    """Return the settings that a picture depends on, so that equal pictures record the same.

    Args:
        settings: single values by name; missing ones are left out.
        mask_source: origin of the edit's mask, or ``none``.
        embedding: iteration of the text embedding that the picture was drawn with; 0 for none.
        lora: iteration of its LoRA; 0 for none.
        base: iteration of the text embedding that the LoRA was trained on; 0 for none.
    """
    guidance = guidance_of(settings)
    keys = [*_ALWAYS_USED, *_USED_WITH_MASK[mask_source], *numbers_of(guidance)]
    learned: dict[str, Any] = {}
    if not learns_nothing(settings):
        learned = {
            "guidance": guidance,
            "use_concat_embedding": embedding > 0,
            "use_lora": lora > 0,
        }
        first = max(embedding, base)
        keys += groups.TrainingSettings.settings() if first or lora else ()
        if first:
            learned["train_textembedding_iter"] = first
        if embedding not in (0, first):
            learned["use_embedding_iter"] = embedding
        if lora:
            learned |= {"train_lora_iter": lora, "use_textembedding": base > 0}
            keys += groups.LoraSettings.settings()
            if base not in (0, first):
                learned["use_textembedding_iter"] = base
    used = {key: settings[key] for key in keys if key in settings and key != "deterministic"}
    return {**used, "mask_source": mask_source, **learned}


def _valid_settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the known settings with valid values, and the names of the others."""
    settings, left_out = {}, []
    for key, value in values.items():
        try:
            if key not in _RECORDED:
                raise InvalidValue("not recorded")
            settings[key] = groups.SETTINGS[key].parse_one(value)
        except InvalidValue:
            left_out.append(str(key))
    return settings, left_out


def _optional(read: Any, value: Any) -> Any:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_WORDS:
        raise ValueError("no text")
    value.encode()  # raises ValueError for lone surrogates
    return " ".join(value.split())


def _box(value: Any) -> str:
    if not _BOX.fullmatch(_text(value)):
        raise ValueError("no box")
    return _text(value)


def _fingerprint(value: Any) -> Fingerprint:
    if not _SHA256.fullmatch(value["sha256"]):
        raise ValueError("no SHA-256")
    return Fingerprint(value["sha256"], int(value["size"]))


def _environment(value: Any) -> Environment:
    return Environment(_text(value["device"]), int(value["threads"]), _text(value["versions"]))
