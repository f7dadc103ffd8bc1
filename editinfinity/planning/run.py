"""A planned run: its configuration and cases, and lookup of a job's case and edit by wildcards.

``rules/common.smk`` creates one ``PlannedRun`` from Snakemake's config. ``rule_params`` and
``rule_inputs`` use it to compute params and inputs. Nothing here imports Snakemake or torch.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from editinfinity.cases.case import Case, Cases, Edit
from editinfinity.cases.load import LockFiles, cases_are_folders, load_case, load_cases
from editinfinity.config.config_file import check_yaml, find_config_file
from editinfinity.config.load import Config, load_config
from editinfinity.environment import ERROR_FILE
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import backbone_folders
from editinfinity.files.input_files import path_on_disk
from editinfinity.names import names_like, spelled_out
from editinfinity.planning.cluster import cases_for_cluster
from editinfinity.planning.in_use import lock_until_exit
from editinfinity.planning.run_marker import RunMarker
from editinfinity.planning.targets import Layout, case_targets, check_plan
from editinfinity.planning.variants import Variant, chosen_by_settings, parse_variant, variants_of


class Wildcards(Protocol):
    """The wildcards of a job, as attributes of type str; only those of its rule exist."""

    case: str
    edit: str
    variant: str
    iteration: str
    embedding: str

    def keys(self) -> Collection[str]:
        """Return the names of the rule's wildcards."""


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Exit the process on a ``UserError``; print one line for each error, no traceback.

    The lines go to stderr, or to the file that the environment variable ``ERROR_FILE`` names. Use
    it around a block, or as a decorator of functions that rules call.
    """
    try:
        yield
    except UserError as fault:
        text = "".join(f"{line}\n" for line in getattr(fault, "lines", [str(fault)]))
        if name := os.environ.get(ERROR_FILE):
            with Path(name).open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()
        sys.exit(1)


def config_file(folder: Path, files_named: bool) -> tuple[Path | None, list[str]]:
    """Return (configuration file of a run's folder, or None if it sets nothing; notices).

    Args:
        folder: folder that the run is started in.
        files_named: whether ``--configfile`` names files. If so, only a file named exactly
            ``config.yaml`` is used, and similar names are not reported as misspelt.

    Raises:
        ConfigError: Snakemake cannot read the file, or its name is misspelt.
    """
    path, notices = (folder / "config.yaml", []) if files_named else find_config_file(folder)
    return (path if path.exists() and check_yaml(path) else None), notices


@dataclass(frozen=True)
class PlannedRun:
    """The cases of a run, and the lookups that its rules need.

    Attributes:
        config: configuration of the run; ``config.results`` is the results folder on disk.
        cases: cases of the run.
        results: results folder as rules spell it. If the workflow is a module with a ``prefix``, it
            differs from ``config.results``, since Snakemake prepends the prefix to every path of a
            rule.
        main_process: whether this is the main process of the run, which locks the cases until it
            ends, rather than that of a job.
    """

    config: Config
    cases: Cases
    results: str
    main_process: bool = False
    _other_cases: dict[str, Case] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def load(
        cls,
        raw: Mapping[Any, Any],
        source: str = "config.yaml",
        command_line: Collection[str] = (),
        map_path: Callable[[str], str] = lambda path: path,
        main_process: bool = False,
        on_cluster: bool = False,
    ) -> PlannedRun:
        """Validate a configuration, load its cases, and check that they can be run.

        Args:
            raw, source, command_line: see ``load_config``.
            map_path: maps the path of a rule to the path that Snakemake uses, which differs in a
                module with a prefix.
            main_process: value of the attribute.
            on_cluster: whether jobs are submitted to a cluster.

        Raises:
            UserError: a setting or a case is not usable.
        """
        config = load_config(raw, source, command_line)
        results = config.results
        config = replace(config, results=map_path(f"{results}/").rstrip("/"))
        cases = load_cases(config, _locker(main_process))
        if on_cluster:
            cases = cases_for_cluster(cases)
        check_plan(config, cases)
        backbone_folders(config.settings)  # fails early if a setting names a wrong folder
        return cls(config, cases, results, main_process)

    @functools.cached_property
    def marker(self) -> RunMarker:
        """Marker that records whether the final report of the run was made."""
        return RunMarker(Path(self.config.results), self.cases.by_name)

    def layout(self, case: str) -> Layout:
        """Return the paths of a case's results, as rules spell them."""
        return Layout(f"{self.results}/{case}")

    @exit_on_user_error()
    def case(self, name: str) -> Case:
        """Return a case of this run, or any other case for targets named on the command line."""
        if name in self.cases.by_name:
            return self.cases.by_name[name]
        if name not in self._other_cases:
            self._require_spelling_of_results(name)
            self._other_cases[name] = load_case(self.config, name, _locker(self.main_process))
        return self._other_cases[name]

    def _require_spelling_of_results(self, name: str) -> None:
        """Refuse a case whose results are in a folder that looks the same, to have them only once.

        Raises:
            UserError: the name in a target is spelled otherwise than that folder.
        """
        results, data = Path(self.config.results), self.config.data
        if name in self.cases.by_name or (results / name).exists():
            return
        same = [*names_like(name, self.cases.by_name), path_on_disk(results / name).name][0]
        are_two_cases = cases_are_folders(self.config) and all(
            (data / folder).is_dir() for folder in (name, same)
        )
        if same != name and not are_two_cases:
            raise UserError(
                f"{results / name}: Unicode can spell this name in two ways, and the results have "
                f"the other; write it in a shell as $'{results}/{spelled_out(same)}'"
            )

    @exit_on_user_error()
    def edit(self, wildcards: Wildcards) -> Edit:
        """Return the edit of a job."""
        case = self.case(wildcards.case)
        if wildcards.edit not in case.edits:
            raise UserError(f"{case.name}: there is no edit {wildcards.edit}; add its prompt")
        return case.edits[wildcards.edit]

    @exit_on_user_error()
    def variant(self, wildcards: Wildcards) -> Variant:
        """Return the variant that is named in a job's file names."""
        return _parse_variant(wildcards.variant)

    @exit_on_user_error()
    def variants(self, edit: Edit) -> tuple[Variant, ...]:
        """Return the variants of an edit: the product of its list settings."""
        return variants_of(edit.settings)

    @exit_on_user_error()
    def candidates(self, edit: Edit) -> tuple[Variant, ...]:
        """Return the variants that may become the result: the one that settings select, or all."""
        selected = chosen_by_settings(edit.settings)
        return variants_of(edit.settings) if selected is None else (selected,)

    def targets(self) -> list[str]:
        """Return all files that the configuration requests.

        If the previous run of these cases was killed before its final report, a target is added
        that makes this run write the report, even if all other files exist already.
        """
        targets = [
            target
            for name, case in self.cases.by_name.items()
            for target in case_targets(case, self.layout(name))
        ]
        # The marker's paths are on disk; these are spelled as rules do.
        return [*targets, *(f"{self.results}/{path.name}" for path in self.marker.report_targets())]

    @exit_on_user_error()
    def pie_bench_targets(self, wildcards: Wildcards) -> list[str]:
        """Return ``targets()`` of a benchmark run, which needs the setting ``pie_bench``."""
        if self.config.settings["pie_bench"] is None:
            raise UserError("pie_bench: is null; set its folder: --config pie_bench=FOLDER")
        return self.targets()


def _locker(main_process: bool) -> LockFiles:
    """Return the function that locks the files of cases; it does nothing in a job's process."""
    return lock_until_exit if main_process else lambda paths: None


_parse_variant = functools.cache(parse_variant)
