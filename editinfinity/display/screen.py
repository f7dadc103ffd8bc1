"""Renders the state of a run: one line for each running job, and one for the whole run."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from editinfinity.display.run_state import RunningJob, RunState

_BAR = 20  # width of a progress bar, in columns
_MIN_COLUMNS = 90
"""Terminal width, in columns, below which progress bars are left out."""


class Screen:
    """Renders the state of a run; keep one object per run so that its spinner turns evenly."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._spinner = Spinner("dots", style="cyan")

    def render(self, columns: int, lines: int) -> RenderableType:
        """Render the current state of the run.

        Args:
            columns, lines: size of the terminal; the output never has more lines.
        """
        running = list(self.state.running.values())
        now = self.state.clock()
        displayed = running[: max(1, lines - 3)]
        wide = columns >= _MIN_COLUMNS
        table = Table.grid(padding=(0, 1), expand=False)
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, columns // 5))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, columns // 3))
        if wide:
            table.add_column(width=_BAR)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for job in displayed:
            bar = [_bar(job.fraction) if job.fraction is not None else Text("")] if wide else []
            name = Text(job.case, style="bold")
            table.add_row(self._spinner, name, Text(job.label), *bar, _progress_of(job, now))
        parts: list[RenderableType] = [table] if displayed else []
        if hidden := len(running) - len(displayed):
            parts.append(Text(f"  and {hidden} more", style="dim"))
        return Group(*parts, self._total(now, wide))

    def _total(self, now: float, wide: bool) -> RenderableType:
        """Render the line about the whole run."""
        done, failed, total = self.state.counts()
        words = [f"{done} of {total} jobs", f"{clock(now - self.state.started)} so far"]
        seconds_left = self.state.seconds_left()
        if seconds_left is not None and done + failed < total:
            words.append(f"about {clock(seconds_left)} left")
        line = Text(" · ".join(words), style="dim", no_wrap=True, overflow="ellipsis")
        if failed:
            line.append(f" · {failed} failed", style="red")
        if not wide:
            return line
        row = Table.grid(padding=(0, 1))
        row.add_column(width=_BAR)
        row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(_bar(done / total if total else 0.0), line)
        return row


def clock(seconds: float) -> str:
    """Format seconds as ``0:07``, ``3:05`` or ``2:10:00``."""
    whole = max(0, round(min(seconds, 1e9)))  # a rate near zero in a record gives a huge time
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def _bar(fraction: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(1.0, fraction), width=_BAR)


def _progress_of(job: RunningJob, now: float) -> Text:
    """Render the progress of a job: its iterations, or else its elapsed time."""
    latest = job.latest
    if latest is None:
        return Text(clock(now - job.started), style="dim")
    done = f"{latest.number}/{latest.last}"
    line = Text(f"{done}  loss {latest.loss:.4f}  {latest.rate:.2f} it/s")
    if (seconds_left := job.seconds_left(now)) is not None:
        line.append(f"  {clock(seconds_left)} left", style="cyan")
    return line
