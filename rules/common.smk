# What the rules share: configuration, cases, and functions that look things up for a job.

import signal
import sys
import time
from functools import cache
from pathlib import Path

# A checkout carries the package beside the Snakefile; an installed package carries the Snakefile.
HERE = Path(workflow.basedir)
HOME = HERE if (HERE / "editinfinity").is_dir() else HERE.parents[1]
sys.path.insert(0, str(HOME))

from snakemake.logging import logger
from snakemake.utils import min_version

from editinfinity.display.live import LiveRun
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import found_backbones
from editinfinity.stopping import answer_beside_the_main_thread
from editinfinity.worker.session import close_session, forget_session, open_session
from editinfinity.workflow import fingerprint
from editinfinity.workflow.cases import load_case, load_cases
from editinfinity.workflow.cluster import fit_for_cluster, refuse_second_copies
from editinfinity.workflow.config import check_yaml, find_config_file, load_config
from editinfinity.workflow.crops import crop_of
from editinfinity.workflow.digests import DIGESTS
from editinfinity.workflow.in_use import hold
from editinfinity.workflow.location import lend_to_jobs, require_writable, share_cores
from editinfinity.workflow.model import (
    backbone_identity,
    drawing_identity,
    effective,
    model_identity,
)
from editinfinity.workflow.plan import (
    TRAIN_EMBEDDING,
    TRAIN_LORA,
    case_targets,
    cases_that_train,
    check_plan,
    layout,
    previous_iteration,
)
from editinfinity.workflow.params import named
from editinfinity.workflow.provenance import made_by_other_code, older_results
from editinfinity.jobs.stage_version import rule_version
from editinfinity.workflow.summary import summarise
from editinfinity.workflow.untold import TELLING, Telling
from editinfinity.workflow.variants import PATTERN as VARIANT_NAMES
from editinfinity.workflow.variants import (
    chosen_by_settings,
    learns_nothing,
    parse_variant,
    variants,
)

min_version("9.0")
lend_to_jobs(HERE)
share_cores(workflow.global_resources)
DIGESTS.keep_in(Path(), logger.info if workflow.is_main_process else None)
# Jobs on a cluster are in the hands of a Snakemake of their own, which has no workers.
if not workflow.is_main_process:
    forget_session()

# What a run reads is not changed before its main process ends; jobs are processes of their own.
HOLD = hold if workflow.is_main_process else lambda paths: None

STARTED = time.time()
_QUIET = {kind.name for kind in workflow.output_settings.quiet or ()}
LIVE = LiveRun(
    logger, quiet=not workflow.is_main_process or bool(_QUIET & {"ALL", "PROGRESS"})
)


def stop(fault):
    """End with one line a fault and no traceback, which a WorkflowError would bring."""
    for line in getattr(fault, "lines", [str(fault)]):
        print(line, file=sys.stderr, flush=True)
    sys.exit(1)


CONFIGFILE, CONFIG_NOTICES = Path("config.yaml"), []
# One that is named with --configfile is meant, whatever else lies here.
if not workflow.overwrite_configfiles:
    try:
        CONFIGFILE, CONFIG_NOTICES = find_config_file(Path())
    except UserError as fault:
        stop(fault)
# A folder without one takes all defaults, and edits every case below data.
if CONFIGFILE.exists():
    try:
        SETS_ANYTHING = check_yaml(CONFIGFILE)
    except UserError as fault:
        stop(fault)

    if SETS_ANYTHING:

        configfile: CONFIGFILE


try:
    CONFIG = load_config(
        config,
        source=Path([CONFIGFILE, *workflow.overwrite_configfiles][-1]).name,
        command_line=workflow.config_settings.config or {},
    )
    CASES = load_cases(CONFIG, HOLD)
    # Snakemake counts nodes only where jobs are submitted to a cluster.
    if workflow.global_resources["_nodes"].value is not None:
        CASES = fit_for_cluster(CASES)
    check_plan(CONFIG, CASES)
    found_backbones(CONFIG.settings)  # a setting that names a wrong folder stops here
except UserError as fault:
    stop(fault)
NOTICES = [*CONFIG_NOTICES, *CASES.notices]
if workflow.is_main_process:
    NOTICES += older_results(CONFIG, CASES)
    NOTICES += made_by_other_code(CONFIG, CASES)
for notice in NOTICES:
    logger.warning(notice)

RESULTS = CONFIG.results
END = Telling(Path(RESULTS), CASES.by_name)
CASE = f"{RESULTS}/{{case}}"
# Which weights make the features and the edits: a model made anew must not pass for the old one.
MODEL = model_identity(CONFIG.settings)


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
    try:
        require_writable(Path(RESULTS))
    except UserError as fault:
        stop(fault)
    END.begin()
    answer_beside_the_main_thread(signal.SIGTERM)
    open_session()
    LIVE.start()


def end():
    """After the last job, however it went."""
    close_session()
    LIVE.stop()
    print(summary())
    END.done()


def all_targets():
    """Everything the configuration asks for, the end of a run that was killed included."""
    targets = [
        target
        for name, case in CASES.by_name.items()
        for target in case_targets(case, layout(CONFIG, name))
    ]
    return [*targets, *map(str, END.target())]


def pie_bench_targets(wildcards):
    """Every edit of the benchmark, where there is one."""
    if CONFIG.settings["pie_bench"] is None:
        stop(
            UserError("pie_bench: is null; give its folder: --config pie_bench=FOLDER")
        )
    return all_targets()


def summary():
    """The table at the end of a run; the files that it names below are made for it."""
    # Pillow is of no use to planning, so it is loaded only here.
    from editinfinity.report.make import make_report
    from editinfinity.workflow.doubts import doubts_about_masks
    from editinfinity.workflow.metrics_table import write_metrics_table
    from editinfinity.workflow.sheets import make_sheets

    below = [*NOTICES, *doubts_about_masks(CONFIG, CASES)]
    below += told_of("side by side", make_sheets, CONFIG, CASES)
    below += told_of("in numbers", write_metrics_table, CONFIG, CASES)
    if CONFIG.settings["pie_bench"] is not None:
        from editinfinity.pie_bench.table import write_tables

        below += told_of("in numbers", write_tables, CONFIG)
    # Slices of one set of cases would overwrite each other's page.
    if CONFIG.part == (1, 1):
        below += told_of("all of it, in a browser", make_report, CONFIG, CASES)
    return summarise(CONFIG, CASES, STARTED, below)


def told_of(what, make, *arguments):
    """A line for each file that is made; a warning where none can be."""
    try:
        made = make(*arguments)
    except (UserError, OSError, ValueError) as fault:
        # No odd file costs the end of a run.
        logger.warning(f"{what}: {fault}")
        return []
    files = made if isinstance(made, list) else [made]
    return [f"{what}: {file}" for file in files if file is not None]


@cache
def find_case(name):
    """A case of this run, or, for targets named on the command line, any other."""
    try:
        return CASES.by_name.get(name) or load_case(CONFIG, name, HOLD)
    except UserError as fault:
        stop(fault)


def find_edit(wildcards):
    """The edit of a job."""
    case = find_case(wildcards.case)
    if wildcards.edit not in case.edits:
        stop(
            UserError(f"{case.name}: there is no edit {wildcards.edit}; add its prompt")
        )
    return case.edits[wildcards.edit]


@cache
def find_variant(name):
    """The variant a file name stands for."""
    try:
        return parse_variant(name)
    except UserError as fault:
        stop(fault)


# Params. Each of these gives a function of the wildcards that gives one scalar, which `named` turns
# into a text with the param's name: what changes a text decides exactly which jobs run again.


def of_case(key):
    """A setting of the case; where it is null, the model's own."""

    def value(wildcards):
        return effective(key, find_case(wildcards.case).settings)

    return value


def of_edit(key):
    """A setting of the edit, or of the variant where that is swept."""

    def value(wildcards):
        edit = find_edit(wildcards)
        if "variant" in wildcards.keys():
            return find_variant(wildcards.variant).setting(key, edit.settings)
        return edit.settings[key]

    return value


def guidance(wildcards):
    """The guidance of an edit; editing without training always has one of its own."""
    settings = find_edit(wildcards).settings
    return "source_negative" if learns_nothing(settings) else settings["guidance"]


def beta(index):
    """One of AdamW's two betas."""

    def value(wildcards):
        return find_case(wildcards.case).settings["betas"][index]

    return value


def image_path(wildcards):
    return str(find_case(wildcards.case).image)


def image_fingerprint(wildcards):
    return fingerprint_of_image(wildcards.case)


@cache
def fingerprint_of_image(case):
    image = find_case(case).image
    return photographs().get(image) or fingerprint.of_file(image)


@cache
def photographs():
    """Path → fingerprint of this run's photographs; a cluster's job asks for its own alone."""
    if not workflow.is_main_process:
        return {}
    images = [case.image for case in CASES.by_name.values()]
    return fingerprint.of_each(images, "photographs")


@cache
def crop_of_case(case):
    return crop_of(find_case(case))


def crop(wildcards):
    """The part of the photograph a case is learned from."""
    return crop_of_case(wildcards.case)


def source_prompt_fingerprint(wildcards):
    return fingerprint.of_text(find_case(wildcards.case).source_prompt)


def edit_prompt_fingerprint(wildcards):
    return fingerprint.of_text(find_edit(wildcards).prompt)


def target_word_fingerprint(wildcards):
    return fingerprint.of_text(find_edit(wildcards).target_word)


def mask_fingerprint(wildcards):
    edit = find_edit(wildcards)
    return fingerprint.of_file(edit.mask) if edit.mask_source == "user" else "none"


def only_with(source, key):
    """A setting that matters to one source of the mask only, and else is "none"."""

    def value(wildcards):
        edit = find_edit(wildcards)
        return edit.settings[key] if edit.mask_source == source else "none"

    return value


def judged_mask_fingerprint(wildcards):
    edit = find_edit(wildcards)
    return fingerprint.of_file(edit.mask) if edit.judged_mask == "user" else "none"


def backbones(wildcards):
    """Which models judge an edit: one fetched meanwhile fills the cells that waited for it."""
    return identity_of_backbones()


@cache
def identity_of_backbones():
    return backbone_identity(CONFIG.settings)


def settings_judged(wildcards):
    """Identity of the settings that drew a picture of the benchmark, whose table asks for it."""
    if CONFIG.settings["pie_bench"] is None:
        return ""
    settings = find_edit(wildcards).settings
    return drawing_identity(settings, find_variant(wildcards.variant), MODEL)


def only_judged_by(source, key):
    """A setting that matters to metrics under one source of the mask only, and else is "none"."""

    def value(wildcards):
        edit = find_edit(wildcards)
        return edit.settings[key] if edit.judged_mask == source else "none"

    return value


# Inputs that depend on the case's settings.


def embedding_before(wildcards):
    """The checkpoint a text embedding grows from, with its state; nothing for a fresh start."""
    every = find_case(wildcards.case).settings["checkpoint_every"]
    before = previous_iteration(int(wildcards.iteration), every)
    if not before:
        return []
    path = layout(CONFIG, wildcards.case).embedding(before)
    return [path, path.replace(".safetensors", ".state.safetensors")]


def lora_before(wildcards):
    """The checkpoint a LoRA grows from, with its state; nothing for a fresh start."""
    every = find_case(wildcards.case).settings["checkpoint_every"]
    before = previous_iteration(int(wildcards.iteration), every)
    if not before:
        return []
    where = layout(CONFIG, wildcards.case)
    base = int(wildcards.embedding)
    return [
        *where.lora(base, before),
        f"{where.lora_folder(base, before)}/state.safetensors",
    ]


def embedding_below_lora(wildcards):
    """The text embedding a LoRA is trained over, if any."""
    base = int(wildcards.embedding)
    return layout(CONFIG, wildcards.case).embedding(base) if base else []


def attention_if_used(wildcards):
    """The attention map, where the mask comes from it."""
    edit = find_edit(wildcards)
    if edit.mask_source != "attention":
        return []
    return layout(CONFIG, wildcards.case).attention(edit.name)


def attention_if_judged(wildcards):
    """The attention map, where metrics go by it."""
    edit = find_edit(wildcards)
    if edit.judged_mask != "attention":
        return []
    return layout(CONFIG, wildcards.case).attention(edit.name)


def metrics_of_variants(wildcards):
    """What was measured of every variant of an edit, in their order."""
    edit = find_edit(wildcards)
    where = layout(CONFIG, wildcards.case)
    return [where.metrics(edit.name, variant) for variant in drawn_variants(edit)]


def embedding_if_used(wildcards):
    """The text embedding a variant uses, if any."""
    variant = find_variant(wildcards.variant)
    if not variant.embedding:
        return []
    return layout(CONFIG, wildcards.case).embedding(variant.embedding)


def source_text_if_used(wildcards):
    """The source prompt's features, where the guidance leads away from them."""
    if guidance(wildcards) == "cfg":
        return []
    return f"{RESULTS}/{wildcards.case}/features/text.safetensors"


def lora_if_used(wildcards):
    """The adapter a variant uses, if any."""
    variant = find_variant(wildcards.variant)
    if not variant.lora:
        return []
    return layout(CONFIG, wildcards.case).lora(variant.base, variant.lora)


def kernel_if_used(wildcards):
    """The blending weights of a variant, where it blends."""
    edit, variant = find_edit(wildcards), find_variant(wildcards.variant)
    if edit.mask_source == "none":
        return []
    smoothing = variant.setting("smoothing", edit.settings)
    return layout(CONFIG, wildcards.case).kernel(edit.name, smoothing)


def drawn_variants(edit):
    """The variants of an edit, the product of its lists."""
    try:
        return variants(edit.settings)
    except UserError as fault:
        stop(fault)


def candidates(edit):
    """The variants that may become the result: the one that settings name, or all."""
    try:
        settled = chosen_by_settings(edit.settings)
    except UserError as fault:
        stop(fault)
    return drawn_variants(edit) if settled is None else [settled]


def pictures_to_choose_from(wildcards):
    """The pictures of all candidates."""
    edit = find_edit(wildcards)
    where = layout(CONFIG, wildcards.case)
    return [where.picture(edit.name, variant) for variant in candidates(edit)]


def selection_if_made(wildcards):
    """What chose among the candidates, where metrics do."""
    edit = find_edit(wildcards)
    if len(candidates(edit)) == 1:
        return []
    return layout(CONFIG, wildcards.case).selection(edit.name)


def kernels_of_candidates(wildcards):
    """The blending weights of the candidates, where their background is to stay exact."""
    edit = find_edit(wildcards)
    if edit.mask_source == "none" or edit.settings["background"] != "exact":
        return []
    names = (v.setting("smoothing", edit.settings) for v in candidates(edit))
    where = layout(CONFIG, wildcards.case)
    return [where.kernel(edit.name, name) for name in dict.fromkeys(names)]
