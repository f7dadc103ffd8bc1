"""Options that several of the commands ``editinfinity stage NAME`` have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.cli.options import Without
from editinfinity.settings.groups import MaskSettings, ModelSettings

Image = Annotated[Path, typer.Option(help="The photograph.")]
ImageFeatures = Annotated[Path, typer.Option(help="File written by the stage image_features.")]
TextFeatures = Annotated[Path, typer.Option(help="File written by the stage text_features.")]
Output = Annotated[Path, typer.Option(help="The file to write.")]
Word = Annotated[str | None, typer.Option(help="Word of the source prompt to segment, or @FILE.")]
Iterations = Annotated[int, typer.Option(help="Total updates, including those of --previous.")]
Losses = Annotated[Path | None, typer.Option(help="Table of losses to write.")]
EncoderModel = Annotated[
    ModelSettings, Without("attention_bias", "gradient_checkpointing", "memory")
]
DrawModel = Annotated[ModelSettings, Without("gradient_checkpointing")]
Weights = Annotated[Path | None, typer.Option(help="Folder; default: that of 'weights fetch'.")]
OF_MAPS = (
    "attention_threshold", "attention_scales", "prompt_map_threshold", "prompt_map_filter",
    "prompt_map_grow",
)  # fmt: skip
"""Settings of masks that apply only to maps."""

RegionSettings = Annotated[MaskSettings, Without("attention_scales")]
WithoutEffect = Annotated[float | None, typer.Option(hidden=True)]


@dataclass(frozen=True)
class RegionOptions:
    """Options for the region of an edit: a mask, an attention map, a blend mask or prompt maps."""

    mask: Annotated[Path | None, typer.Option(help="Mask; or give --attention or --blend.")] = None
    photograph: Annotated[
        Path | None, typer.Option(help="Its name selects its part of an annotation file.")
    ] = None
    attention: Annotated[Path | None, typer.Option(help="File of attention_map.")] = None
    blend: Annotated[Path | None, typer.Option(help="Blend mask of your own.")] = None
    prompt_map: Annotated[Path | None, typer.Option(help="File of prompt_map.")] = None
    find_mask: Annotated[
        str, typer.Option(help="Which of the prompt maps decides: words, bits or both.")
    ] = "both"


def text_or_file(value: str) -> Path | str:
    """Return the path after an ``@``; any other value is the text itself."""
    return Path(value[1:]) if value.startswith("@") else value
