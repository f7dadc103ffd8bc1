"""A record beside the log of every finished job: which code made its results.

``results/CASE/logs/…/JOB.jsonl`` holds one JSON object a line. Snakemake does not know of it, so it
decides nothing; results without one were made before version 0.2.0. Its lines:

``{"event": "code", "rule": …, "version": …, "digest": …, "changed": …}``
    ``version`` is that of the rule's stage, ``digest`` that of the code that ran, and ``changed``
    says whether that code was another than the version stands for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from editinfinity.files.atomic import write_text
from editinfinity.workflow.stage_version import recorded_versions, running_digests, stage_of

ENDING = ".jsonl"
_LONGEST = 2**16


@dataclass(frozen=True)
class CodeOfJob:
    """The code that made the results of a job.

    Attributes:
        rule: of the job.
        version: of the rule's stage.
        digest: of the stage's code.
        changed: whether the code was another than the version stands for.
    """

    rule: str
    version: int
    digest: str
    changed: bool

    @classmethod
    def running(cls, rule: str) -> CodeOfJob:
        """The code of a rule in this process."""
        stage = stage_of(rule)
        known, digest = recorded_versions()[stage], running_digests()[stage]
        return cls(rule, known.version, digest, digest != known.digest)

    def agrees(self, other: CodeOfJob) -> bool:
        """Whether two codes compute the same results, as far as anybody has said.

        All code that a release classified under one version does. Code that somebody has
        changed since agrees with itself alone.
        """
        if self.changed or other.changed:
            return self.digest == other.digest
        return self.version == other.version


def write_record(log: Path, code: CodeOfJob) -> None:
    """Write the record of a job that went well.

    Args:
        log: the log of the job.
        code: what made its results.
    """
    line = json.dumps({"event": "code", **asdict(code)}, sort_keys=True)
    write_text(log.with_suffix(ENDING), f"{line}\n")


def read_records(logs: Path) -> Iterator[tuple[tuple[str, ...], CodeOfJob]]:
    """(parts of the job's name, the code that made its results) for each record of a case.

    Args:
        logs: ``results/CASE/logs``.
    """
    for path in sorted(logs.rglob(f"*{ENDING}")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            with path.open(encoding="utf-8") as file:
                event = json.loads(file.read(_LONGEST).splitlines()[0])
            code = CodeOfJob(
                str(event["rule"]),
                int(event["version"]),
                str(event["digest"]),
                bool(event["changed"]),
            )
            parts = path.relative_to(logs).parts
            yield (*parts[:-1], parts[-1].removesuffix(ENDING)), code
