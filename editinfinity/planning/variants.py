"""Variants of an edit: the points of a parameter sweep, and their file names.

``embedding10-lora50-cfg4-tau0.5-seed42`` consists of the checkpoints by iteration (0 is "without"),
guidance, temperature and seed. A LoRA that was trained on a different embedding than the edit
uses is written ``lora50on0``. Any further swept setting appends ``-key=value``. A name contains
everything that differs between the variants of an edit, so parsing it gives the same variant.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from editinfinity.errors import UserError
from editinfinity.settings.groups import SETTINGS
from editinfinity.settings.guidance import (
    guidance_of,
    is_of_another_guidance,
    learns_nothing,
    values_of,
)
from editinfinity.settings.types import InvalidValue

ALWAYS_NAMED = ("cfg", "tau", "seed")
"""Sampling settings that every name contains."""

NAMED_IF_SWEPT = tuple(
    sorted(
        key
        for key, setting in SETTINGS.items()
        if setting.sweep and key not in ALWAYS_NAMED and not key.endswith("_iter")
    )
)
"""Settings that a name contains only if they are swept, in the order in which they are appended."""

_NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_NAME = re.compile(
    r"embedding(?P<embedding>\d+)-lora(?P<lora>\d+)(?:on(?P<base>\d+))?"
    rf"-cfg(?P<cfg>{_NUMBER})-tau(?P<tau>{_NUMBER})-seed(?P<seed>\d+)"
    r"(?P<further>(?:-[a-z_]+=[^-=/]+(?:(?<=e)-\d+)?)*)"
)
VARIANT_PATTERN = r"embedding\d+-lora(?:(?!\.metrics)[^/])+"
"""Regular expression of the ``variant`` wildcard for Snakemake; ``parse_variant`` is stricter."""


@dataclass(frozen=True)
class Variant:
    """One variant, i.e. one picture, of an edit.

    Attributes:
        embedding: iteration of the text embedding that the edit uses; 0 for none.
        lora: iteration of the LoRA that the edit uses; 0 for none.
        base: iteration of the embedding that the LoRA was trained on top of; 0 for none.
        cfg, tau, seed: sampling settings.
        further: (key, value) of other swept settings.
    """

    embedding: int
    lora: int
    base: int
    cfg: float
    tau: float
    seed: int
    further: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The variant's file name, without its ending."""
        base_suffix = f"on{self.base}" if self.lora and self.base != self.embedding else ""
        parts = [
            f"embedding{self.embedding}-lora{self.lora}{base_suffix}",
            f"cfg{format_value(self.cfg)}",
            f"tau{format_value(self.tau)}",
            f"seed{self.seed}",
            *(f"{key}={format_value(value)}" for key, value in self.further),
        ]
        return "-".join(parts)

    def setting(self, key: str, settings: Mapping[str, Any]) -> Any:
        """Return the variant's value of a setting.

        A setting that is not part of the name has the edit's value; of a list, the first element.
        """
        if not SETTINGS[key].sweep:
            return settings[key]
        return dict(self.further).get(key, values_of(settings, key)[0])


def format_value(value: object) -> str:
    """Format a value for a name: floats as ``:g``, whole numbers in full, words unchanged."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_variant(name: str) -> Variant:
    """Return the variant that a name stands for.

    Raises:
        UserError: it is not the name of a variant, or not in canonical form.
    """
    cure = "write e.g. embedding10-lora50-cfg4-tau0.5-seed42"
    if not (match := _NAME.fullmatch(name)):
        raise UserError(f"{name}: is not a variant name; {cure}")
    embedding, lora = int(match["embedding"]), int(match["lora"])
    further = []
    for key, text in re.findall(r"-([a-z_]+)=([^-=/]+(?:(?<=e)-\d+)?)", match["further"]):
        if key not in NAMED_IF_SWEPT:
            raise UserError(f"{name}: {key} is not a setting that a name can contain; {cure}")
        value: object = int(text) if text.isdecimal() else text
        try:
            further.append((key, SETTINGS[key].type.parse(value)))
        except InvalidValue as fault:
            raise UserError(f"{name}: {key} must be {fault}") from None
    variant = Variant(
        embedding,
        lora,
        int(match["base"]) if match["base"] else embedding * bool(lora),
        float(match["cfg"]),
        float(match["tau"]),
        int(match["seed"]),
        tuple(further),
    )
    if variant.name != name:
        raise UserError(f"{name}: is not in canonical form; write {variant.name}")
    return variant


def variants_of(settings: Mapping[str, Any]) -> tuple[Variant, ...]:
    """Return the variants in the product of an edit's lists, without duplicates.

    Lists of settings that another guidance alone uses are left out, as their pictures would be
    equal. The first one is chosen by ``select: first``.

    Raises:
        UserError: a number has more digits than a name shows.
    """
    for key in ("cfg", "tau", *NAMED_IF_SWEPT):
        for value in values_of(settings, key):
            if isinstance(value, float) and float(format_value(value)) != value:
                raise UserError(
                    f"{key}: {value!r} has more digits than a file name shows; round it to "
                    f"{format_value(value)}"
                )
    guidance = guidance_of(settings)
    swept = [
        key
        for key in NAMED_IF_SWEPT
        if len(values_of(settings, key)) > 1 and not is_of_another_guidance(key, guidance)
    ]
    product = itertools.product(
        embeddings_used(settings),
        loras_used(settings),
        lora_bases(settings),
        *(values_of(settings, key) for key in (*ALWAYS_NAMED, *swept)),
    )
    variants = {}
    for embedding, lora, base, cfg, tau, seed, *values in product:
        further = tuple(zip(swept, values, strict=True))
        variant = Variant(embedding, lora, base if lora else 0, cfg, tau, seed, further)
        variants[variant.name] = variant
    return tuple(variants.values())


def chosen_by_settings(settings: Mapping[str, Any]) -> Variant | None:
    """Return the variant that the settings select; None if metrics decide.

    Raises:
        UserError: ``select`` names something that is not a variant of the edit.
    """
    choice, variants = str(settings["select"]), variants_of(settings)
    if choice == "best" and len(variants) > 1:
        return None
    if choice in ("first", "best"):
        return variants[0]
    selected = next((variant for variant in variants if variant.name == choice), None)
    if selected is None:
        raise UserError(
            f"select: {choice} is not one of the {len(variants)} variants of the edit; write one, "
            f"such as {variants[0].name}, or first or best"
        )
    return selected


def embeddings_used(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the iterations of the text embedding that the edit uses; (0,) for none."""
    if learns_nothing(settings) or not settings["use_concat_embedding"]:
        return (0,)
    return _iterations(settings, "use_embedding_iter", "train_textembedding_iter")


def lora_bases(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the iterations of the text embedding that the LoRA is trained on; (0,) for none."""
    if learns_nothing(settings) or not settings["use_textembedding"]:
        return (0,)
    return _iterations(settings, "use_textembedding_iter", "train_textembedding_iter")


def loras_used(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the iterations of the LoRA that the edit uses; (0,) for none."""
    if learns_nothing(settings) or not settings["use_lora"]:
        return (0,)
    return _iterations(settings, "use_lora_iter", "train_lora_iter")


def _iterations(settings: Mapping[str, Any], key: str, fallback: str) -> tuple[int, ...]:
    iterations = settings[key]
    return (settings[fallback],) if iterations is None else tuple(iterations)
