"""What every script of the workflow shares: its log and record, its case, and how it fails.

A script is a few lines: ``with job(snakemake) as this:`` and the call of one stage, which
``this.run`` sends to where its model is warm. Everything the stage logs goes to the rule's log
file, and its events to the record beside that; a ``UserError`` ends in both and on the terminal as
one line. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from editinfinity.cancellation import Cancellation, Stopped
from editinfinity.cases.case import Case, Edit
from editinfinity.cases.load import is_by_folder, load_case
from editinfinity.config.load import Config, load_config
from editinfinity.errors import UserError
from editinfinity.jobs.record import DONE, FAILED, STOPPED, JobOutcome, RecordHandler, path_of
from editinfinity.jobs.stage_version import running_code, running_digests
from editinfinity.locks import wait_until_free
from editinfinity.planning.params import params_of, values_of
from editinfinity.settings.groups import MaskSettings, ModelSettings
from editinfinity.settings.setting import SettingsGroup
from editinfinity.stages.calls import Call
from editinfinity.stages.host import Pause
from editinfinity.worker.client import UnexpectedFault
from editinfinity.worker.dispatch import dispatch
from editinfinity.worker.resource_usage import peak_of_ram
from editinfinity.worker.session import Session

log = logging.getLogger(__name__)

Group = TypeVar("Group", bound=SettingsGroup)


class Job:
    """One running job of the workflow.

    Attributes:
        snakemake: the object Snakemake hands to scripts.
        params: the values of the rule's params, by name.
        cancellation: hears when the job is to stop.
    """

    def __init__(self, snakemake: Any, cancellation: Cancellation) -> None:
        self.snakemake, self.cancellation = snakemake, cancellation
        self.params: dict[str, Any] = values_of(snakemake.params.items())

    @cached_property
    def config(self) -> Config:
        """The run's configuration."""
        return load_config(self.snakemake.config)

    @cached_property
    def case(self) -> Case:
        """The job's case, as it is on the disk now."""
        return load_case(self.config, self.snakemake.wildcards.case)

    @property
    def edit(self) -> Edit:
        """The job's edit.

        Raises:
            UserError: it has gone since the workflow was planned.
        """
        name = self.snakemake.wildcards.edit
        if name not in self.case.edits:
            raise UserError(f"{self.case.name}: the prompt of edit {name} has gone; run again")
        return self.case.edits[name]

    def require_sound_folder(self) -> None:
        """Refuse to draw for a folder with faults: ``check`` saw it once, and files come and go.

        A mask that has lost its name, say, would have everything drawn anew.

        Raises:
            UserError: with all faults of the case.
        """
        if is_by_folder(self.config) and (faults := self.case.all_faults()):
            raise UserError("; ".join(faults))

    def settings(self, group: type[Group], **given: Any) -> Group:
        """A group of settings, as the rule's params say; those of the whole run by configuration.

        Device and threads, say, are no params: no job runs again because it would now run
        elsewhere.

        Args:
            group: which.
            given: values that come from elsewhere.
        """
        values = {}
        for key, setting in group.settings().items():
            if key in given:
                values[key] = given[key]
            elif setting.level == "run":
                values[key] = self.config.settings[key]
            else:
                recorded = [self.params[name] for name in params_of(setting)]
                values[key] = recorded[0] if len(recorded) == 1 else tuple(recorded)
        return group(**values)

    @property
    def where(self) -> dict[str, Any]:
        """What says where the job's edit goes, for ``find_region``."""
        edit = self.edit
        return {
            "mask": edit.mask if edit.mask_source == "user" else None,
            "photograph": self.case.image,
            "attention": self.input("attention"),
            **vars(MaskSettings.of(edit.settings)),
        }

    def input(self, name: str) -> Path | None:
        """A named input, or None where the job has none; the first where there are several."""
        paths = self.inputs(name)
        return paths[0] if paths else None

    def needed(self, name: str) -> Path:
        """A named input that the job always has."""
        return self.inputs(name)[0]

    def inputs(self, name: str) -> list[Path]:
        """The files of a named input."""
        value = self.snakemake.input.get(name, [])
        return [Path(path) for path in ([value] if isinstance(value, str) else value)]

    def output(self, name: str | None = None) -> Path:
        """A named output, or the only one."""
        return Path(self.snakemake.output[0] if name is None else self.snakemake.output[name])

    def pause(self, path: Path) -> Pause:
        """Where a training keeps what it has done when it is asked to stop."""
        files = [(path, *_stamp(Path(path))) for path in self.snakemake.input]
        facts = [self.params, dict(self.snakemake.wildcards.items()), files]
        return Pause(path, hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest())

    def run(self, stage: str, **arguments: Any) -> None:
        """Run a stage that needs the model, with a warm worker or here.

        Args:
            stage: of ``editinfinity.stages``.
            arguments: of its function.
        """
        call = Call(stage, {**arguments, "model": self.settings(ModelSettings)})
        worker = self.config.settings["worker"] == "auto"
        dispatch(call, running_digests()[stage], worker, self.cancellation)


def _stamp(path: Path) -> tuple[int, int]:
    """(size, time of change), which are the same for the same file only."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@contextmanager
def job(snakemake: Any) -> Iterator[Job]:
    """Run a script's stage: log to the rule's file, fail in one line, stop when asked to.

    Raises:
        SystemExit: with status 1, after a fault was logged and shown.
    """
    rule, began = snakemake.rule, time.perf_counter()
    try:
        handlers = _log_to(Path(snakemake.log[0]))
    except OSError as error:
        sys.exit(f"{error.filename}: cannot be written ({error.strerror}); make room")
    cancellation = Cancellation()

    def ended(state: str, message: str = "") -> JobOutcome:
        return JobOutcome(state, time.perf_counter() - began, peak_of_ram(), message)

    try:
        with cancellation.listening(), cancellation.working():
            _stop_with_the_workflow(cancellation)
            this = Job(snakemake, cancellation)
            # As it is before the stage is imported. Another workflow may call the rule anything.
            code = running_code(rule, str(this.params.get("version", "")).partition(":")[0])
            yield this
            log.info("version %d of %s", code.version, rule, extra={"event": code})
            done = ended(DONE)
            log.info("%s: %.3f s in all", rule, done.seconds, extra={"event": done})
    except UserError as fault:
        _fail(ended(FAILED, str(fault)))
    except Stopped as fault:
        _fail(ended(STOPPED, str(fault)))
    except UnexpectedFault as fault:
        _fail(ended(FAILED, f"{rule}: unexpected {fault}; {snakemake.log[0]} tells where"))
    except Exception as fault:
        log.exception("an unexpected fault")
        kind = " ".join(f"{type(fault).__name__}: {fault}".split())
        _fail(ended(FAILED, f"{rule}: unexpected {kind}; {snakemake.log[0]} tells where"))
    finally:
        for handler in handlers:
            logging.getLogger().removeHandler(handler)
            with suppress(OSError):  # the log does not fit on a full disk; its last line is shown
                handler.close()


def _stop_with_the_workflow(cancellation: Cancellation) -> None:
    """Stop when Snakemake has been killed: whoever runs it again must not meet this job."""
    session = Session.current()
    if session is None:
        return

    def watch() -> None:
        wait_until_free(session.sign)
        cancellation.ask("the workflow has gone")

    threading.Thread(target=watch, daemon=True).start()


def _fail(outcome: JobOutcome) -> None:
    """The outcome in log and record, its message on the terminal, and the end."""
    log.critical("%s", outcome.message, extra={"event": outcome})
    sys.stderr.write(f"{outcome.message}\n")
    sys.exit(1)


def _log_to(path: Path) -> list[logging.Handler]:
    """Send all logging and warnings to a fresh file, and their events to a fresh record beside it.

    Raises:
        OSError: one of them cannot be written.
    """
    logging.raiseExceptions = False  # a full disk must not print a traceback a line
    path.parent.mkdir(parents=True, exist_ok=True)
    prose = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace")
    prose.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    handlers = [prose, RecordHandler(path_of(path))]
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    return handlers
