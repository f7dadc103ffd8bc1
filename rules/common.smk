# Shared by all rules. Code that does not depend on Snakemake is in editinfinity/planning/: run.py
# (the planned run), rule_params.py and rule_inputs.py (functions for params: and input:).

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

# Derived from this file, because workflow.basedir is the importing workflow's if this one is a
# module. A checkout has the package beside the Snakefile; an installed package contains it.
HERE = Path(workflow.snakefile).resolve().parents[1]
HOME = HERE if (HERE / "editinfinity").is_dir() else HERE.parents[1]
sys.path.insert(0, str(HOME))

from snakemake.logging import logger
from snakemake.utils import min_version

from editinfinity.display.live import LiveRun
from editinfinity.jobs.stage_version import rule_version
from editinfinity.planning.cluster import refuse_duplicate_jobs
from editinfinity.planning.digests import DIGESTS
from editinfinity.planning.location import export_package, require_writable, share_cores
from editinfinity.planning.params import named
from editinfinity.planning.rule_inputs import RuleInputs
from editinfinity.planning.rule_params import RuleParams
from editinfinity.planning.run import PlannedRun, config_file, exit_on_user_error
from editinfinity.planning.targets import TRAIN_EMBEDDING, TRAIN_LORA, cases_that_train
from editinfinity.planning.run_marker import REPORT_TARGET
from editinfinity.planning.variants import VARIANT_PATTERN
from editinfinity.results.provenance import changed_code_warning, older_results
from editinfinity.results.summary import end_of_run
from editinfinity.settings.groups import (
    FinishSettings,
    LoraSettings,
    SamplingSettings,
    TrainingSettings,
)
from editinfinity.cancellation import cancel_timers, run_handler_in_thread
from editinfinity.worker.session import close_session, forget_session, open_session

min_version("9.0")
# Whether this is the main process of the run. The process of a job loads this file again.
MAIN_PROCESS = workflow.is_main_process
# Whether a workflow that uses this one as a module passes its configuration (config: ...).
GIVEN_CONFIG = workflow.modifier.skip_configfile
IS_MODULE = workflow.modifier.namespace is not None

export_package(HERE)
share_cores(workflow.global_resources)
DIGESTS.persist_in(Path(), logger.info if MAIN_PROCESS else None)
# A cluster job is run by a Snakemake process of its own, which has no workers.
if not MAIN_PROCESS:
    forget_session()

STARTED = time.time()
_QUIET = {level.name for level in workflow.output_settings.quiet or ()}
LIVE = LiveRun(logger, quiet=not MAIN_PROCESS or bool(_QUIET & {"ALL", "PROGRESS"}))

# Without a configuration file, all settings have their defaults and every case in data is edited.
CONFIG_FILE, NOTICES = None, []
if not GIVEN_CONFIG:
    with exit_on_user_error():
        # If --configfile names a file, misspelt names of config.yaml are not reported.
        CONFIG_FILE, NOTICES = config_file(
            Path(), files_named=bool(workflow.overwrite_configfiles)
        )
if CONFIG_FILE is not None:

    configfile: CONFIG_FILE


with exit_on_user_error():
    RUN = PlannedRun.load(
        config,
        source=(
            f"config of module {workflow.modifier.namespace}"
            if GIVEN_CONFIG
            else Path(
                [CONFIG_FILE or "config.yaml", *workflow.overwrite_configfiles][-1]
            ).name
        ),
        command_line=() if GIVEN_CONFIG else workflow.config_settings.config or (),
        map_path=workflow.modifier.path_modifier.replace_prefix,
        main_process=MAIN_PROCESS,
        # Snakemake limits nodes only if jobs are submitted to a cluster.
        on_cluster=workflow.global_resources["_nodes"].value is not None,
    )
NOTICES += RUN.cases.notices
if MAIN_PROCESS:
    NOTICES += older_results(RUN.config, RUN.cases)
    NOTICES += changed_code_warning(RUN.config, RUN.cases)
for notice in NOTICES:
    logger.warning(notice)

PARAMS = RuleParams(RUN)
INPUTS = RuleInputs(RUN)
RESULTS = RUN.results
CASE = f"{RESULTS}/{{case}}"


# Names may contain anything but a slash: spaces, dots, dashes, quotes, any script.
wildcard_constraints:
    case=r"[^/]+",
    edit=r"[^/]+",
    iteration=r"[1-9]\d*",
    embedding=r"0|[1-9]\d*",
    smoothing=r"[a-z]+",
    # Features of a prompt with the caption suffix, and without it.
    text=r"text|text_plain",
    variant=VARIANT_PATTERN,


def begin():
    """Check the run and start its workers and live display, before the first job."""
    with exit_on_user_error():
        refuse_duplicate_jobs(Path.cwd())
        require_writable(Path(RUN.config.results))
    RUN.marker.create()
    run_handler_in_thread(signal.SIGTERM)
    drop_job_rate_limit()
    worker = RUN.config.settings["worker"] == "auto"
    # Rules of a workflow that includes this one lease no GPU, so no more of them may run at once.
    if open_session() is not None and worker and workflow.local_exec and not IS_MODULE:
        queue_jobs()
    LIVE.start()


def drop_job_rate_limit():
    """Drop Snakemake's default limit of 100 jobs a second, which no run reaches.

    For that limit, Snakemake starts a timer each time it has selected jobs, and selects again when
    the timer ends, as long as jobs wait. So each job that ends would add one selection a second for
    the rest of the run: with 80 photographs, hundreds a second. A stricter limit of the user stays.
    """
    # Not part of Snakemake's documented interface, as below.
    with suppress(AttributeError):
        limit = workflow.scheduler.job_rate_limiter
        if limit is not None and limit.max_jobs >= 100 * limit.timespan:
            workflow.scheduler.job_rate_limiter = None


def queue_jobs():
    """Let Snakemake start one more job for each GPU than can run.

    Starting a job takes Snakemake and Python about half a second, in which the GPU would have no
    work. The additional job waits, with its process ready, until the one before has released the
    GPU (editinfinity/worker/leases.py).
    """
    # Not part of Snakemake's documented interface. Without it, jobs start one after the other.
    with suppress(AttributeError):
        gpus = workflow.scheduler.resources.get("gpu")
        if gpus is not None:
            workflow.register_resource("gpu", 2 * gpus)


def end(succeeded):
    """Stop workers and live display and print the final report, after success or failure.

    With ``--quiet all``, the report is printed only after a failure. The process then ends at once,
    without waiting for Snakemake's timers.
    """
    close_session()
    LIVE.stop()
    summary = end_of_run(RUN.config, RUN.cases, STARTED, NOTICES, logger.warning)
    if not succeeded or "ALL" not in _QUIET:
        print(summary)
    RUN.marker.remove()
    cancel_timers()
