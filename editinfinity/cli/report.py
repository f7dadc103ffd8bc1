"""The command that writes the page of the results."""

from __future__ import annotations

import contextlib
import logging
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.errors import UserError

log = logging.getLogger(__name__)


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

    with contextlib.chdir(folder if folder.is_dir() else _no_folder(folder)):
        path, notices = find_config_file(Path())
        for line in notices:
            log.warning("%s", line)
        if path.exists():
            check_yaml(path)
        given = yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}
        config = load_config({**(given or {}), "slice": None}, source=path.name)
        if not Path(config.results).is_dir():
            raise UserError(f"{config.results}: holds no results yet; editinfinity run makes them")
        DIGESTS.keep_in(Path())
        page = make_report(config, load_cases(config)).absolute()
    typer.echo(folder / config.results / page.name)
    if show:
        webbrowser.open(page.as_uri())


def _no_folder(folder: Path) -> Path:
    raise UserError(f"{folder}: is no folder; give the one that holds config.yaml")
