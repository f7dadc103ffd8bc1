"""What a person at a terminal sees while the workflow runs, in a terminal of its own."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from editinfinity.display.following import Follower
from editinfinity.display.run_state import RunState
from editinfinity.display.screen import Screen, clock
from editinfinity.jobs.record import Iteration, JobWarning, ResourceUsage, to_json
from tests.jobs.records import write_record
from tests.workflow.project import Project, draw_image

COLUMNS, LINES = 120, 30
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass
class Terminal:
    """A process in a terminal of its own.

    Attributes:
        screens: what was to be seen, each change once.
        written: all bytes that came.
        status: exit status.
    """

    screens: list[str] = field(default_factory=list)
    written: bytes = b""
    status: int | None = None

    @classmethod
    def run(
        cls, folder: Path, command: Sequence[str], ctrl_c: Callable[[str], bool] | None = None
    ) -> Terminal:
        """Run a command to its end; press Ctrl-C once ``ctrl_c`` says so of the screen."""
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(folder)
            paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ.update(TERM="xterm-256color", PYTHONPATH=os.pathsep.join(paths))
            os.environ.pop("NO_COLOR", None)
            # As of a command typed there; tests in the background inherit that it is ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(command[0], command)
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        modes = termios.tcgetattr(terminal)
        seen = cls()
        screen = pyte.HistoryScreen(COLUMNS, LINES, history=100_000)
        stream = pyte.ByteStream(screen)
        give_up = time.monotonic() + 900
        while time.monotonic() < give_up:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            seen.written += data
            stream.feed(data)
            shown = "\n".join(line.rstrip() for line in screen.display)
            if not seen.screens or seen.screens[-1] != shown:
                seen.screens.append(shown)
            if ctrl_c is not None and ctrl_c(shown):
                ctrl_c = None
                assert termios.tcgetattr(terminal) == modes, "modes are left as they are"
                os.write(terminal, b"\x03")
        seen.status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert not screen.cursor.hidden
        history = [
            "".join(line[column].data for column in range(COLUMNS)).rstrip()
            for line in screen.history.top
        ]
        seen.paper = [*history, *(line.rstrip() for line in screen.display)]
        return seen

    paper: list[str] = field(default_factory=list)
    """Everything that stays on the terminal, from the first line to the last."""


def snakemake(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    without = ("train_textembedding", "use_textembedding", "use_concat_embedding")
    long = {"train_lora_iter": 40, "checkpoint_every": 40}
    project = Project.create(tmp_path / "project", **dict.fromkeys(without, 0), **long)
    project.add_case("first")
    project.add_case("second")
    return project


@pytest.mark.slow
def test_jobs_iterations_and_time_left_are_shown_live_and_nothing_is_garbled(
    project: Project,
) -> None:
    seen = Terminal.run(project.folder, snakemake("--resources", "gpu=2"))
    assert seen.status == 0, "\n".join(seen.paper)
    training = re.compile(
        r"^. (first|second) +train LoRA to iteration 40 .*\d+/40  loss \d\.\d{4}  "
        r"\d+\.\d\d it/s  \d+:\d\d left$",
        re.MULTILINE,
    )
    assert any(training.search(screen) for screen in seen.screens)
    both = [screen for screen in seen.screens if len(re.findall(r"(?m)^[⠀-⣿] ", screen)) == 2]
    assert both, "two jobs at once have two lines"
    total = int(re.search(r"(?m)^total +(\d+)$", "\n".join(seen.paper))[1])
    counted = re.compile(rf"\d+ of {total - 1} jobs · \d+:\d\d so far")
    assert any(counted.search(screen) for screen in seen.screens)
    assert any(re.search(r"about \d+:\d\d left", screen) for screen in seen.screens)
    # What stays is what Snakemake said, whole, and the table; nothing of the drawing.
    paper = "\n".join(seen.paper)
    assert not re.search("[⠀-⣿━]", paper)
    assert paper.count("Finished jobid:") == total
    assert re.search(r"(?m)^first +edit +edited +\S.* results/first/edit\.png$", paper)
    assert "results/report.html" in paper
    for log in project.folder.glob("results/*/logs/**/*.log"):
        assert not CONTROL.search(log.read_text("utf-8"))


@pytest.mark.slow
def test_ctrl_c_leaves_a_sane_terminal(project: Project) -> None:
    training = re.compile(r"train LoRA .* \d+/40 ")
    seen = Terminal.run(project.folder, snakemake(), lambda screen: bool(training.search(screen)))
    assert seen.status != 0
    assert not re.search("[⠀-⣿━]", "\n".join(seen.paper))
    # The job that was stopped may have had the time to say why before the table was made.
    paper = "\n".join(seen.paper)
    outcome = re.compile(r"(?m)^(?:first|second) +edit +(not made|failed .* stopped)")
    assert len(outcome.findall(paper)) == 2, paper
    assert b"\x1b[?1049h" not in seen.written
    assert b"\x1b[?25l" not in seen.written


@pytest.mark.slow
def test_a_batch_shows_the_same_and_ends_with_a_table(tmp_path: Path) -> None:
    draw_image(tmp_path / "photos" / "one.jpg", seed=1)
    (tmp_path / "photos" / "text.jpg").write_text("no picture", "utf-8")
    settings = ("train_textembedding=0", "use_textembedding=0", "use_concat_embedding=0",
                "train_lora_iter=20", "checkpoint_every=20", "crop=full", "device=cpu")  # fmt: skip
    chosen = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "editinfinity", "batch", "photos", "--prompt", "a cat"]
    seen = Terminal.run(tmp_path, [*command, "--model", "tiny", *chosen])
    assert seen.status == 1
    assert any(re.search(r"\d+/20  loss", screen) for screen in seen.screens)
    paper = "\n".join(seen.paper)
    assert not re.search("[⠀-⣿━]", paper)
    assert "Finished jobid" not in paper
    assert re.search(r"(?m)^photos/one\.jpg +edited +\S.* photos_edited/one\.jpg$", paper)
    assert re.search(r"(?m)^photos/text\.jpg +failed +photos/text\.jpg: is not a picture", paper)


@pytest.mark.slow
def test_without_a_terminal_lines_are_plain(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", method="training_free")
    project.add_case("a")
    run = project.run()
    assert not CONTROL.search(run.stdout + run.stderr)
    assert "so far" not in run.stderr
    assert re.search(r"(?m)^a +edit +edited +\S.* results/a/edit\.png$", run.stdout)
    assert (project.folder / "results" / "report.html").exists()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_counts_what_runs_and_what_is_to_come() -> None:
    state = RunState(watch := Clock())
    state.plan({"check": 2, "train_lora": 2})
    state.begin(1, "check", "a", "check", None)
    watch.now += 4
    state.end(1)
    assert state.seconds_left() is None, "nobody has seen a training yet"
    state.begin(2, "train_lora", "a", "train", None)
    state.report_iteration(2, Iteration("train_lora", 11, 50, 0.5, 2.0))
    state.report_iteration(2, Iteration("train_lora", 20, 50, 0.4, 2.0))
    (job,) = state.running.values()
    assert job.fraction == pytest.approx(10 / 40), "of what this job does, from 11 to 50"
    assert job.seconds_left(watch.now) == 15
    watch.now += 5
    assert job.seconds_left(watch.now) == 10
    assert state.seconds_left() is None
    state.end(2)
    assert state.seconds_left() == 4 + 5
    state.begin(3, "check", "b", "check", None)
    state.begin(4, "train_lora", "b", "train", None)
    assert state.seconds_left() == pytest.approx((4 + 5) / 2), "two at once"
    state.end(3, succeeded=False)
    assert state.counts() == (2, 1, 4)


def test_records_are_followed_line_by_line_and_old_ones_are_not(tmp_path: Path) -> None:
    state = RunState()
    record = write_record(tmp_path, "a", Iteration("train_lora", 9, 9, 0.1, 1.0))
    os.utime(record, (1, 1))
    state.begin(1, "train_lora", "a", "train", record)
    follower = Follower(state)
    follower.poll()
    assert state.running[1].latest is None
    one, two = Iteration("train_lora", 1, 9, 0.5, 2.0), Iteration("train_lora", 2, 9, 0.25, 0.03)
    line = json.dumps(to_json(two))
    with record.open("w", encoding="utf-8") as file:
        file.write(f"{json.dumps(to_json(one))}\n{line[:20]}")
        file.flush()
        follower.poll()
        assert state.running[1].latest == one
        file.write(f"{line[20:]}\nno event\n{json.dumps(to_json(JobWarning('odd')))}\n")
    follower.poll()
    assert state.running[1].latest == two


def test_numbers_that_no_training_has_are_shown_too(tmp_path: Path) -> None:
    state = RunState()
    state.plan({"train_lora": 1})
    for number, iteration in enumerate(
        [
            Iteration("x", -(2**53), 2**53, 1e15, 5e-324),
            Iteration("x", 2**53, -(2**53), -1e15, -1e15),
            Iteration("x", 0, 0, 0.0, 0.0),
        ]
    ):
        record = write_record(tmp_path, str(number), iteration)
        state.begin(number, "train_lora", "a", "train", record)
    Follower(state).poll()
    assert all(job.latest for job in state.running.values())
    console = Console(file=io.StringIO(), width=120)
    console.print(Screen(state).render(120, 30))


def test_events_are_lines_for_people_in_logs() -> None:
    assert str(ResourceUsage("train_lora", 12.5, 812 * 10**6, 3 * 10**9)) == (
        "train_lora: 12.500 s, 812 MB of RAM, 3000 MB of GPU memory"
    )
    assert str(ResourceUsage("edit", 0.25)) == "edit: 0.250 s"
    assert str(Iteration("train_lora", 1, 2, 0.5, 2.0)) == (
        "train_lora: iteration 1 of 2, loss 0.5000, 2.00 iterations per second"
    )
    assert [clock(seconds) for seconds in (0.4, 65, 3725)] == ["0:00", "1:05", "1:02:05"]
