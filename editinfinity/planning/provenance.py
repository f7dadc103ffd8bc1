"""What made the result of an edit, from its case and the record of its drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Case, Edit
from editinfinity.environment import Environment
from editinfinity.errors import UserError
from editinfinity.files.prompts import read_prompt, read_target_word
from editinfinity.files.provenance import Fingerprint, Provenance, settings_used
from editinfinity.jobs.record import read_record
from editinfinity.planning.rule_params import crop_of
from editinfinity.planning.targets import previous_iteration
from editinfinity.planning.variants import Variant


def provenance_of(case: Case, edit: Edit, variant: Variant, weights: str, logs: Path) -> Provenance:
    """Return what made the picture of a variant.

    Args:
        case: the case.
        edit: the edit of the case.
        variant: the variant that became the result.
        weights: result of ``model_identity`` for the case.
        logs: folder of the logs of the case.

    Raises:
        UserError: a prompt, the photograph or the mask cannot be read.
    """
    values = {key: variant.setting(key, edit.settings) for key in edit.settings}
    if edit.mask_source != "user" or len(case.edits) > 1:
        values["crop"] = crop_of(case)  # it depends on the masks of all edits of the case
    source, word = case.source_prompt, edit.target_word
    used = settings_used(values, edit.mask_source, variant.embedding, variant.lora, variant.base)
    environment = _environment_of(logs, f"edit/{edit.name}/{variant.name}")
    trained = (
        _environment_of(logs, job) for job in _trainings(variant, case.settings["checkpoint_every"])
    )
    try:
        provenance = Provenance(
            prompt=read_prompt(edit.prompt),
            settings=used,
            source_prompt="" if source is None else read_prompt(source, may_be_empty=True),
            photograph=Fingerprint.of_file(case.image),
            weights=weights,
            environment=environment,
            training_environment=next((e for e in trained if e not in (None, environment)), None),
        )
        if edit.mask_source == "attention" and word is not None:
            return replace(provenance, target_word=read_target_word(word))
        place = edit.place
        return provenance.with_mask_file(place) if isinstance(place, Path) else provenance
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None


def _environment_of(logs: Path, job: str) -> Environment | None:
    record = read_record(logs, job)
    return None if record is None else record.last(Environment)


def _trainings(variant: Variant, checkpoint_every: int) -> Iterator[str]:
    """Yield the names of the jobs whose checkpoints a variant comes from, the last ones first."""
    for folder, iteration in (
        (f"lora/embedding{variant.base}", variant.lora),
        ("text_embedding", variant.base if variant.lora else 0),
        ("text_embedding", variant.embedding),
    ):
        while iteration:
            yield f"{folder}/iter{iteration}"
            iteration = previous_iteration(iteration, checkpoint_every)
