"""Run a job's stage in the worker of a slot, or else in the job's own process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from editinfinity.cancellation import Cancellation
from editinfinity.environment import jobs_at_once
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.calls import Call
from editinfinity.worker.cards import VISIBLE, visible_cards
from editinfinity.worker.client import NoWorkerError, run_in_worker, socket_path
from editinfinity.worker.leases import Lease, Slot, lease, lease_folder, slots_of
from editinfinity.worker.private import private_folder
from editinfinity.worker.resource_usage import JobHost, measured
from editinfinity.worker.session import Session

log = logging.getLogger(__name__)


def dispatch(call: Call, digest: str, worker: bool, cancellation: Cancellation) -> None:
    """Run a stage on a slot that no other job uses meanwhile.

    Args:
        call: the stage and its arguments.
        digest: digest of the stage's code. A worker must run the same code.
        worker: whether a worker may run the stage.
        cancellation: of this job.

    Raises:
        UserError: if the stage raises it.
        Stopped: if the job was asked to stop.
    """
    session = Session.current() if worker else None
    with _lease_slot(call.arguments["model"], session) as (leased, model):
        call = replace(call, arguments={**call.arguments, "model": model})
        if session is not None and leased is not None:
            try:
                run_in_worker(call, digest, session, leased, cancellation)
                return
            except NoWorkerError as reason:
                log.warning("%s; the stage runs in the job's own process", reason)
        with measured(call.stage):
            call.run(JobHost(cancellation))


@contextmanager
def _lease_slot(
    model: ModelSettings, session: Session | None
) -> Iterator[tuple[Lease | None, ModelSettings]]:
    """Lease a slot, hide all other GPUs from this process, and yield lease and model settings."""
    slots = slots_of(model.device, visible_cards(), jobs_at_once())
    folder = session.workers if session is not None else None
    if slots[0].card is not None:
        try:
            folder = lease_folder(private_folder())
        except OSError as fault:
            log.warning("GPUs cannot be leased: %s", fault)
            folder = None
    if folder is None:
        yield None, model
        return

    def is_warm(slot: Slot) -> bool:
        return session is not None and socket_path(session, slot, _model_on(slot, model)).exists()

    with lease(slots, folder, prefer=is_warm) as leased:
        if leased.slot.card is not None:
            log.info("running on GPU %s", leased.slot.name)
            os.environ[VISIBLE] = leased.slot.card.entry
        yield leased, _model_on(leased.slot, model)


def _model_on(slot: Slot, model: ModelSettings) -> ModelSettings:
    """Return the settings for a process that sees only the slot: ``cuda:N`` becomes ``cuda``."""
    if slot.card is not None and model.device.startswith("cuda:"):
        return replace(model, device="cuda")
    return model
