"""Commands ``editinfinity weights …``: download and convert the released models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editinfinity.cli.options import completion_of, setting_option
from editinfinity.cli.streams import AsJson, is_quiet, print_json, tell
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import BACKBONES
from editinfinity.files.input_files import is_folder
from editinfinity.files.model_folder import default_folder
from editinfinity.names import yaml_text
from editinfinity.presets import PRESETS, Preset, preset
from editinfinity.released.catalogue import RELEASES, check_dtype, release
from editinfinity.released.record import require_converted
from editinfinity.settings.groups import ModelSettings

if TYPE_CHECKING:
    from editinfinity.released.deep_check import Check, DeepReport
    from editinfinity.released.verify import Verdict

log = logging.getLogger(__name__)

weights = typer.Typer(
    help="""Fetch, convert and verify the weights of the released models.

    \b
        editinfinity weights fetch infinity_2b
        editinfinity weights fetch clip             # for metrics; or dino, lpips, image_reward
        editinfinity run --config model=infinity_2b
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[
    str,
    typer.Argument(help=f"{' or '.join(RELEASES)}.", autocompletion=completion_of(RELEASES)),
]
ModelOrMetric = Annotated[
    str,
    typer.Argument(
        help=f"{', '.join(RELEASES)}; for metrics: {', '.join(BACKBONES)}.",
        autocompletion=completion_of([*RELEASES, *BACKBONES]),
    ),
]
To = Annotated[
    Path | None,
    typer.Option(help="Folder for the converted files; set model_dir to it."),
]
Dtype = Annotated[
    str,
    typer.Option(
        help="Data type of the converted files: released, or bf16, which halves their size."
    ),
]


@weights.command("fetch")
def fetch(
    model: ModelOrMetric,
    to: To = None,
    download_to: Annotated[
        Path | None,
        typer.Option(help="Folder for the released files, instead of the Hugging Face cache."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit or tag of the Infinity repository on the hub."),
    ] = None,
    dtype: Dtype = "released",
) -> None:
    """Download a model from the Hugging Face hub, and convert it unless it is a metric's model.

    Existing files are not downloaded again, and an interrupted download is resumed. HF_HOME sets
    the cache folder, HF_ENDPOINT a mirror, and HF_HUB_OFFLINE=1 uses only downloaded files.
    """
    if model in BACKBONES:
        from editinfinity.released.judges import fetch_backbone

        folder = fetch_backbone(BACKBONES[model], to or download_to)
        setting = (
            ""
            if (to or download_to) is None
            else f": set {model}_weights: {yaml_text(str(folder))}"
        )
        tell(f"{BACKBONES[model].title}: ready in {folder}{setting}")
        return
    release(model)
    check_dtype(dtype)
    from editinfinity.released.fetch import fetch as fetch_files

    files = fetch_files(model, download_to, revision)
    _convert(preset(model), files, to, dtype)
    log.info("%s is no longer needed", files["transformer"][0])


@weights.command("convert")
def convert(
    model: Model,
    source: Annotated[Path, typer.Option("--from", help="Folder of the released files.")],
    to: To = None,
    dtype: Dtype = "released",
) -> None:
    """Convert downloaded files (pickles or shards) into safetensors.

    The folder contains the files under their released names, and flan-t5-xl/ (text encoder).
    """
    release(model)
    check_dtype(dtype)
    if not is_folder(source):
        raise UserError(f"--from: {source} is not a folder; give the one with the released files")
    from editinfinity.released.convert import released_files

    _convert(preset(model), released_files(model, source), to, dtype)


def _convert(
    model: Preset, files: Mapping[str, Sequence[Path]], to: Path | None, dtype: str
) -> None:
    from editinfinity.released.convert import convert as convert_files

    parts = convert_files(model, files, to or default_folder(model.name), dtype)
    for part, converted in parts.items():
        dtypes = " and ".join(converted.dtypes)
        unused = f", {len(converted.unused)} unused ones left out" if converted.unused else ""
        tell(
            f"{part}: {converted.tensors} tensors, {converted.parameters / 1e6:,.1f} million "
            f"parameters in {dtypes}{unused}, none missing, none unexpected: {converted.file}"
        )
    folder = "" if to is None else f" and model_dir: {yaml_text(str(to))}"
    tell(f"ready: set model: {model.name}{folder} in config.yaml")


@weights.command("verify")
def verify(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders or names of converted models.")
    ],
    quick: Annotated[bool, typer.Option(help="Check only names and sizes.")] = False,
    deep: Annotated[
        bool,
        typer.Option(
            help="Also run whole models, and say whether they are trained. Writes a picture, "
            "MODEL_check.png.",
        ),
    ] = False,
    device: Annotated[str, setting_option("device")] = ModelSettings.device,
    as_json: AsJson = False,
) -> None:
    """Print which model a weights file belongs to, and whether the file is complete.

    Accepts converted folders, safetensors files, pickles, and folders of shards; with --deep only
    converted folders and names of models, bundled among them.
    """
    from editinfinity.released.verify import verify as verify_files

    files: list[Verdict] = []
    models: list[dict[str, Any]] = []
    for name in paths:
        path = Path(name)
        named = name in PRESETS and not path.exists()
        if deep and not named:
            require_converted(path)
        model = name
        if named and not deep and name not in RELEASES:
            raise UserError(f"{name}: comes with this project; add --deep to check that it works")
        if not named or name in RELEASES:
            verdicts = verify_files(default_folder(name) if named else path, checksums=not quick)
            for verdict in verdicts:
                files.append(verdict)
                if not as_json:
                    _tell_verdict(verdict.line(), verdict.usable)
            model = next((each.model for each in verdicts if each.part == "transformer"), name)
        if deep and model not in PRESETS:
            raise UserError(f"{path}: conversion.json does not name the model; convert it again")
        if deep:
            report, picture = _deep_check(model, None if named else path, device)
            models.append(_json_of_report(model, report, picture))
            if not as_json:
                _tell_report(model, report, picture)
    if as_json:
        print_json({"files": list(map(_json_of_verdict, files)), "models": models})
    if not all([*(each.usable for each in files), *(each["trained"] for each in models)]):
        raise typer.Exit(1)


def _json_of_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as ``schemas/command_output.schema.yaml`` describes it."""
    return {
        "path": str(verdict.path),
        "model": verdict.model,
        "part": verdict.part,
        "usable": verdict.usable,
        "complete": verdict.comparison.fits,
        "checksum": verdict.checksum,
        "tensors": len(verdict.comparison.tensors),
        "parameters": verdict.comparison.parameters,
        "text": verdict.line(),
    }


def _json_of_report(model: str, report: DeepReport, picture: Path | None) -> dict[str, Any]:
    """Return a report as ``schemas/command_output.schema.yaml`` describes it."""
    checks = [
        {
            "name": check.name,
            "value": check.value,
            "expected": check.expected,
            "fine": check.fine,
            "fault": None if check.fine else check.fault,
        }
        for check in report.checks
    ]
    shown = None if picture is None else str(picture)
    return {"model": model, "trained": report.trained, "checks": checks, "picture": shown}


def _tell_verdict(line: str, fine: bool) -> None:
    """Print a verdict; with ``--quiet`` only a bad one, as an error."""
    if fine or not is_quiet():
        tell(line)
    else:
        log.error("%s", line)


def _deep_check(model: str, model_dir: Path | None, device: str) -> tuple[DeepReport, Path | None]:
    """Check a whole model; return the report, and the picture that was written, if any."""
    from editinfinity.compute import report_memory_faults
    from editinfinity.files.images import write_png
    from editinfinity.released.deep_check import deep_check, example_photographs, load_models
    from editinfinity.stages.loading import open_settings

    chosen, torch_device = open_settings(ModelSettings(model, model_dir, device=device))
    with report_memory_faults("use --device cpu"):
        report = deep_check(load_models(chosen, torch_device, model_dir), example_photographs())
    if report.picture is None:
        return report, None
    picture = Path(f"{model}_check.png")
    write_png(picture, report.picture)
    return report, picture


def _tell_report(model: str, report: DeepReport, picture: Path | None) -> None:
    """Print a table of the checks of a whole model, and the verdict."""
    if not is_quiet():
        _print_checks(report.checks)
    if picture is not None:
        tell(f"look at {picture}: a photograph, its reconstruction, a sample")
    verdict = f"{model}: is trained, and its parts belong together"
    if not report.trained:
        faults = dict.fromkeys(check.fault for check in report.checks if not check.fine)
        verdict = (
            f"{model}: is not trained, is damaged, or has parts of different models: "
            f"{'; '.join(faults)}"
        )
    _tell_verdict(verdict, report.trained)


def _print_checks(checks: Sequence[Check]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "check", "value", "a trained model has", "verdict", box=box.SIMPLE, pad_edge=False
    )
    for check in checks:
        table.add_row(check.name, check.value, check.expected, "OK" if check.fine else "suspicious")
    Console(highlight=False, markup=False).print(table)
