"""How an edit went: told from the files a run leaves behind, whenever somebody asks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from editinfinity.workflow.cases import MAP_ONLY, Case, Edit
from editinfinity.workflow.job import ENDED, FAILED
from editinfinity.workflow.plan import Layout
from editinfinity.workflow.timings import seconds_of

EDITED, MAPPED, FAILED_EDIT, NOT_MADE = "edited", "mapped", "failed", "not made"


@dataclass(frozen=True)
class Outcome:
    """How one edit went.

    Attributes:
        word: ``edited``, ``mapped`` (only an attention map was asked for), ``failed`` or
            ``not made``.
        show: the picture to open, or the reason why there is none; may be empty.
        seconds: that its jobs took; None where none of them ended well.
    """

    word: str
    show: str
    seconds: float | None

    @property
    def good(self) -> bool:
        """Whether there is a picture."""
        return self.word in (EDITED, MAPPED)


def picture_of(edit: Edit, where: Layout) -> Path:
    """The picture that an edit ends in."""
    if edit.infer_function == MAP_ONLY:
        return Path(where.mask_pictures(edit.name)[1])
    return Path(where.chosen(edit.name))


def outcomes(case: Case, where: Layout, since: float | None) -> dict[str, Outcome]:
    """Edit → how it went.

    Args:
        case: the case.
        where: its files.
        since: when the run began (seconds since the epoch): only what was written later counts,
            so that a fault which is mended is not told again. None asks how things stand: a fault
            counts until its edit's picture is newer.
    """
    told: dict[str, Outcome] = {}
    for edit in case.edits.values():
        picture = picture_of(edit, where)
        made = _time_of(picture)
        start = since if since is not None else (made or 0.0)
        everywhere, by_edit = _failures(case, Path(where.folder), start)
        found = [*everywhere, *by_edit.get(edit.name, [])]
        seconds = seconds_of(Path(where.folder), edit.name, since or 0.0, shared=not told)
        if found:
            told[edit.name] = Outcome(FAILED_EDIT, found[0], seconds)
        elif made is not None:
            word = MAPPED if edit.infer_function == MAP_ONLY else EDITED
            told[edit.name] = Outcome(word, str(picture), seconds)
        else:
            silence = _silence(Path(where.folder), start)
            told[edit.name] = Outcome(NOT_MADE, silence, seconds)
    return told


def reasons(folder: Path, since: float) -> list[str]:
    """Why jobs of a case failed since a time, a line each; ``folder`` is ``results/CASE``."""
    found = (_reason(path, since) for path in sorted((folder / "logs").rglob("*.log")))
    return [reason for reason in found if reason is not None]


def _time_of(path: Path) -> float | None:
    """When a file was last written; None where there is none."""
    with suppress(OSError):
        return path.stat().st_mtime
    return None


def _silence(folder: Path, since: float) -> str:
    """Where to look when no job said why it ended: killed, cancelled, out of time or of memory."""
    written = [(path.stat().st_mtime, path) for path in (folder / "logs").rglob("*.log")]
    silent = [(time, path) for time, path in written if time >= since and not _spoke(path)]
    return f"its last job ended without a word; see {max(silent)[1]}" if silent else ""


def _spoke(path: Path) -> bool:
    """Whether a log's last line says how its job ended, well or (as another edit's may) not."""
    with suppress(OSError):
        *_, last = ["", *path.read_text(encoding="utf-8", errors="replace").splitlines()]
        return last.endswith(ENDED) or FAILED in last
    return False


def _failures(case: Case, folder: Path, since: float) -> tuple[list[str], dict[str, list[str]]]:
    """(reasons that concern the whole case, reasons by edit), from logs written since a time."""
    everywhere: list[str] = []
    by_edit: dict[str, list[str]] = {}
    logs = folder / "logs"
    for path in sorted(logs.rglob("*.log")):
        reason = _reason(path, since)
        if reason is None:
            continue
        parts = path.relative_to(logs).parts
        if parts[0] not in ("edit", "mask"):
            everywhere.append(reason)
        elif parts[1] in case.edits:
            by_edit.setdefault(parts[1], []).append(reason)
    return everywhere, by_edit


def _reason(path: Path, since: float) -> str | None:
    """Why the job of a log failed, if it did, and since then."""
    try:
        if path.stat().st_mtime < since:
            return None
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    if not lines or FAILED not in lines[-1]:
        return None
    return lines[-1].partition(FAILED)[2]
