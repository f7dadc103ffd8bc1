# What the rules share. Python that needs no Snakemake is in editinfinity/planning/: run.py has
# the run, rule_params.py and rule_inputs.py what rules ask of it.

import signal
import sys
import time
from pathlib import Path

# By this file, for workflow.basedir is that of another workflow where this one is its module. A
# checkout carries the package beside the Snakefile; an installed package carries the Snakefile.
HERE = Path(workflow.snakefile).resolve().parents[1]
HOME = HERE if (HERE / "editinfinity").is_dir() else HERE.parents[1]
sys.path.insert(0, str(HOME))

from snakemake.logging import logger
from snakemake.utils import min_version

from editinfinity.display.live import LiveRun
from editinfinity.jobs.stage_version import rule_version
from editinfinity.planning.cluster import refuse_second_copies
from editinfinity.planning.digests import DIGESTS
from editinfinity.planning.location import lend_to_jobs, require_writable, share_cores
from editinfinity.planning.params import named
from editinfinity.planning.rule_inputs import RuleInputs
from editinfinity.planning.rule_params import RuleParams
from editinfinity.planning.run import PlannedRun, config_file, faults_end_the_run
from editinfinity.planning.targets import TRAIN_EMBEDDING, TRAIN_LORA, cases_that_train
from editinfinity.planning.run_marker import TELLING
from editinfinity.planning.variants import PATTERN as VARIANT_NAMES
from editinfinity.results.provenance import made_by_other_code, older_results
from editinfinity.results.summary import end_of_run
from editinfinity.settings.groups import (
    FinishSettings,
    LoraSettings,
    SamplingSettings,
    TrainingSettings,
)
from editinfinity.cancellation import run_handler_in_thread
from editinfinity.worker.session import close_session, forget_session, open_session

min_version("9.0")
# Whether this process plans the whole run; that of a job plans again, for the job alone.
WHOLE_RUN = workflow.is_main_process
# Whether the workflow that uses this one as a module gives its configuration (config: ...).
GIVEN_CONFIG = workflow.modifier.skip_configfile

lend_to_jobs(HERE)
share_cores(workflow.global_resources)
DIGESTS.keep_in(Path(), logger.info if WHOLE_RUN else None)
# Jobs on a cluster are in the hands of a Snakemake of their own, which has no workers.
if not WHOLE_RUN:
    forget_session()

STARTED = time.time()
_QUIET = {kind.name for kind in workflow.output_settings.quiet or ()}
LIVE = LiveRun(logger, quiet=not WHOLE_RUN or bool(_QUIET & {"ALL", "PROGRESS"}))

# A folder without a configuration file takes all defaults, and edits every case below data.
CONFIG_FILE, NOTICES = None, []
if not GIVEN_CONFIG:
    with faults_end_the_run():
        # One that is named with --configfile is meant, whatever else lies here.
        CONFIG_FILE, NOTICES = config_file(
            Path(), others_named=bool(workflow.overwrite_configfiles)
        )
if CONFIG_FILE is not None:

    configfile: CONFIG_FILE


with faults_end_the_run():
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
        place=workflow.modifier.path_modifier.replace_prefix,
        whole_run=WHOLE_RUN,
        # Snakemake counts nodes only where jobs are submitted to a cluster.
        on_cluster=workflow.global_resources["_nodes"].value is not None,
    )
NOTICES += RUN.cases.notices
if WHOLE_RUN:
    NOTICES += older_results(RUN.config, RUN.cases)
    NOTICES += made_by_other_code(RUN.config, RUN.cases)
for notice in NOTICES:
    logger.warning(notice)

PARAMS = RuleParams(RUN)
INPUTS = RuleInputs(RUN)
RESULTS = RUN.results
CASE = f"{RESULTS}/{{case}}"


# Names may hold anything but a slash: spaces, dots, dashes, quotes, any script.
wildcard_constraints:
    case=r"[^/]+",
    edit=r"[^/]+",
    iteration=r"[1-9]\d*",
    embedding=r"0|[1-9]\d*",
    smoothing=r"[a-z]+",
    variant=VARIANT_NAMES,


def begin():
    """Before the first job."""
    with faults_end_the_run():
        refuse_second_copies(Path.cwd())
        require_writable(Path(RUN.config.results))
    RUN.end.begin()
    run_handler_in_thread(signal.SIGTERM)
    open_session()
    LIVE.start()


def end():
    """After the last job, however it went."""
    close_session()
    LIVE.stop()
    print(end_of_run(RUN.config, RUN.cases, STARTED, NOTICES, logger.warning))
    RUN.end.done()
