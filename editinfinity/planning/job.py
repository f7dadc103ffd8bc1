"""Shared code of the workflow's scripts: log and record, the job's case, and error handling.

A script consists of ``with job(snakemake) as this:`` and the call of one stage, which ``this.run``
sends to a warm worker if there is one. All log messages of the stage go to the rule's log file, and
its events to the record beside that file. A ``UserError`` is written to both, and as one line to
the terminal. Nothing here imports torch.
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
from editinfinity.cases.load import cases_are_folders, load_case
from editinfinity.config.load import Config, load_config
from editinfinity.errors import UserError, first_sentence
from editinfinity.jobs.record import DONE, FAILED, STOPPED, JobOutcome, RecordHandler, record_path
from editinfinity.jobs.stage_version import running_code, running_digests
from editinfinity.locks import wait_until_free
from editinfinity.planning.model import attention_bias_of, precision_of
from editinfinity.planning.params import params_of, values_of
from editinfinity.settings.groups import (
    GuidanceSettings,
    LoraSettings,
    MaskSettings,
    ModelSettings,
)
from editinfinity.settings.setting import SettingsGroup
from editinfinity.stages.calls import Call
from editinfinity.stages.host import PauseFile
from editinfinity.worker.client import UnexpectedError
from editinfinity.worker.dispatch import dispatch
from editinfinity.worker.resource_usage import peak_ram
from editinfinity.worker.session import Session

log = logging.getLogger(__name__)

Group = TypeVar("Group", bound=SettingsGroup)


class Job:
    """One running job of the workflow.

    Attributes:
        snakemake: the object that Snakemake passes to scripts.
        params: the values of the rule's params, by name.
        cancellation: receives requests to stop the job.
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
        """The job's case, as it is on disk now."""
        return load_case(self.config, self.snakemake.wildcards.case)

    @property
    def edit(self) -> Edit:
        """The job's edit.

        Raises:
            UserError: the edit was removed after the workflow was planned.
        """
        name = self.snakemake.wildcards.edit
        if name not in self.case.edits:
            raise UserError(f"{self.case.name}: the prompt of edit {name} is missing; run again")
        return self.case.edits[name]

    def require_valid_folder(self) -> None:
        """Check that the case's folder has no faults, before a picture is drawn.

        ``check`` has already validated the folder, but files may have changed since: if a mask was
        renamed, for example, the whole picture would be redrawn.

        Raises:
            UserError: the case has faults; the message contains all of them.
        """
        if cases_are_folders(self.config) and (faults := self.case.all_faults()):
            raise UserError("; ".join(faults))

    def settings(self, group: type[Group], **overrides: Any) -> Group:
        """Return a group of settings with the values in the rule's params.

        Settings of the whole run, such as device and threads, come from the configuration. They are
        not params, so that no job is rerun only because it would now run elsewhere.

        Args:
            group: the group's class.
            overrides: setting → value to use instead.
        """
        values = {}
        for key, setting in group.settings().items():
            if key in overrides:
                values[key] = overrides[key]
            elif setting.level == "run":
                values[key] = self.config.settings[key]
            else:
                recorded = [self.params[name] for name in params_of(setting)]
                values[key] = recorded[0] if len(recorded) == 1 else tuple(recorded)
        return group(**values)

    @property
    def guidance(self) -> GuidanceSettings:
        """The guidance of a drawing, from the rule's param (``RuleParams.guidance``)."""
        guidance, _, numbers = str(self.params["guidance"]).partition(" ")
        return GuidanceSettings(guidance, **json.loads(numbers or "{}"))

    @property
    def lora(self) -> LoraSettings:
        """The adapter to train, from the rule's params (``RuleParams.lora_transformer``)."""
        return self.settings(LoraSettings, precision=precision_of(str(self.params["model"])))

    @property
    def region_arguments(self) -> dict[str, Any]:
        """The arguments of ``find_region`` that determine which region the edit changes."""
        edit = self.edit
        return {
            "mask": edit.mask if edit.mask_source == "user" else None,
            "photograph": self.case.image,
            "attention": self.input("attention"),
            "prompt_map": self.input("prompt_map"),
            "find_mask": edit.find_mask,
            "blend": edit.blend if edit.mask_source == "blend" else None,
            **vars(MaskSettings.of(edit.settings)),
        }

    def input(self, name: str) -> Path | None:
        """Return the first file of a named input, or None if the job has no such input."""
        paths = self.inputs(name)
        return paths[0] if paths else None

    def required_input(self, name: str) -> Path:
        """Return the first file of a named input that the job always has."""
        return self.inputs(name)[0]

    def inputs(self, name: str) -> list[Path]:
        """Return the files of a named input."""
        value = self.snakemake.input.get(name, [])
        return [Path(path) for path in ([value] if isinstance(value, str) else value)]

    def output(self, name: str | None = None) -> Path:
        """Return a named output, or the only output."""
        return Path(self.snakemake.output[0] if name is None else self.snakemake.output[name])

    def pause(self, path: Path) -> PauseFile:
        """Return where a training saves its progress if it is asked to stop, and for which job."""
        files = [(path, *_size_and_mtime(Path(path))) for path in self.snakemake.input]
        facts = [self.params, dict(self.snakemake.wildcards.items()), files]
        return PauseFile(path, hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest())

    def run(self, stage: str, **arguments: Any) -> None:
        """Run a stage that needs the model, in a warm worker or in this process.

        Args:
            stage: name of a stage in ``editinfinity.stages``.
            arguments: arguments of the stage's function.
        """
        # The identity of the model, where it is a param, contains this setting of the case.
        bias = attention_bias_of(str(self.params.get("model", "")))
        model = self.settings(ModelSettings, attention_bias=bias)
        call = Call(stage, {**arguments, "model": model})
        worker = self.config.settings["worker"] == "auto"
        dispatch(call, running_digests()[stage], worker, self.cancellation)


def _size_and_mtime(path: Path) -> tuple[int, int]:
    """Return (size in bytes, mtime in nanoseconds), used to detect that a file has changed."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@contextmanager
def job(snakemake: Any) -> Iterator[Job]:
    """Run a script's stage: write the log, report errors in one line, and stop on request.

    Raises:
        SystemExit: with status 1, after an error was logged and shown.
    """
    rule, began = snakemake.rule, time.perf_counter()
    try:
        handlers = _log_to(Path(snakemake.log[0]))
    except OSError as error:
        sys.exit(f"{error.filename}: cannot be written ({error.strerror}); free disk space")
    cancellation = Cancellation()

    def outcome(state: str, message: str = "") -> JobOutcome:
        return JobOutcome(state, time.perf_counter() - began, peak_ram(), message)

    try:
        with cancellation.handling_signals(), cancellation.interruptible():
            _stop_with_the_workflow(cancellation)
            this = Job(snakemake, cancellation)
            # Digest the code before the stage is imported. The stage is taken from the version
            # param, since another workflow may have renamed the rule.
            code = running_code(rule, str(this.params.get("version", "")).partition(":")[0])
            yield this
            log.info("version %d of %s", code.version, rule, extra={"event": code})
            done = outcome(DONE)
            log.info("%s: %.3f s in total", rule, done.seconds, extra={"event": done})
    except UserError as fault:
        _fail(outcome(FAILED, str(fault)))
    except Stopped as fault:
        _fail(outcome(STOPPED, str(fault)))
    except UnexpectedError as fault:
        _fail(outcome(FAILED, f"{rule}: unexpected {fault}; see {snakemake.log[0]}"))
    except Exception as fault:
        log.exception("unexpected error")
        text = f"{type(fault).__name__}: {first_sentence(fault)}"
        _fail(outcome(FAILED, f"{rule}: unexpected {text}; see {snakemake.log[0]}"))
    finally:
        for handler in handlers:
            logging.getLogger().removeHandler(handler)
            with suppress(OSError):  # the disk may be full; the last line was shown on the terminal
                handler.close()


def _stop_with_the_workflow(cancellation: Cancellation) -> None:
    """Start a thread that requests a stop of this job as soon as its run of Snakemake has ended.

    Without it, a job whose Snakemake was killed would continue and write the same files as the same
    job of a new run. The run locks ``session.alive_file`` while it is alive; jobs that belong to
    no run on this machine (on a cluster, or started by hand) have no session.
    """
    session = Session.current()
    if session is None:
        return

    def watch() -> None:
        wait_until_free(session.alive_file)
        cancellation.request_stop("the workflow has ended")

    threading.Thread(target=watch, daemon=True).start()


def _fail(outcome: JobOutcome) -> None:
    """Write the outcome to log and record, print its message on the terminal, and exit."""
    log.critical("%s", outcome.message, extra={"event": outcome})
    sys.stderr.write(f"{outcome.message}\n")
    sys.exit(1)


def _log_to(path: Path) -> list[logging.Handler]:
    """Send all logging and warnings to a new log file, and their events to a new record beside it.

    Raises:
        OSError: one of the files cannot be written.
    """
    logging.raiseExceptions = False  # on a full disk, do not print a traceback for every line
    path.parent.mkdir(parents=True, exist_ok=True)
    log_handler = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace")
    log_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    handlers = [log_handler, RecordHandler(record_path(path))]
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    return handlers
