"""Start the workers of a run while Snakemake runs the first jobs, which need no model.

Importing PyTorch and the libraries of the models takes several seconds. Started with the run, the
workers have done most of that when the first job sends them a stage. ``prepare_workers`` starts
``python -m editinfinity.worker.preparation COUNT SETTING…``, a process with the environment of a
job, so that it finds the same workers as the jobs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from editinfinity.environment import jobs_at_once
from editinfinity.settings.groups import ModelSettings
from editinfinity.worker.cards import visible_cards
from editinfinity.worker.client import connect_or_start, socket_path
from editinfinity.worker.leases import model_on, slots_of
from editinfinity.worker.protocol import ProtocolError
from editinfinity.worker.session import Session


def prepare_workers(model: ModelSettings, count: int) -> None:
    """Start the workers of a run and return at once; jobs start those that are missing later.

    Args:
        model: settings of the run's model.
        count: maximum number of workers.
    """
    folder = model.model_dir and str(model.model_dir)
    settings = json.dumps({**asdict(model), "model_dir": folder})
    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-P", "-m", __spec__.name, str(count), settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # As Snakemake starts jobs, which have one core each; the worker inherits it.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def main(count: int, model: ModelSettings) -> None:
    """Start up to ``count`` workers, and tell each to import what the stages need."""
    session = Session.current()
    if session is None:
        return
    for slot in slots_of(model.device, visible_cards(), jobs_at_once())[:count]:
        here = model_on(slot, model)
        with (
            suppress(OSError, ProtocolError),
            closing(connect_or_start(socket_path(session, slot, here), slot)) as connection,
        ):
            connection.send({"prepare": here.model})


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    given["model_dir"] = given["model_dir"] and Path(given["model_dir"])
    main(int(sys.argv[1]), ModelSettings(**given))
