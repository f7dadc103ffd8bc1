"""The rerun contract of docs/layout.md, row by row: a change, and exactly which jobs it runs again.

Three cases are really run once. Each row then has a copy of one of them with its results, in one
project, and Snakemake is asked once what it would do after all changes. Some rows are then really
run, and do just that.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from editinfinity.config.load import load_config
from editinfinity.files.writing import read_settings
from editinfinity.planning.model import effective
from editinfinity.settings.groups import RUN_KEYS, SETTINGS
from editinfinity.settings.guidance import numbers_of, values_of
from editinfinity.settings.types import Choice, InvalidValue
from tests.workflow.project import (
    BARE,
    ROOT,
    Plan,
    Planned,
    Project,
    draw_image,
    draw_mask,
    files_of_records,
    made_once,
    records_of,
    shared_folder,
    take_as_finished,
    write,
)
from tests.workflow.project import SETTINGS as PROJECT_SETTINGS

USER, WORD, LARGE, OWN, FOUND = "été 1", "b.2", "large", "own", "found"
"""A case with the user's mask, one with an automatic mask and two edits, one of which only the
part around the mask is learned, which trains nothing, one with a blend mask and an exact
background, and one whose place is found from the prompts, which trains nothing."""

NAME = "embedding2-lora2-cfg4.5-tau0.5-seed42"

pytestmark = pytest.mark.slow

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Row:
    """One change and what it runs again.

    Attributes:
        jobs: that run again, of the case.
        settings: the case's own.
        base: the case it is a copy of.
        change: what else is done, given the case's folder below ``data``.
    """

    jobs: set[str]
    settings: dict[str, Any] = field(default_factory=dict)
    base: str = USER
    change: Change = lambda folder: None


def drawn(*edits: str, name: str = NAME) -> set[str]:
    return {f"edit/{edit}/{job}" for edit in edits or ("edit",) for job in (name, "finish")}


def placed(edit: str = "edit") -> set[str]:
    """What a mask becomes."""
    return {f"mask/{edit}/{job}" for job in ("pictures", "kernel-linear")}


TRAINED = {"text_embedding/iter2", "lora/embedding2/iter2"}
PREPARED = {"check", "jsonl", "image_features", "rendering", "text_features",
            "edit/edit/text_features"}  # fmt: skip
EVERYTHING = {
    USER: PREPARED | TRAINED | drawn() | placed(),
    WORD: PREPARED | TRAINED | drawn("edit", "red hat") | placed() | placed("red hat")
    | {"edit/red hat/text_features", "text_plain_features"}
    | {"mask/edit/attention_map", "mask/red hat/attention_map"},
    OWN: PREPARED - {"rendering"} | TRAINED | drawn() | placed(),
    FOUND: {"check", "jsonl", "image_features", "rendering", "text_plain_features",
            "edit/edit/text_plain_features", "mask/edit/prompt_map"} | placed()
    | drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora0")),
    LARGE: {"check", "image_features", "rendering", "edit/edit/text_plain_features"} | placed()
    | drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora0")),
}  # fmt: skip

BOTH_TRAININGS = {"train_textembedding", "train_lora", "edit", "finish"}
LORA = {"train_lora", "edit", "finish"}
DRAWING = {"edit", "finish"}
KERNEL = {"kernel", *DRAWING}
MASK = {"mask_pictures", *KERNEL}

RULES_OF_SETTING: dict[str, set[str]] = {
    "attention_bias": BOTH_TRAININGS,
    "pixel_budget": {"image_features", "rendering", *MASK, *BOTH_TRAININGS},
    "train_textembedding": set(),
    "train_textembedding_iter": BOTH_TRAININGS,
    "use_textembedding": LORA | {"text_features"},
    "use_textembedding_iter": LORA | {"text_features"},
    "train_lora": set(),
    "train_lora_iter": LORA,
    "infer_function": DRAWING,
    "use_concat_embedding": DRAWING | {"edit_text_features"},
    "use_embedding_iter": DRAWING | {"edit_text_features"},
    "use_lora": DRAWING,
    "use_lora_iter": DRAWING,
    **dict.fromkeys(("cfg", "tau", "top_k", "top_p", "seed", "guidance"), DRAWING),
    "method": DRAWING | {"text_features", "edit_text_features"},
    # Numbers of guidances that the case does not use; test_planning.py has the others.
    **{key: set() for key in (*numbers_of("editmod"), *numbers_of("aredit"))},
    "lock_scales": DRAWING,
    "mask_source": DRAWING,
    **dict.fromkeys(("mask_edit_region", "mask_grow", "attention_threshold"), MASK),
    **dict.fromkeys(("prompt_map_threshold", "prompt_map_filter", "prompt_map_grow"), MASK),
    "attention_scales": {"attention_map", *MASK},
    "mask_feather": {"finish"},
    "smoothing": KERNEL,
    "crop": {"image_features", "rendering", *MASK},
    "background": {"finish"},
    "gps": {"finish"},
    "provenance": {"finish"},
    "select": set(),
    "select_floor": set(),
    "checkpoint_every": set(),
    "train_seed": BOTH_TRAININGS,
    "embedding_learning_rate": BOTH_TRAININGS,
    "lora_learning_rate": LORA,
    **dict.fromkeys(("batch_size", "betas", "weight_decay", "grad_clip"), BOTH_TRAININGS),
    **dict.fromkeys(("noise_strength", "cond_drop", "drop_path"), BOTH_TRAININGS),
    **dict.fromkeys(("lora_rank", "lora_alpha", "lora_dropout", "kl_weight", "precision"), LORA),
}
"""Setting of a case or an edit → the rules that a change of it runs again, in a case where it
matters at all. What a variant is chosen by (``select``) has a contract of its own."""

CHOSEN: dict[str, Any] = {
    # Checkpoints that are not there are fine only where something trains them.
    "use_embedding_iter": 0, "use_textembedding_iter": 0, "use_lora_iter": 0,
    "train_textembedding": False, "train_lora": False, "train_textembedding_iter": 4,
    "train_lora_iter": 4,
    "infer_function": 0, "mask_source": "none", "select": NAME,
    # Others of the same place, which would be too large or too small a change to be seen.
    "mask_grow": 4, "lock_scales": 2, "checkpoint_every": 4, "cfg": 3.0, "crop": "full",
    "background": "decoded", "provenance": False,
}  # fmt: skip
"""Values that a setting moves to where the first that fits would not do."""

BASE_OF_SETTING = {
    **dict.fromkeys(("prompt_map_threshold", "prompt_map_filter", "prompt_map_grow"), FOUND),
    "attention_threshold": WORD, "attention_scales": WORD, "crop": LARGE, "pixel_budget": USER,
}  # fmt: skip


ROWS = {
    "nothing": Row(set()),
    "touched": Row(set()),  # every file of it, after Snakemake has taken it as finished
    "edit prompt": Row(
        drawn("red hat") | {"edit/red hat/text_features"}, base=WORD,
        change=lambda folder: write(
            folder / "prompt" / "edit_image_prompt.red hat.txt", "a dog with a green hat"
        ),
    ),
    "mask": Row(
        drawn() | placed(), change=lambda folder: draw_mask(folder / "image" / "mask.png", side=40)
    ),
    "mask that keeps the crop": Row(
        drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora0")) | placed(), base=LARGE,
        change=lambda folder: draw_mask(folder / "image" / "mask.png", 28, (800, 640)),
    ),
    "blend mask": Row(  # in place of the mask, which is left to the metrics
        drawn() | placed(), change=lambda folder: draw_blend(folder / "image" / "blend.npy", 24)
    ),
    "blend mask changed": Row(
        drawn() | placed(), base=OWN,
        change=lambda folder: draw_blend(folder / "image" / "blend.npy", 40),
    ),
    "settings that a blend mask does not use": Row(
        set(), {"mask_grow": 5, "mask_edit_region": "white", "crop": "auto"}, OWN
    ),
    "source prompt": Row(
        EVERYTHING[WORD] - {"check", "image_features", "rendering", "edit/edit/text_features",
                            "edit/red hat/text_features"}, base=WORD,
        change=lambda folder: write(
            folder / "prompt" / "original_image_prompt.txt", "a dog in a field"
        ),
    ),
    "target word": Row(
        drawn("red hat") | placed("red hat") | {"mask/red hat/attention_map"}, base=WORD,
        change=lambda folder: write(folder / "prompt" / "target_word.red hat.txt", "hill"),
    ),
    "edit prompt of a found place": Row(
        EVERYTHING[FOUND]
        - {"check", "jsonl", "image_features", "rendering", "text_plain_features"}, base=FOUND,
        change=lambda folder: write(
            folder / "prompt" / "edit_image_prompt.txt", "a goat on a hill"
        ),
    ),
    "threshold of a found place": Row(
        drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora0")) | placed(),
        {"prompt_map_threshold": 0.6}, FOUND,
    ),
    "bits in place of both": Row(
        drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora0")) | placed(),
        {"mask_source": "bits"}, FOUND,
    ),
    "settings that a found place does not use": Row(
        set(), {"mask_grow": 5, "attention_threshold": 0.3, "attention_scales": "fine"}, FOUND
    ),
    "another edit": Row(
        drawn("ü 2") | placed("ü 2") | {"edit/ü 2/text_features"},
        change=lambda folder: write(folder / "prompt" / "edit_image_prompt.ü 2.txt", "a goat"),
    ),
    "image": Row(EVERYTHING[USER], change=lambda folder: append_to_image(folder)),
    "another method": Row(
        drawn(name="embedding0-lora0-cfg4.5-tau1-seed42")
        | {"text_plain_features", "edit/edit/text_plain_features"},
        {"method": "aredit"},
    ),
    "training free": Row(
        drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora0"))
        | {"text_plain_features", "edit/edit/text_plain_features"},
        {"method": "training_free", "train_seed": 7},
    ),
    "edit without embedding": Row(
        drawn(name=NAME.replace("embedding2-lora2", "embedding0-lora2on2"))
        | {"edit/edit/text_plain_features"},
        {"use_concat_embedding": 0},
    ),
    "lora without embedding": Row(
        drawn(name=NAME.replace("lora2", "lora2on0"))
        | {"text_plain_features", "lora/embedding0/iter2"},
        {"use_textembedding": 0},
    ),
    "longer": Row(
        drawn(name=NAME.replace("lora2", "lora6"))
        | {"lora/embedding2/iter4", "lora/embedding2/iter6"}, {"train_lora_iter": 6},
    ),
    # The encoders of a case do not depend on it, and so rest.
    "without biases": Row(
        EVERYTHING[WORD] - PREPARED - {"edit/red hat/text_features", "text_plain_features"},
        {"attention_bias": 0}, WORD,
    ),
    # As in a project that was finished when the default was exact.
    "detail": Row({"rendering", "edit/edit/finish"}, {"background": "detail"}, OWN),
    "betas": Row(drawn() | TRAINED, {"betas": [0.97, 0.9]}),
    "dropout of another": Row(drawn() | {"lora/embedding2/iter2"}, {"lora_dropout": 0.3}),
    "older": Row(EVERYTHING[USER]),
    "older kept": Row(
        EVERYTHING[USER] - TRAINED - {"jsonl", "text_features"},
        {"train_lora": 0, "train_textembedding": 0},
    ),
}  # fmt: skip

REALLY_RUN = (
    "edit prompt", "mask", "blend mask", "target word", "edit prompt of a found place", "image",
    "longer", "another edit", "detail",
)  # fmt: skip


def draw_blend(path: Path, side: int) -> None:
    """1, with a square of 0 in the middle, on the grid of a photograph of 80×64."""
    values = np.ones((56, 70), np.float32)
    values[28 - side // 2 : 28 + side // 2, 35 - side // 2 : 35 + side // 2] = 0
    np.save(path, values)


def told_without_photograph(picture: Path) -> dict[str, Any]:
    """What a result says of how it was made, but for the photograph's fingerprint."""
    told = json.loads(read_settings(picture) or "")
    assert told.pop("photograph")
    return dict(told)


def append_to_image(folder: Path) -> None:
    """Bytes behind a JPEG's end change the file and not the picture; an older file, too."""
    path = folder / "image" / "original_image.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, (1_000_000_000, 1_000_000_000))


# --- the project ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def finished(
    process_with_libraries: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
) -> Project:
    """A project whose run is over."""

    def make(folder: Path) -> None:
        project = Project.create(folder, overrides=OVERRIDES)
        project.add_case(FOUND)
        project.add_case(USER, mask=True)
        project.add_case(WORD, target_word="dog", **{"red hat": "a dog with a red hat"})
        draw_blend(project.add_case(OWN) / "image" / "blend.npy", 24)
        image = project.add_case(LARGE, mask=True) / "image"
        for name, draw in (("original_image.jpg", draw_image), ("mask.png", draw_mask)):
            draw(image / name, 24, size=(800, 640))
        run = project.run(env=process_with_libraries)
        assert run.jobs == {f"{case}/{job}" for case, jobs in EVERYTHING.items() for job in jobs}

    return Project(made_once(shared_folder(tmp_path_factory, worker_id, "finished"), make))


NAMING_THE_CASE = ("benchmark", "logs", "splits", "check.json")
"""Results that hold times, or the name of their case."""

OVERRIDES = {
    LARGE: {**BARE, "crop": "auto"},
    FOUND: {**BARE, "mask_source": "both"},
    OWN: {"background": "exact"},
}


@pytest.fixture(scope="session")
def changed(
    finished: Project, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> tuple[Project, Plan]:
    """(a project in which every row has a copy of its case, changed; what a run would do)."""

    def make(folder: Path) -> None:
        project = finished.copy(folder)
        rows = {**ROWS, **setting_rows(finished)}
        for name, row in rows.items():
            shutil.copytree(project.folder / "data" / row.base, project.folder / "data" / name)
            shutil.copytree(
                project.folder / "results" / row.base, project.folder / "results" / name
            )
            take_as_finished(project, row.base, name)
        overrides = {
            name: OVERRIDES[row.base] for name, row in rows.items() if row.base in OVERRIDES
        }
        overrides |= OVERRIDES
        make_older(project, "older", "older kept")
        for name, row in rows.items():
            row.change(project.folder / "data" / name)
            overrides[name] = {**overrides.get(name, {}), **row.settings}
        for path in (*project.folder.glob("data/touched/**/*"),
                     *project.folder.glob("results/touched/**/*")):  # fmt: skip
            os.utime(path)
        project.add_case("новый")
        project.configure(overrides={**overrides, "новый": BARE})
        plan = project.plan()
        kept = [[*job, planned.rule, planned.pending] for job, planned in plan.jobs.items()]
        (folder / "plan.json").write_text(json.dumps([kept, plan.stderr]))

    folder = made_once(shared_folder(tmp_path_factory, worker_id, "changed"), make)
    kept, stderr = json.loads((folder / "plan.json").read_text())
    jobs = {(case, job): Planned(rule, pending) for case, job, rule, pending in kept}
    return Project(folder), Plan(jobs, stderr)


def make_older(project: Project, *cases: str) -> None:
    """Have results look as version 0.1.0 left them: params without names, and no records."""
    for case in cases:
        for made in (project.folder / "results" / case / "logs").rglob("*.jsonl"):
            made.unlink()
        for path in files_of_records(project, case).values():
            record = json.loads(path.read_text("utf-8"))
            values = [ast.literal_eval(text).partition("=")[2] for text in record["params"]]
            record["params"] = sorted(map(repr, values))
            path.write_text(json.dumps(record), encoding="utf-8")


# --- the rows of the settings ---------------------------------------------------------------------


def moved(key: str, taken: list[str]) -> Any:
    """A value for a setting: one that another param of its rules has, where one fits.

    Args:
        key: the setting.
        taken: values of the other params, as texts.
    """
    setting, settings = SETTINGS[key], load_config(PROJECT_SETTINGS).settings
    if key in CHOSEN:
        return CHOSEN[key]
    current = values_of(settings, key) if setting.sweep else settings[key]
    options = list(setting.type.options) if isinstance(setting.type, Choice) else []
    for value in [*map(yaml.safe_load, taken), *options, 2, 0.25, 0.75]:
        with suppress(InvalidValue):
            parsed = setting.parse(value)
            if parsed not in (current, effective(key, settings), None):
                return value
    raise AssertionError(f"{key}: no value to move to")


def setting_rows(finished: Project) -> dict[str, Row]:
    """A row for each setting that a case or an edit may have of its own."""
    rows = {}
    for key, rules in RULES_OF_SETTING.items():
        base = BASE_OF_SETTING.get(key, USER)
        taken = {
            text.partition("=")[2]
            for record in records_of(finished, base).values()
            for text in map(ast.literal_eval, record["params"])
            if record["rule"] in rules and not text.startswith(f"{key}=")
        }
        value = [0.97, 0.9] if key == "betas" else moved(key, sorted(taken))
        rows[f"setting {key}"] = Row(set(), {key: value}, base)
    return rows


def test_every_setting_has_a_row() -> None:
    assert set(RULES_OF_SETTING) == set(SETTINGS) - RUN_KEYS


@pytest.mark.parametrize("key", RULES_OF_SETTING)
def test_a_setting_reruns_its_rules(changed: tuple[Project, Plan], key: str) -> None:
    """Also where its new value is the value of another param already."""
    assert changed[1].pending_rules(f"setting {key}") == RULES_OF_SETTING[key]


def test_most_settings_move_to_the_value_of_another_param(finished: Project) -> None:
    values = {
        text.partition("=")[2]
        for record in records_of(finished, USER).values()
        for text in map(ast.literal_eval, record["params"])
    }
    moves = {key: row.settings for key, row in setting_rows(finished).items()}
    shared = [key for key, settings in moves.items() if str(*settings.values()) in values]
    assert len(shared) >= 15, shared


# --- the other rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_a_change_reruns_exactly_its_jobs(changed: tuple[Project, Plan], name: str) -> None:
    assert changed[1].pending(name) == ROWS[name].jobs


def test_other_cases_rest_and_a_new_one_runs_alone(changed: tuple[Project, Plan]) -> None:
    plan = changed[1]
    assert not any(plan.pending(case) for case in (USER, WORD, LARGE, OWN))
    name = NAME.replace("embedding2-lora2", "embedding0-lora0")
    new = {"check", "image_features", "rendering", "edit/edit/text_plain_features"}
    assert plan.pending("новый") == drawn(name=name) | new


def test_results_of_an_older_version_are_told_in_a_line_and_kept_where_nothing_trains(
    changed: tuple[Project, Plan],
) -> None:
    lines = [line for line in changed[1].stderr.splitlines() if "before 0.2.0" in line]
    assert lines[0].startswith("2 cases: the results are from a version before 0.2.0")
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "results/older kept/lora/embedding2/iter2",
        "results/older kept/text_embedding/iter2.safetensors",
    ]


def test_what_is_planned_is_what_runs(
    changed: tuple[Project, Plan], finished: Project, tmp_path: Path
) -> None:
    project = changed[0].copy(tmp_path / "project")
    chosen = ("--config", f"cases=[{','.join(f'{name!r}' for name in REALLY_RUN)}]")
    run = project.run(*chosen)
    assert run.jobs == {f"{name}/{job}" for name in REALLY_RUN for job in ROWS[name].jobs}
    assert "Nothing to be done" in project.run(*chosen).stderr

    # Outputs hold only what made them: a new encoding of the same picture gives the same bytes.
    again, compared = project.folder / "results" / "image", 0
    for file in sorted(again.rglob("*")):
        parts = file.relative_to(again).parts
        if file.is_file() and parts[0] not in NAMING_THE_CASE:
            first = finished.folder / "results" / USER / Path(*parts)
            if parts == ("edit.png",):  # it names the file of the photograph, whose bytes changed
                assert told_without_photograph(file) == told_without_photograph(first)
            else:
                assert file.read_bytes() == first.read_bytes(), "/".join(parts)
            compared += 1
    assert compared >= 13

    # Checkpoints on the way serve without training, and where nothing trains no setting counts.
    shorter = {"train_lora_iter": 6, "use_lora_iter": 4}
    untrained = {**shorter, "train_lora": 0, "lora_rank": 2}
    for settings in (shorter, untrained):
        project.configure(cases=["longer"], overrides={"longer": settings})
        assert project.plan().pending("longer") == drawn(name=NAME.replace("lora2", "lora4"))


def test_the_pictures_of_a_mask_are_those_of_the_edit_that_is_there(
    finished: Project, tmp_path: Path
) -> None:
    """Going back to a kernel that is there still, after another mask was looked at."""
    project = finished.copy(tmp_path / "project")
    shown = project.folder / "results" / USER / "mask" / "edit" / "mask.png"
    first = shown.read_bytes()
    only = ("--until", "mask_pictures", "kernel")
    project.configure(cases=[USER], smoothing="hard", mask_grow=9)
    project.run(*only)
    assert shown.read_bytes() != first
    project.configure(cases=[USER])
    assert f"{USER}/mask/edit/pictures" in project.run(*only).jobs
    assert shown.read_bytes() == first


# --- settings of the whole run, and the code ------------------------------------------------------


def test_how_a_model_runs_changes_nothing_and_its_layers_everything_drawn(
    finished: Project, tmp_path: Path
) -> None:
    assert {
        "model", "model_dir", "device", "threads", "gradient_checkpointing", "memory",
        "text_encoder_dtype", "deterministic", "worker", "metrics", "pie_bench", "pie_bench_sample",
        "pie_bench_lora_iter",
        *(f"{name}_weights" for name in ("lpips", "clip", "dino", "image_reward")),
    } == RUN_KEYS  # fmt: skip
    project = finished.copy(tmp_path / "project")
    same = {"device": "auto", "threads": 2, "gradient_checkpointing": "all", "memory": "low",
            "deterministic": 1, "worker": "off", "pie_bench_sample": 3,
            "pie_bench_lora_iter": 9}  # fmt: skip
    project.configure(overrides=OVERRIDES, **same)
    plan = project.plan()
    assert not any(plan.pending(case) for case in EVERYTHING)
    project.configure(overrides=OVERRIDES, attention_bias=0)
    assert project.plan().pending(USER) == EVERYTHING[USER] - {"check", "jsonl"}
    project.configure(overrides=OVERRIDES, text_encoder_dtype="bf16")
    kept = {"check", "jsonl", "image_features", "rendering", *placed()}
    assert project.plan().pending(USER) == EVERYTHING[USER] - kept


def test_every_param_carries_its_name(finished: Project) -> None:
    for record in (record for case in EVERYTHING for record in records_of(finished, case).values()):
        texts = [ast.literal_eval(text) for text in record["params"]]
        names = [re.fullmatch(r"([a-z]\w*)=.*", text)[1] for text in texts]
        assert len(set(names)) == len(names), record
        assert "version" in names, record


def test_every_rule_takes_its_params_from_the_one_place_that_names_them() -> None:
    rules = "".join(path.read_text("utf-8") for path in sorted((ROOT / "rules").glob("*.smk")))
    sections = re.findall(r"^    params:\n((?: {8}.*\n)+)", rules, re.MULTILINE)
    assert len(sections) == len(re.findall(r"^    params:", rules, re.M)) == 16
    for section in sections:
        assert re.fullmatch(r" {8}\*\*named\(\n(?: {12}.*\n)+ {8}\),\n", section), section


def test_reworded_and_moved_code_reruns_nothing_and_a_new_version_its_stage(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    package = project.folder / "editinfinity"

    def rewrite(name: str, *replacements: tuple[str, str]) -> None:
        text = (package / name).read_text("utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (package / name).write_text(text, encoding="utf-8")

    # A message, a docstring, a comment, and a module at another place.
    rewrite("stages/kernel.py", ('"""Stage', '"""The stage'))
    rewrite("method/locate.py", ("is outside the part", "is not in"))
    rewrite("stages/kernel.py", ("    source = ", "    # The photograph.\n    source = "))
    shutil.move(package / "editing" / "blend_mask.py", package / "editing" / "weights.py")
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        path.write_text(text.replace("editing.blend_mask", "editing.weights"), encoding="utf-8")
    rested = project.plan()
    assert not any(rested.pending(case) for case in EVERYTHING)
    assert "the code has changed" not in rested.stderr

    # Other code under the same number: people who change it are told.
    rewrite("stages/kernel.py", ("import annotations\n", "import annotations\n\n_NEW = 1\n"))
    told = project.plan()
    assert not any(told.pending(case) for case in EVERYTHING)
    assert "kernel: the code has changed since it made the results of 5 cases" in told.stderr
    assert "--forcerun kernel" in told.stderr

    rewrite(
        "stages/versions.json", ('"kernel": {\n    "version": 1', '"kernel": {\n    "version": 2')
    )
    raised = project.plan()
    untrained = NAME.replace("embedding2-lora2", "embedding0-lora0")
    for case in EVERYTHING:
        edits = ("edit", "red hat") if case == WORD else ("edit",)
        kernels = {f"mask/{edit}/kernel-linear" for edit in edits}
        name = untrained if case in (LARGE, FOUND) else NAME
        assert raised.pending(case) == drawn(*edits, name=name) | kernels
    assert "the code has changed" not in raised.stderr
