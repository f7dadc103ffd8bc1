"""The place of an edit as the Python API takes it: given, found with the model, or everywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from editinfinity.errors import UserError
from editinfinity.files.api_inputs import BlendLike, MaskLike, blend_of, mask_of
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.masks import grow_mask
from editinfinity.files.provenance import Provenance
from editinfinity.method.attention import attention_map
from editinfinity.method.locate import (
    EditedRegion,
    region_of_attention,
    region_of_blend,
    region_of_mask,
    region_of_prompts,
)
from editinfinity.method.prompt import tokens_of_word
from editinfinity.method.prompt_map import prompt_maps
from editinfinity.progress import Stage
from editinfinity.settings.groups import FOUND, MaskSettings

if TYPE_CHECKING:
    from editinfinity.models.transformer import Infinity


@dataclass(frozen=True)
class Place:
    """Where an edit may change the photograph; the whole picture if nothing says where.

    Attributes:
        mask: a mask; ``words``, ``bits`` or ``both`` finds it by comparing the prompts.
        target_word: word of the source prompt, whose place is found.
        blend: blend mask of the user's own.

    Raises:
        UserError: several are given.
    """

    mask: MaskLike | None = None
    target_word: str | None = None
    blend: BlendLike | None = None

    def __post_init__(self) -> None:
        if sum(where is not None for where in (self.mask, self.target_word, self.blend)) > 1:
            raise UserError("mask, target_word, blend: each defines the region; pass only one")

    @property
    def source(self) -> str:
        """Where the region comes from, as a value of the setting ``mask_source``."""
        if isinstance(self.mask, str) and self.mask in FOUND:
            return self.mask
        if self.mask is not None:
            return "user"
        if self.blend is not None:
            return "blend"
        return "none" if self.target_word is None else "attention"

    @property
    def found_in(self) -> Stage | None:
        """The stage that finds the place with the model; None if the model is not needed."""
        if self.source in FOUND:
            return "prompt_map"
        return None if self.target_word is None else "attention_map"

    def region(
        self, photograph: ImageFeatures, source: str, target: str, settings: MaskSettings,
        transformer: Infinity, encode: Callable[[str], PromptFeatures],
    ) -> EditedRegion | None:  # fmt: skip
        """Return the edited region; None for the whole picture.

        Args:
            photograph: the photograph.
            source: the source prompt.
            target: the edit prompt.
            settings: settings of masks, attention maps and prompt maps.
            transformer: the transformer, without an adapter; not used unless ``found_in``.
            encode: encodes a prompt; likewise.

        Raises:
            UserError: the mask, the blend mask or the word does not fit the photograph or its
                prompt, or the prompts cannot be compared.
        """
        if self.source in FOUND:
            maps = prompt_maps(transformer, photograph, encode(source), encode(target))
            return region_of_prompts(maps, self.source, photograph.pixels, settings)
        if self.mask is not None:
            geometry, notices = photograph.geometry, list[str]()
            part = settings.mask_edit_region
            edited = mask_of(self.mask, geometry.image_size, part, notices)
            edited = grow_mask(edited, settings.mask_grow)
            return region_of_mask(edited, geometry, self.mask, notices)
        if self.target_word is not None:
            plain = encode(source)
            tokens, scales = tokens_of_word(plain, self.target_word), settings.attention_scales
            attention = attention_map(transformer, photograph, plain, tokens, scales)
            return region_of_attention(attention, settings.attention_threshold, self.target_word)
        if self.blend is not None:
            given = blend_of(self.blend, photograph.schedule.reference_grid)
            return region_of_blend(given, self.blend)
        return None

    def recorded_in(self, made: Provenance) -> Provenance:
        """Return the provenance of an edit with its place: the word, the box or the mask's file."""
        made = replace(made, target_word=self.target_word)
        given = self.mask if self.source == "user" else self.blend
        if isinstance(given, str | Path):
            with suppress(OSError):  # it was read before, and has been deleted meanwhile
                return made.with_mask_file(Path(given))
        if isinstance(given, tuple | list):
            return replace(made, box=",".join(map(str, given)))
        return made
