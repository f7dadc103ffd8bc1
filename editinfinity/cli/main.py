"""The command ``editinfinity``: run the workflow, or one of its stages by hand."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from editinfinity.cli import everyday, new_cases, preview
from editinfinity.cli.again import again
from editinfinity.cli.app import app as open_page
from editinfinity.cli.batch import batch
from editinfinity.cli.options import Quiet, with_quiet
from editinfinity.cli.stages import stages
from editinfinity.cli.streams import (
    AsJson,
    PrintableFormatter,
    be_quiet,
    finish_streams,
    is_quiet,
    prepare_streams,
    print_json,
    tell,
)
from editinfinity.cli.upstream import import_upstream
from editinfinity.cli.weights import weights
from editinfinity.config.load import SELECTION_KEYS
from editinfinity.environment import let_idle_threads_sleep
from editinfinity.errors import UserError
from editinfinity.names import printable
from editinfinity.planning.user_environment import PROFILE, replace_unusable
from editinfinity.settings.groups import SETTINGS

log = logging.getLogger(__name__)

app = typer.Typer(
    help="""Edit photographs by text: inversion trains the Infinity model to reproduce yours from a
    prompt that describes it; the model then draws another prompt.

    To edit one photograph (see editinfinity edit --help):

        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup on a table"

    To edit many with the workflow: put each case into data/NAME (image/original_image.jpg,
    image/mask.png, prompt/edit_image_prompt.txt, …), list the cases in config.yaml (without that
    file, all cases are edited), and run the workflow:

        editinfinity run

    Results are written to results/. A second run only repeats jobs that a change affects.""",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(stages, name="stage")
app.add_typer(weights, name="weights")


def _print_version(requested: bool) -> None:
    if requested:
        from editinfinity import __version__

        typer.echo(f"editinfinity {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Set up logging and the environment for any command."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    if quiet:
        be_quiet()
    context.obj = replace_unusable()
    let_idle_threads_sleep()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Without --cores, Snakemake is given --cores 1; models still use all CPU cores "
    "(threads: auto in config.yaml).",
)
def run(context: typer.Context) -> None:
    """Run the workflow in the current folder; all arguments are passed to Snakemake.

    To list the jobs that would run, and why:

        editinfinity run --dry-run

    To run one case, with a setting of config.yaml changed:

        editinfinity run --config cases=[photo] use_lora_iter=[10,30,50]

    To continue after a run was killed:

        editinfinity run --unlock

        editinfinity run --rerun-incomplete

    Profiles of Snakemake are used if --profile names them; SNAKEMAKE_PROFILE is ignored.
    """
    from editinfinity.environment import workflow_root
    from editinfinity.names import shell_command

    # Snakemake would look for a rule that makes a file of this name.
    if lost := _setting_without_option(context.args):
        example = shell_command("editinfinity", "run", "--config", lost)
        raise UserError(f"{lost}: settings follow --config: {example}")
    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(workflow_root() / "Snakefile")]
    if not any(_sets_cores(argument) for argument in context.args):
        command += ["--cores", "1"]
    profile = os.environ.pop(PROFILE, None)
    if profile and not any(argument.startswith("--profile") for argument in context.args):
        option = shell_command("--profile", profile)
        log.warning("SNAKEMAKE_PROFILE: is ignored; to use that profile, add %s", option)
    if is_quiet() and not any(_sets_quiet(argument) for argument in context.args):
        command += ["--quiet", "all"]
    # Replaces this process, so that Ctrl-C and a cluster's signals reach Snakemake itself.
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *context.args])


@app.command()
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check whether a run would work in this folder, on this machine; exit status 1 if not.

    Checks Python and packages, environment variables, config.yaml and its cases, the model's
    weights and checksums, GPUs and their memory, the limit on GPU jobs, SLURM's GPUs, free disk
    space, and what edit --keep-warm keeps loaded.
    """
    from editinfinity.doctor import Severity, format_findings, run_checks, works

    findings = run_checks(Path.cwd(), context.obj)
    if as_json:
        shown = [
            {"subject": each.subject, "severity": each.severity.value.lower(), "text": each.text}
            for each in findings
        ]
        print_json({"works": works(findings), "findings": shown})
    elif is_quiet():
        for each in findings:
            if each.severity is Severity.FAULT:
                log.error("%s: %s", each.subject, each.text)
    else:
        typer.echo(format_findings(findings))
    raise typer.Exit(0 if works(findings) else 1)


@app.command()
def stop() -> None:
    """End what editinfinity edit --keep-warm keeps loaded; an edit that runs now is finished.

    Nothing is lost: the next edit loads it again.
    """
    from editinfinity.worker.warm_process import end_warm_process, warm_processes

    found = warm_processes()
    for process in found:
        end_warm_process(process.folder, wait=not process.editing)
        when = "ends after the edit that runs now" if process.editing else "has ended"
        tell(f"process {process.pid}, which kept {process.model} warm, {when}")
    if not found:
        tell("nothing is kept warm")


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(help="Project folder, with config.yaml, data and results.")
    ] = Path(),
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write results/report.html, one page with all results.

    Every run writes this page at its end; this command rewrites it from the current results, even
    while jobs are running. It reads only config.yaml: if runs got a benchmark or a table through
    --config, use snakemake --cores 1 report --config ... with the same values instead.
    """
    from editinfinity.cases.load import load_cases
    from editinfinity.config.config_file import read_config_file
    from editinfinity.config.load import load_config
    from editinfinity.files.input_files import is_folder
    from editinfinity.planning.digests import DIGESTS
    from editinfinity.results.report.make import make_report

    if not is_folder(folder):
        raise UserError(f"{folder}: is not a folder; give the one with config.yaml")
    with contextlib.chdir(folder):
        written, path, notices = read_config_file(Path())
        for line in notices:
            log.warning("%s", line)
        config = load_config({**written, "slice": None}, source=path.name)
        if not Path(config.results).is_dir():
            raise UserError(f"{config.results}: has no results yet; start editinfinity run")
        DIGESTS.persist_in(Path())
        page = make_report(config, load_cases(config)).absolute()
    tell(str(folder / config.results / page.name))
    if show:
        webbrowser.open(page.as_uri())


everyday.register(app)
new_cases.register(app)
preview.register(app)
app.command("again")(again)
app.command("batch")(batch)
app.command("app")(open_page)
app.command("import-upstream")(import_upstream)
for group in (app, stages, weights):
    for command in group.registered_commands:
        # All arguments of run are Snakemake's.
        if command.callback is not None and command.callback is not run:
            command.callback = with_quiet(command.callback)


def _sets_cores(argument: str) -> bool:
    """Whether an argument sets the number of cores or jobs, or a profile that may set it."""
    name = argument.partition("=")[0]
    short = argument.startswith(("-c", "-j")) and argument[2:3].isdigit()
    return short or name in ("-c", "--cores", "-j", "--jobs", "--profile", "--workflow-profile")


def _setting_without_option(arguments: Sequence[str]) -> str | None:
    """Return the first ``SETTING=VALUE`` that does not follow ``--config``; None if there is none.

    ``--config=SETTING=VALUE`` takes one value, ``--config`` all that follow.
    """
    option = ""
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if argument.startswith("-"):
            option = argument
        elif option in ("--config", "-C") or "resource" in option or "threads" in option:
            continue
        elif equals and (name in SETTINGS or name in SELECTION_KEYS):
            return argument
    return None


def _sets_quiet(argument: str) -> bool:
    """Whether an argument sets which messages Snakemake prints."""
    return argument.partition("=")[0] in ("-q", "--quiet")


def _exit_with(message: str) -> NoReturn:
    sys.stderr.write(f"editinfinity: {printable(message)}\n")
    sys.exit(1)


def main() -> None:
    """Run the command; a :class:`UserError` is printed in one line, with exit status 1."""
    prepare_streams()
    try:
        app(prog_name="editinfinity")
    except UserError as error:
        _exit_with(str(error))
    except OSError as error:
        where = error.filename or "a file"
        _exit_with(f"{where}: {error.strerror}; check its path, its permissions and the disk")
    finally:
        finish_streams()
