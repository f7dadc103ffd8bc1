"""Warnings about existing results that were made by different code than the current one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.config.load import Config
from editinfinity.jobs.record import Code, read_records, record_path
from editinfinity.jobs.stage_version import recorded_versions, running_code, stage_of
from editinfinity.planning.targets import TRAIN_EMBEDDING, TRAIN_LORA, Layout, layout
from editinfinity.planning.variants import embeddings_used, lora_bases, loras_used, variants_of
from editinfinity.settings.guidance import values_of

FIRST_WITH_RECORDS = "0.2.0"
"""The first version whose jobs write records and whose Snakemake params have names."""

_END_OF_RECORD = 2**11
"""Bytes to read from the end of a record. The event that identifies the code is among the last
ones, after what may be thousands of iterations."""


def older_results(config: Config, cases: Cases) -> list[str]:
    """Return warnings about results made before ``FIRST_WITH_RECORDS``.

    There is one line if such results exist, and one for each of their checkpoints that this run
    uses unchanged because its training is switched off.
    """
    lines = older_folders([Path(layout(config, name).folder) for name in cases.by_name])
    for case in cases.by_name.values():
        where = layout(config, case.name)
        if _is_older(Path(where.folder)):
            lines += [
                f"{path}: was made by a version before {FIRST_WITH_RECORDS} and is used "
                "unchanged, because its training is switched off"
                for path in sorted(map(str, _kept_checkpoints(case, where)))
                if Path(path).exists()
            ]
    return lines


def older_folders(results: Sequence[Path]) -> list[str]:
    """Return one line if any results were made before ``FIRST_WITH_RECORDS``, else none.

    Args:
        results: the result folders of the cases (``results/CASE``).
    """
    older = [folder.name for folder in results if _is_older(folder)]
    if not older:
        return []
    which = older[0] if len(older) == 1 else f"{len(older)} cases"
    return [
        f"{which}: the results are from a version before {FIRST_WITH_RECORDS}, which did not "
        "notice changes of some settings; this run makes them again (CHANGELOG.md)"
    ]


def changed_code_warning(config: Config, cases: Cases) -> list[str]:
    """Return a line that names the rules whose code has changed since they made results.

    The list is empty if there are none. Only developers who change the code see the line: in a
    released version, a change that matters raises the version of the rule's stage
    (:mod:`editinfinity.jobs.stage_version`), and Snakemake reruns the job.
    """
    cases_by_rule: dict[str, set[str]] = {}
    for case in cases.by_name.values():
        logs = Path(layout(config, case.name).folder, "logs")
        for record in read_records(logs, _END_OF_RECORD):
            code = record.last(Code)
            if code is None or stage_of(code.rule) not in recorded_versions():
                continue
            now = running_code(code.rule)
            # If the version differs, Snakemake reruns the job anyway.
            if code.version == now.version and not code.matches(now) and _is_used(record.job, case):
                cases_by_rule.setdefault(code.rule, set()).add(case.name)
    if not cases_by_rule:
        return []
    rules = sorted(cases_by_rule, key=lambda rule: list(recorded_versions()).index(stage_of(rule)))
    count = len(set().union(*cases_by_rule.values()))
    return [
        f"{', '.join(rules)}: the code has changed since it made the results of "
        f"{count} {'case' if count == 1 else 'cases'}, but its version has not; to make them "
        f"again, use --forcerun {' '.join(rules)}"
    ]


def _is_older(results: Path) -> bool:
    """Whether a case has results but its first job wrote no record."""
    record = record_path(results / "logs" / "check.log")
    return (results / "check.json").is_file() and not record.exists()


def _kept_checkpoints(case: Case, where: Layout) -> Iterator[Path]:
    """Yield the checkpoints that edits use although their training is switched off."""
    for edit in case.edits.values():
        for variant in variants_of(edit.settings):
            if variant.embedding and not case.settings[TRAIN_EMBEDDING]:
                yield Path(where.embedding(variant.embedding))
            if variant.lora and not case.settings[TRAIN_LORA]:
                yield Path(where.lora_folder(variant.base, variant.lora))


def _is_used(job: str, case: Case) -> bool:
    """Whether a run of a case would run a job again if its code had another version.

    It would not if the folder has the job's results from earlier variants or longer trainings, or
    if the training is switched off.

    Args:
        job: the name of the job, which is also the name of its log.
        case: the case.
    """
    settings = [edit.settings for edit in case.edits.values()]
    match job.split("/"):
        case ["text_embedding", name]:
            trains = case.settings[TRAIN_EMBEDDING]
            iterations = [i for edit in settings for i in embeddings_used(edit) + lora_bases(edit)]
        case ["lora", base, name]:
            trains = case.settings[TRAIN_LORA]
            with_base = [edit for edit in settings if _iteration(base) in lora_bases(edit)]
            iterations = [i for edit in with_base for i in loras_used(edit)]
        case ["mask" | "edit", edit, name]:
            if edit not in case.edits:
                return False
            of_edit = case.edits[edit].settings
            if name.startswith("kernel-"):
                return name.removeprefix("kernel-") in values_of(of_edit, "smoothing")
            variants = {variant.name for variant in variants_of(of_edit)}
            return not name.startswith("embedding") or name.removesuffix(".metrics") in variants
        case _:
            return True
    return bool(trains) and _iteration(name) <= max(iterations, default=0)


def _iteration(name: str) -> int:
    """Return the number at the end of ``iter50`` or ``embedding10``; 0 if there is none."""
    digits = name.removeprefix("iter").removeprefix("embedding")
    return int(digits) if digits.isdecimal() else 0
