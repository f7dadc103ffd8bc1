"""Records of jobs: what is written, and that nothing which lies there stops who reads it."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from editinfinity.cancellation import Stopped
from editinfinity.cases.load import load_cases
from editinfinity.config.load import load_config
from editinfinity.errors import UserError
from editinfinity.jobs import record as records
from editinfinity.jobs.record import (
    DONE,
    EVENTS,
    FAILED,
    INPUT,
    MASK,
    STOPPED,
    Code,
    Event,
    Iteration,
    JobOutcome,
    JobWarning,
    RecordHandler,
    ResourceUsage,
    from_json,
    read_record,
    read_records,
    to_json,
)
from editinfinity.planning.job import job
from editinfinity.results.report.gather import Gatherer
from editinfinity.results.summary import summarise
from editinfinity.results.warnings import warnings_of
from tests.jobs.records import write_record
from tests.report.made import make_data
from tests.workflow.project import ROOT

ALL: tuple[Event, ...] = (
    Code("check", 1, "0123456789abcdef", False),
    Iteration("train_lora", 3, 50, 0.25, 1.5),
    JobWarning("a.png: marks nothing as edited", MASK),
    ResourceUsage("train_lora", 12.5, 812 * 10**6, 3 * 10**9),
    ResourceUsage("edit", 0.25),
    JobOutcome(DONE, 13.0, 50 * 10**6),
    JobOutcome(FAILED, 0.5, None, "a.png: is no picture; replace it"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def schema() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "schemas" / "job_record.schema.yaml").read_text("utf-8")))


def require_schema(path: Path) -> None:
    """Make sure that every line of a record is what the schema says."""
    for line in path.read_text("utf-8").splitlines():
        jsonschema.validate(json.loads(line), schema())


def script(rule: str = "check", log: str = "results/a/logs/check.log") -> SimpleNamespace:
    """What Snakemake hands to a script, as far as ``job`` needs it."""
    return SimpleNamespace(rule=rule, log=[log], params={})


def read(job: str = "check") -> records.JobRecord:
    found = read_record(Path("results/a/logs"), job)
    assert found is not None
    return found


# --- what is written ------------------------------------------------------------------------------


def test_the_schema_says_what_is_written() -> None:
    of_event = {each["properties"]["event"]["const"]: each for each in schema()["oneOf"]}
    assert list(of_event) == list(EVENTS)
    for name, kind in EVENTS.items():
        names = ["event", *(field.name for field in fields(kind))]
        assert list(of_event[name]["properties"]) == of_event[name]["required"] == names
    for event in ALL:
        written = json.loads(json.dumps(to_json(event)))
        jsonschema.validate(written, schema())
        assert from_json(written) == event
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**written, "more": 1}, schema())


def test_a_job_writes_what_happens_as_it_happens(here: Path) -> None:
    log = logging.getLogger("editinfinity.stages.some")
    stale = write_record(Path("results/a/logs"), "check", JobOutcome(FAILED, 1, None, "before"))
    with job(script()):
        assert read().events == (), "begun anew"
        log.info("words", extra={"event": ALL[1]})
        log.info("words that are no event")
        assert read().events == (ALL[1],), "while the job runs"
        log.warning("%s: odd", "a.png")
        log.error("no warning")
        assert read().outcome is None
    *events, code, outcome = read().events
    assert events == [ALL[1], JobWarning("a.png: odd")]
    assert isinstance(code, Code) and code.rule == "check"
    assert isinstance(outcome, JobOutcome) and (outcome.state, outcome.message) == (DONE, "")
    assert 0 < outcome.seconds < 60 and (outcome.memory or 0) > 10**6
    require_schema(stale)


@pytest.mark.parametrize(
    ("fault", "state", "message"),
    [
        (UserError("a.png: is no picture"), FAILED, "a.png: is no picture"),
        (Stopped("stopped (SIGTERM)"), STOPPED, "stopped (SIGTERM)"),
        (
            ValueError("odd"),
            FAILED,
            "check: unexpected ValueError: odd; see results/a/logs/check.log",
        ),
    ],
)
def test_a_job_that_fails_says_why(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    fault: BaseException,
    state: str,
    message: str,
) -> None:
    with pytest.raises(SystemExit), job(script()):
        raise fault
    outcome = read().outcome
    assert outcome is not None
    assert (outcome.state, outcome.message) == (state, message)
    assert read().last(Code) is None, "it has made nothing"
    assert capsys.readouterr().err == f"{message}\n"
    require_schema(Path("results/a/logs/check.jsonl"))


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_what_it_had_come_to(here: Path) -> None:
    make_data("a")
    code = (
        "import logging, sys, time\nfrom types import SimpleNamespace\n"
        "from editinfinity.jobs.record import Iteration\n"
        "from editinfinity.planning.job import job\n"
        "with job(SimpleNamespace(rule='check', log=['results/a/logs/check.log'], params={})):\n"
        "    event = Iteration('train_lora', 1, 9, 0.5, 2.0)\n"
        "    logging.getLogger().info('x', extra={'event': event})\n"
        "    print('there', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "there\n"
        run.send_signal(signal.SIGKILL)
    assert read().events == (Iteration("train_lora", 1, 9, 0.5, 2.0),)
    config = load_config({})
    row = summarise(config, load_cases(config), since=0).splitlines()[2]
    said = "a     edit  not made        its last job ended without an outcome; see "
    assert row == f"{said}results/a/logs/check.log"


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file can grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_tears_one_line_and_no_later_one(here: Path) -> None:
    handler = RecordHandler(here / "a.jsonl")
    log = logging.Logger("of this test")
    log.addHandler(handler)
    log.info("", extra={"event": ALL[1]})
    with no_room((here / "a.jsonl").stat().st_size + 20):
        log.info("", extra={"event": ALL[2]})
        log.info("", extra={"event": ALL[3]})
    log.info("", extra={"event": ALL[5]})
    handler.close()
    assert (here / "a.jsonl").read_bytes().count(b"\n") == 3
    found = read_record(here, "a")
    assert found is not None and found.events == (ALL[1], ALL[5])


def test_a_disk_that_is_full_once_the_results_are_there_fails_no_job(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_room(0), job(script()):
        logging.getLogger().warning("odd")
    assert read().events == ()
    with no_room(0), pytest.raises(SystemExit), job(script()):
        raise UserError("a.png: is no picture")
    assert capsys.readouterr().err == "a.png: is no picture\n"


def test_a_record_that_cannot_be_begun_is_told_in_a_line(here: Path) -> None:
    Path("results/a/logs/check.jsonl").mkdir(parents=True)
    refused = pytest.raises(SystemExit, match="results/a/logs/check.jsonl: cannot be written")
    with refused, job(script()):
        pytest.fail("begun")


# --- what is read ---------------------------------------------------------------------------------

GOOD = json.dumps(to_json(ALL[5])).encode()

HOSTILE = [
    b"",
    b"\n\n\n",
    b"\xff\xfe\x00 no text",
    b"null",
    b"3",
    b'"event"',
    b"[" * 100_000,
    b'{"event": ' * 50_000,
    b"9" * 10_000,
    b'{"event": {"a": 1}}',
    b'{"event": ["warning"], "text": "x"}',
    b'{"event": "warning"}',
    b'{"event": "warning", "text": 3}',
    b'{"event": "warning", "text": ["x"]}',
    b'{"event": "outcome", "state": "done", "seconds": NaN}',
    b'{"event": "outcome", "state": "done", "seconds": 1e999}',
    b'{"event": "outcome", "state": "done", "seconds": 1e300}',
    b'{"event": "outcome", "state": "done", "seconds": "1"}',
    b'{"event": "outcome", "state": "done", "seconds": true}',
    b'{"event": "outcome", "state": null, "seconds": 1}',
    b'{"event": "usage", "stage": "edit", "seconds": 1, "memory": 1.5}',
    b'{"event": "usage", "stage": "edit", "seconds": 1, "memory": %d}' % 10**30,
    b'{"event": "code", "rule": "check", "version": true, "digest": "", "changed": false}',
    b'{"event": "code", "rule": "check", "version": 1, "digest": "", "changed": 0}',
    b'{"event": "iteration", "stage": "x", "number": 1, "last": 9, "loss": null, "rate": 1}',
    b'{"event": "iteration", "stage": "x", "number": 1.0, "last": 9, "loss": 1, "rate": 1}',
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_lines_that_are_no_events_are_left_out(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([line, GOOD, line]) + b"\n")
    found = read_record(tmp_path, "a")
    assert found is not None and found.events == (ALL[5],)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    for end in range(1, len(GOOD)):
        (tmp_path / "a.jsonl").write_bytes(GOOD + b"\n" + GOOD[:end])
        found = read_record(tmp_path, "a")
        assert found is not None and found.events == (ALL[5],), end


def test_records_of_newer_versions_are_read(tmp_path: Path) -> None:
    """Events nobody knows, values that were added, and states that a job may end in."""
    new = {**to_json(ALL[5]), "state": "suspended", "node": "a1", "energy": {"joules": 3}}
    lines = [{"event": "energy", "joules": 3}, to_json(ALL[1]), new]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = read_record(tmp_path, "a")
    assert found is not None
    assert found.events == (ALL[1], JobOutcome("suspended", 13.0, 50 * 10**6))
    assert found.seconds is None


def test_texts_are_lines_that_a_terminal_can_show(tmp_path: Path) -> None:
    text = "a\x1b[2J\nb\u2028c\ud800 é\u202fö"
    write_record(tmp_path, "a", JobWarning(text))
    found = read_record(tmp_path, "a")
    assert found is not None
    assert found.events == (JobWarning("a [2J b c\\ud800 é\u202fö"),)


def test_what_is_no_file_of_a_sane_size_is_read_at_its_end_or_not_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "gone.jsonl").symlink_to("nowhere")
    (tmp_path / ".jsonl").touch()
    assert read_records(tmp_path) == []
    assert read_records(tmp_path / "nothing") == []
    write_record(tmp_path, "long", *ALL[1:])
    (found,) = read_records(tmp_path, max_bytes=300)
    assert found.events == ALL[-len(found.events) :] and 0 < len(found.events) < 4


def test_a_record_names_its_job_and_what_that_took(tmp_path: Path) -> None:
    write_record(tmp_path, "edit/e.x/embedding0-tau0.5.metrics", ALL[3], ALL[4], ALL[5])
    write_record(tmp_path, "lora/embedding0/iter50", ALL[5], ALL[6])
    of_edit, of_case = read_records(tmp_path)
    assert (of_edit.job, of_edit.edit) == ("edit/e.x/embedding0-tau0.5.metrics", "e.x")
    assert of_edit.log == tmp_path / "edit/e.x/embedding0-tau0.5.metrics.log"
    assert (of_edit.seconds, of_edit.memory, of_edit.card) == (0.25, 812 * 10**6, 3 * 10**9)
    assert (of_case.job, of_case.edit) == ("lora/embedding0/iter50", None)
    assert (of_case.seconds, of_case.outcome) == (None, ALL[6]), "the last outcome counts"


def test_hostile_records_cost_neither_summary_nor_page(here: Path) -> None:
    make_data("a", mask=True)
    logs = Path("results/a/logs")
    tiny = (
        b'{"event": "iteration", "stage": "x", "number": 1, "last": 9, "loss": 1, "rate": 5e-324}'
    )
    for name in ("check", "mask/edit/kernel-linear", "edit/edit/finish", "x", "edit/edit/a/b"):
        path = write_record(logs, name)
        path.write_bytes(b"\n".join([*HOSTILE, tiny, b'{"event": "warning", "text": "odd"}']))
    config = load_config({})
    cases = load_cases(config)
    assert summarise(config, cases, since=0).splitlines()[2].startswith("a     edit  not made")
    (case,) = Gatherer(config, Path("results/report.html")).gather(cases)["cases"]
    assert case["warnings"] == ["odd"]


def test_results_without_records_still_show(here: Path) -> None:
    """Of jobs that left logs alone, or what version 0.2.0 first wrote: the code that ran."""
    make_data("a")
    make_data("b")
    for name in ("a", "b"):
        folder = Path("results", name)
        (folder / "logs").mkdir(parents=True)
        (folder / "check.json").write_text('{"warnings": ["odd"]}', "utf-8")
        (folder / "edit.png").write_bytes(b"picture")
        (folder / "logs" / "check.log").write_text("12:00:00 FAILED x\n", "utf-8")
    make_data("c")
    write_record(Path("results/b/logs"), "edit/edit/finish", ALL[0])
    write_record(Path("results/c/logs"), "check", ALL[0])
    config = load_config({})
    cases = load_cases(config)
    assert summarise(config, cases, since=0).splitlines()[2:] == [
        "a     edit  edited          results/a/edit.png",
        "b     edit  edited          results/b/edit.png",
        "c     edit  not made",
    ]
    told = Gatherer(config, Path("results/report.html")).gather(cases)["cases"]
    keys = ("outcome", "reason", "link", "stages")
    shown = [tuple(edit[key] for key in keys) for (edit,) in (case["edits"] for case in told)]
    assert shown == [("edited", "", f"{name}/edit.png", []) for name in "ab"] + [
        ("not made", "", None, [])
    ]


def test_records_need_no_torch() -> None:
    code = (
        "import sys, editinfinity.jobs.record; sys.exit(bool({'torch', 'numpy'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_check_speaks_of_masks_only_until_there_are_kernels(tmp_path: Path) -> None:
    logs, kernels = tmp_path / "logs", {"edit": ["linear", "hard"]}
    assert warnings_of(read_records(tmp_path / "logs"), kernels) == []
    of_photograph, of_mask = JobWarning("p.png: 16 bits", INPUT), JobWarning("m: marks all", MASK)
    write_record(logs, "check", of_photograph, of_mask, JobWarning("for the log alone"), ALL[5])
    assert warnings_of(read_records(tmp_path / "logs"), kernels) == [
        "p.png: 16 bits",
        "m: marks all",
    ]
    out_of_view = JobWarning("m: 3 % of what it marks is unseen")
    write_record(logs, "mask/edit/kernel-linear", out_of_view, ALL[5])
    write_record(logs, "mask/other/kernel-linear", JobWarning("not asked for", MASK))
    assert warnings_of(read_records(tmp_path / "logs"), kernels) == [
        "p.png: 16 bits",
        out_of_view.text,
    ]
    write_record(logs, "mask/edit/kernel-hard", of_mask, out_of_view)
    assert warnings_of(read_records(tmp_path / "logs"), kernels) == [
        "p.png: 16 bits",
        out_of_view.text,
        of_mask.text,
    ]
    assert warnings_of(read_records(tmp_path / "logs"), {}) == ["p.png: 16 bits", of_mask.text], (
        "nothing goes by a mask"
    )
