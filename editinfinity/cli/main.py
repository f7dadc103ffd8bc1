"""The command ``editinfinity``: run the workflow, or one of its stages by hand."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.cli import everyday
from editinfinity.cli.stages import stages
from editinfinity.cli.weights import weights
from editinfinity.errors import UserError

log = logging.getLogger(__name__)

app = typer.Typer(
    help="""Edit photographs by text: the prompt that describes yours is learned by inversion with
    Infinity, then another prompt is drawn in its place.

    One photograph, in one line (editinfinity edit --help):

        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup on a table"

    Many, as a workflow: put a case into data/NAME (image/original_image.jpg, image/mask.png,
    prompt/edit_image_prompt.txt, …), list it in config.yaml if you have one (else every case is
    edited), and run the workflow:

        editinfinity run

    Results are in results/. A second run does only what a change asks for.""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(stages, name="stage")
app.add_typer(weights, name="weights")


def _tell_version(wanted: bool) -> None:
    if wanted:
        from editinfinity import __version__

        typer.echo(f"editinfinity {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only faults and warnings.")] = False,
) -> None:
    """Set up logging for any command."""
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(message)s",
        stream=sys.stderr,
        force=True,
    )


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Without --cores, one core is given to Snakemake; models use all cores there are "
    "(threads: auto in config.yaml).",
)
def run(context: typer.Context) -> None:
    """Run the workflow in the current folder; everything after 'run' goes to Snakemake.

    What would run, and why:

        editinfinity run --dry-run

    Only one case, with a setting of config.yaml changed:

        editinfinity run --config cases=[photo] use_lora_iter=[10,30,50]

    After a run was killed:

        editinfinity run --unlock

        editinfinity run --rerun-incomplete
    """
    from editinfinity.environment import workflow_root

    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(workflow_root() / "Snakefile")]
    if not any(_sets_cores(argument) for argument in context.args):
        command += ["--cores", "1"]
    # Replaces this process, so that Ctrl-C and a cluster's signals reach Snakemake itself.
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *context.args])


@app.command()
def doctor() -> None:
    """Look at this folder and machine; say, by the exit code too, whether a run would work.

    Python and packages, config.yaml and its cases, the model's weights and checksums, GPUs and
    their memory, whether gpu is capped, SLURM's GPUs, and room to write.
    """
    from editinfinity.doctor import examine, screen, works

    findings = examine(Path.cwd())
    typer.echo(screen(findings))
    raise typer.Exit(0 if works(findings) else 1)


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(help="Project: the folder with config.yaml, data and results.")
    ] = Path(),
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write results/report.html, everything the results hold on one page.

    A run ends with it by itself; this makes it anew, from what lies there now, while jobs are
    running too. It goes by config.yaml alone: after runs of a benchmark or a table given by
    --config, snakemake --cores 1 report --config ... with the same makes their page.
    """
    import yaml

    from editinfinity.cases.load import load_cases
    from editinfinity.config.load import check_yaml, find_config_file, load_config
    from editinfinity.planning.digests import DIGESTS
    from editinfinity.results.report.make import make_report

    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; give the one that holds config.yaml")
    with contextlib.chdir(folder):
        path, notices = find_config_file(Path())
        for line in notices:
            log.warning("%s", line)
        if path.exists():
            check_yaml(path)
        given = yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}
        config = load_config({**(given or {}), "slice": None}, source=path.name)
        if not Path(config.results).is_dir():
            raise UserError(f"{config.results}: holds no results yet; editinfinity run makes them")
        DIGESTS.persist_in(Path())
        page = make_report(config, load_cases(config)).absolute()
    typer.echo(folder / config.results / page.name)
    if show:
        webbrowser.open(page.as_uri())


everyday.register(app)


def _sets_cores(argument: str) -> bool:
    """Whether an argument says how many cores, jobs, or which profile that says so."""
    name = argument.partition("=")[0]
    short = argument.startswith(("-c", "-j")) and argument[2:3].isdigit()
    return short or name in ("-c", "--cores", "-j", "--jobs", "--profile", "--workflow-profile")


def main() -> None:
    """Run the command; a fault of the user's is one line and status 1."""
    try:
        app(prog_name="editinfinity")
    except UserError as fault:
        sys.stderr.write(f"editinfinity: {fault}\n")
        sys.exit(1)
