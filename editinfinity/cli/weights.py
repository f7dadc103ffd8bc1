"""Commands ``editinfinity weights …``: get the released models ready, once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import BACKBONES
from editinfinity.files.model_folder import default_folder
from editinfinity.presets import Preset, preset
from editinfinity.released.catalogue import RELEASES, release

log = logging.getLogger(__name__)

weights = typer.Typer(
    help="""Fetch, convert and verify the weights of the released models.

    \b
        editinfinity weights fetch infinity_2b
        editinfinity weights fetch clip             # for metrics; also dino, lpips, image_reward
        editinfinity run --config model=infinity_2b
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Argument(help=f"{' or '.join(RELEASES)}.")]
ModelOrJudge = Annotated[
    str,
    typer.Argument(help=f"{', '.join(RELEASES)}, or a metric's {', '.join(BACKBONES)}."),
]
To = Annotated[
    Path | None,
    typer.Option(help="Folder for the converted files, to name as model_dir."),
]


@weights.command("fetch")
def fetch(
    model: ModelOrJudge,
    to: To = None,
    download_to: Annotated[
        Path | None,
        typer.Option(help="Plain folder for the released files, instead of the hub's cache."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit or tag of the repository of Infinity."),
    ] = None,
) -> None:
    """Download a released model from the Hugging Face hub and convert it; or a metric's model.

    What is already there is not downloaded again, and a download that stopped goes on. HF_HOME
    says where files go, HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 uses only what is there.
    """
    if model in BACKBONES:
        from editinfinity.released.judges import fetch_backbone

        folder = fetch_backbone(BACKBONES[model], to or download_to)
        setting = "" if (to or download_to) is None else f": set {model}_weights: {folder}"
        typer.echo(f"{BACKBONES[model].title}: ready in {folder}{setting}")
        return
    release(model)
    from editinfinity.released.fetch import fetch as fetch_files

    files = fetch_files(model, download_to, revision)
    _convert(preset(model), files, to)
    log.info("%s is not needed any more", files["transformer"][0])


@weights.command("convert")
def convert(
    model: Model,
    source: Annotated[Path, typer.Option("--from", help="Folder of the released files.")],
    to: To = None,
) -> None:
    """Convert released files that you have: pickles or shards, into safetensors, once.

    The folder holds the files under their released names, and the text encoder as flan-t5-xl/.
    """
    release(model)
    if not source.is_dir():
        raise UserError(f"--from: {source} is no folder; give the one with the released files")
    from editinfinity.released.convert import released_files

    _convert(preset(model), released_files(model, source), to)


def _convert(model: Preset, files: Mapping[str, Sequence[Path]], to: Path | None) -> None:
    from editinfinity.released.convert import convert as convert_files

    done = convert_files(model, files, to or default_folder(model.name))
    for part, converted in done.items():
        unused = f", {len(converted.unused)} unused left out" if converted.unused else ""
        typer.echo(
            f"{part}: {converted.tensors} tensors, {converted.parameters / 1e6:,.1f} million "
            f"parameters{unused}, none missing, none unexpected: {converted.file}"
        )
    folder = "" if to is None else f" and model_dir: {to}"
    typer.echo(f"ready: set model: {model.name}{folder} in config.yaml")


@weights.command("verify")
def verify(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, or names of converted models.")
    ],
    quick: Annotated[bool, typer.Option(help="Look at names and sizes only.")] = False,
) -> None:
    """Tell which model a file of weights is, and whether it is complete.

    Takes converted folders, safetensors, pickles, and folders of shards.
    """
    from editinfinity.released.verify import verify as look

    bad = 0
    for given in paths:
        path = Path(given)
        if given in RELEASES and not path.exists():
            path = default_folder(given)
        for verdict in look(path, checksums=not quick):
            typer.echo(verdict.line())
            bad += not verdict.usable
    if bad:
        raise typer.Exit(1)
