"""A run as it is planned: its configuration and cases, and how rules find theirs by wildcards.

``rules/common.smk`` makes one ``PlannedRun`` from Snakemake's config; ``rule_params`` and
``rule_inputs`` answer the rules from it. Nothing here imports Snakemake or torch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from editinfinity.cases.case import Case, Cases, Edit
from editinfinity.cases.load import Hold, load_case, load_cases
from editinfinity.config.load import Config, check_yaml, find_config_file, load_config
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import found_backbones
from editinfinity.planning.cluster import fit_for_cluster
from editinfinity.planning.in_use import hold
from editinfinity.planning.run_marker import RunMarker
from editinfinity.planning.targets import Layout, case_targets, check_plan
from editinfinity.planning.variants import Variant, chosen_by_settings, parse_variant, variants


class Wildcards(Protocol):
    """The wildcards of a job: attributes for those that its rule has, all of them texts."""

    case: str
    edit: str
    variant: str
    iteration: str
    embedding: str

    def keys(self) -> Collection[str]:
        """Names of the wildcards that the rule has."""


@contextmanager
def faults_end_the_run() -> Iterator[None]:
    """End the process at a ``UserError``, with one line a fault and no traceback.

    Around a block, or as a decorator of what rules call.
    """
    try:
        yield
    except UserError as fault:
        for line in getattr(fault, "lines", [str(fault)]):
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        sys.exit(1)


def config_file(folder: Path, others_named: bool) -> tuple[Path | None, list[str]]:
    """(configuration file of a run's folder, if it sets anything; notices).

    Args:
        folder: that the run is started in.
        others_named: whether ``--configfile`` names files; then one whose name is only nearly
            ``config.yaml`` is not looked for.

    Raises:
        ConfigError: the file cannot be handed to Snakemake, or its name is misspelt.
    """
    path, notices = (folder / "config.yaml", []) if others_named else find_config_file(folder)
    return (path if path.exists() and check_yaml(path) else None), notices


@dataclass(frozen=True)
class PlannedRun:
    """The cases of a run, and what its rules look up in them.

    Attributes:
        config: of the run; ``config.results`` is where the results lie on the disk.
        cases: of the run.
        results: folder of the results as rules spell it. As a module with a ``prefix`` it differs
            from ``config.results``, for Snakemake puts the prefix before every path of a rule.
        whole_run: whether this is the run's main process, not that of a job; it holds the cases
            until it ends.
    """

    config: Config
    cases: Cases
    results: str
    whole_run: bool = False
    _others: dict[str, Case] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def load(
        cls,
        raw: Mapping[Any, Any],
        source: str = "config.yaml",
        command_line: Collection[str] = (),
        place: Callable[[str], str] = lambda path: path,
        whole_run: bool = False,
        on_cluster: bool = False,
    ) -> PlannedRun:
        """Validate a configuration, find its cases, and make sure that they can be run.

        Args:
            raw, source, command_line: of ``load_config``.
            place: path of a rule → where Snakemake has it, which differs in a module with a prefix.
            whole_run: of the run that is made.
            on_cluster: whether jobs are submitted to a cluster.

        Raises:
            UserError: a setting or a case is not usable.
        """
        config = load_config(raw, source, command_line)
        results = config.results
        config = replace(config, results=place(f"{results}/").rstrip("/"))
        cases = load_cases(config, _hold(whole_run))
        if on_cluster:
            cases = fit_for_cluster(cases)
        check_plan(config, cases)
        found_backbones(config.settings)  # a setting that names a wrong folder stops here
        return cls(config, cases, results, whole_run)

    @functools.cached_property
    def end(self) -> RunMarker:
        """Whether the end of the run was told."""
        return RunMarker(Path(self.config.results), self.cases.by_name)

    def layout(self, case: str) -> Layout:
        """Where rules have the results of a case."""
        return Layout(f"{self.results}/{case}")

    @faults_end_the_run()
    def case(self, name: str) -> Case:
        """A case of this run, or, for targets named on the command line, any other."""
        if name in self.cases.by_name:
            return self.cases.by_name[name]
        if name not in self._others:
            self._others[name] = load_case(self.config, name, _hold(self.whole_run))
        return self._others[name]

    @faults_end_the_run()
    def edit(self, wildcards: Wildcards) -> Edit:
        """The edit of a job."""
        case = self.case(wildcards.case)
        if wildcards.edit not in case.edits:
            raise UserError(f"{case.name}: there is no edit {wildcards.edit}; add its prompt")
        return case.edits[wildcards.edit]

    @faults_end_the_run()
    def variant(self, wildcards: Wildcards) -> Variant:
        """The variant that a job's file names stand for."""
        return _parsed(wildcards.variant)

    @faults_end_the_run()
    def drawn(self, edit: Edit) -> tuple[Variant, ...]:
        """The variants of an edit, the product of its lists."""
        return variants(edit.settings)

    @faults_end_the_run()
    def candidates(self, edit: Edit) -> tuple[Variant, ...]:
        """The variants that may become the result: the one that settings name, or all."""
        settled = chosen_by_settings(edit.settings)
        return variants(edit.settings) if settled is None else (settled,)

    def targets(self) -> list[str]:
        """Everything the configuration asks for, the end of a run that was killed included."""
        targets = [
            target
            for name, case in self.cases.by_name.items()
            for target in case_targets(case, self.layout(name))
        ]
        return [*targets, *(f"{self.results}/{path.name}" for path in self.end.target())]

    @faults_end_the_run()
    def pie_bench_targets(self, wildcards: Wildcards) -> list[str]:
        """Everything the benchmark asks for."""
        if self.config.settings["pie_bench"] is None:
            raise UserError("pie_bench: is null; give its folder: --config pie_bench=FOLDER")
        return self.targets()


def _hold(whole_run: bool) -> Hold:
    """Keeps the files of cases as they are, in a process that lives as long as the run."""
    return hold if whole_run else lambda paths: None


_parsed = functools.cache(parse_variant)
