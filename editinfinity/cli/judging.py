"""``editinfinity stage metrics`` and ``stage select``: the stages that judge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.cli.options import Without, grouped
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import BACKBONES
from editinfinity.settings.groups import EvaluationSettings, MaskSettings, ModelSettings

MaybePath = Path | None
Weights = Annotated[MaybePath, typer.Option(help="Folder; default: where it was fetched to.")]


def register(stages: typer.Typer) -> None:
    """Add the commands."""
    for command in (metrics, select):
        stages.command(command.__name__)(command)


@grouped
def metrics(
    *,
    picture: Annotated[Path, typer.Option(help="PNG of the stage edit.")],
    image: Annotated[Path, typer.Option(help="The photograph.")],
    output: Annotated[Path, typer.Option(help="JSON to write.")],
    mask: Annotated[MaybePath, typer.Option(help="The user's mask.")] = None,
    attention: Annotated[MaybePath, typer.Option(help="Of attention_map, instead.")] = None,
    settings: MaskSettings,
    lpips: Weights = None,
    clip: Weights = None,
    dino: Weights = None,
    image_reward: Weights = None,
    model: Annotated[
        ModelSettings,
        Without("model", "model_dir", "attention_bias", "threads", "gradient_checkpointing"),
    ],
) -> None:
    """Measure an edit: background, alignment, and what there are models for."""
    given = {"lpips": lpips, "clip": clip, "dino": dino, "image_reward": image_reward}
    folders = {name: BACKBONES[name].found(folder) for name, folder in given.items()}
    from editinfinity.stages.metrics import measure_edit

    measure_edit(
        picture=picture,
        image=image,
        output=output,
        mask=mask,
        attention=attention,
        model=model,
        **asdict(settings),
        lpips=folders["lpips"],
        clip=folders["clip"],
        dino=folders["dino"],
        image_reward=folders["image_reward"],
    )


def select(
    metrics: Annotated[list[Path], typer.Argument(help="Files of the stage metrics, in order.")],
    output: Annotated[Path, typer.Option(help="JSON to write: what was chosen, and why.")],
    floor: Annotated[
        float, typer.Option(help="Least background PSNR, in decibels.")
    ] = EvaluationSettings.select_floor,
) -> None:
    """Choose among variants: most aligned, of those that keep the background."""
    from editinfinity.stages.select import select_variant

    named = {path.name.removesuffix(".metrics.json"): path for path in metrics}
    if len(named) < len(metrics):
        raise UserError("metrics: two files have one name; give each variant's once")
    select_variant(metrics=named, output=output, floor=floor)
