"""The rerun contract of metrics and of choosing among variants.

As in test_rerun_contract.py: three cases are really run once; each row then has a copy of one of
them with its results, in one project, and Snakemake is asked what it would do. Rows that show more
than which jobs run are then really run, all at once.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from editinfinity.cases.case import Cases
from editinfinity.cases.load import load_cases
from editinfinity.config.load import Config, load_config
from editinfinity.errors import UserError
from editinfinity.evaluation.names import NAMES
from editinfinity.planning.targets import check_plan
from editinfinity.results.metrics_table import write_metrics_table
from tests.workflow.project import (
    BARE,
    SETTINGS,
    Project,
    draw_mask,
    made_once,
    shared_folder,
    take_as_finished,
    write,
)

CASE, WORD, BEST = "été 1", "b.2", "sweep"
"""A case with the user's mask, one with an automatic mask, and one whose metrics choose."""

FIRST, SECOND = (f"embedding0-lora0-cfg{cfg}-tau0.5-seed42" for cfg in (4.5, 3))
SWEPT = {"cfg": [4.5, 3], "select_floor": 0}
CHOOSING = {**SWEPT, "select": "best"}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Row:
    """One change and what it runs again.

    Attributes:
        jobs: that run again, of the case's edit; paths of others begin with a slash.
        settings: the case's own.
        base: the case it is a copy of.
        change: what else is done, given the case's folder below ``data``.
        unasked: the jobs where ``metrics`` is 0; the same where None.
    """

    jobs: set[str]
    settings: dict[str, Any] = field(default_factory=dict)
    base: str = CASE
    change: Callable[[Path], None] = lambda folder: None
    unasked: set[str] | None = None


def other_prompt(folder: Path) -> None:
    write(folder / "prompt" / "edit_image_prompt.txt", "a horse on a hill")


DRAWN = {FIRST, "finish"}
MEASURED = {*DRAWN, f"{FIRST}.metrics"}
CHOSEN = {SECOND, f"{SECOND}.metrics", "select", "finish"}
MASK = {"/mask/edit/pictures", "/mask/edit/kernel-linear"}

ROWS = {
    "nothing": Row(set()),
    "nothing of a word": Row(set(), base=WORD),
    "nothing chosen anew": Row(set(), CHOOSING, BEST),
    # Metrics lie beside the pictures whatever else is asked for.
    "gps": Row({"finish"}, {"gps": "drop"}),
    "mask": Row(
        MEASURED | MASK, unasked=DRAWN | MASK,
        change=lambda folder: draw_mask(folder / "image" / "mask.png", side=40),
    ),
    "edit prompt": Row(
        MEASURED | {"text_plain_features"}, base=WORD, change=other_prompt,
        unasked=DRAWN | {"text_plain_features"},
    ),
    # The best needs metrics even where they are not asked for.
    "chosen": Row(CHOSEN, CHOOSING),
    "floor": Row({"select", "finish"}, {**CHOOSING, "select_floor": 90}, BEST),
    "overridden": Row({"finish"}, {**SWEPT, "select": SECOND}, BEST),
    "overridden by the first": Row({"finish"}, {**SWEPT, "select": "first"}, BEST),
}  # fmt: skip


def jobs_of(row: Row, *, metrics: bool = True) -> set[str]:
    named = row.jobs if metrics or row.unasked is None else row.unasked
    return {name[1:] if name.startswith("/") else f"edit/edit/{name}" for name in named}


# --- the project ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def finished(
    process_with_libraries: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
) -> Project:
    """A project whose run is over; what it said lies in ``said``."""

    def make(folder: Path) -> None:
        project = Project.create(folder, **BARE, metrics=1, overrides={BEST: CHOOSING})
        project.add_case(CASE, mask=True)
        project.add_case(WORD, target_word="dog")
        project.add_case(BEST, mask=True)
        run = project.run(env=process_with_libraries)
        assert run.rules["metrics"] == 4 and run.rules["select"] == 1
        (folder / "said").write_text(run.stdout, "utf-8")

    return Project(made_once(shared_folder(tmp_path_factory, worker_id, "measured"), make))


@pytest.fixture(scope="session")
def changed(finished: Project, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """A project in which every row has a copy of its case, changed."""

    def make(folder: Path) -> None:
        project = finished.copy(folder)
        for name, row in ROWS.items():
            for above in ("data", "results"):
                shutil.copytree(folder / above / row.base, folder / above / name)
            take_as_finished(project, row.base, name)
            row.change(folder / "data" / name)
        configure(project)

    return Project(made_once(shared_folder(tmp_path_factory, worker_id, "metrics_changed"), make))


@pytest.fixture
def project(changed: Project, tmp_path: Path) -> Project:
    return changed.copy(tmp_path / "project")


def settings_of(**settings: Any) -> dict[str, Any]:
    overrides = {BEST: CHOOSING, **{name: row.settings for name, row in ROWS.items()}}
    # No list twice: YAML would write the second of two that are one as a reference.
    return json.loads(json.dumps({**BARE, "metrics": 1, "overrides": overrides, **settings}))


def configure(project: Project, **settings: Any) -> None:
    project.configure(**settings_of(**settings))


def load(**settings: Any) -> tuple[Config, Cases]:
    """What a run in this folder would be about."""
    config = load_config({**SETTINGS, **settings_of(**settings)})
    return config, load_cases(config)


def measured(project: Project, variant: str = FIRST, case: str = CASE) -> dict[str, dict]:
    path = project.folder / "results" / case / "edit" / "edit" / f"{variant}.metrics.json"
    return json.loads(path.read_text("utf-8"))


def selection(project: Project, case: str) -> dict[str, Any]:
    path = project.folder / "results" / case / "edit.selection.json"
    return json.loads(path.read_text("utf-8"))


def table(project: Project) -> list[dict[str, str]]:
    with (project.folder / "results" / "metrics.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# --- what a run makes -----------------------------------------------------------------------------


def test_a_table_gathers_what_lies_beside_the_pictures(finished: Project) -> None:
    assert "metrics: results/metrics.tsv" in (finished.folder / "said").read_text("utf-8")
    rows = table(finished)
    assert [(row["case"], row["edit"], row["variant"]) for row in rows] == [
        (WORD, "edit", FIRST),
        (BEST, "edit", FIRST),
        (BEST, "edit", SECOND),
        (CASE, "edit", FIRST),
    ]
    assert list(rows[0]) == ["case", "edit", "variant", *NAMES]
    for row in rows:
        assert 0 < float(row["background_psnr"]) < 60
        assert row["clip_whole"] == "no weights of CLIP ViT-L/14"
        assert row["alignment"].startswith("alignment is only defined for the bundled model")
    found = measured(finished)
    assert found["values"]["clip_whole"] is None
    assert "editinfinity weights fetch clip" in found["missing"]["clip_whole"]
    # The picture's own JSON holds its settings only.
    settings = finished.folder / "results" / CASE / "edit" / "edit" / f"{FIRST}.json"
    assert not set(json.loads(settings.read_text("utf-8"))) & set(NAMES)


def test_the_best_is_chosen_by_the_stated_rule(finished: Project) -> None:
    made = selection(finished, BEST)
    kept = {
        name: measured(finished, name, BEST)["values"]["background_psnr"]
        for name in (FIRST, SECOND)
    }
    assert made["chosen"] == max(kept, key=kept.__getitem__)
    assert "no alignment is known" in made["why"]
    assert [row["variant"] for row in made["variants"]] == [FIRST, SECOND]


# --- what runs again ------------------------------------------------------------------------------


def test_a_change_reruns_exactly_its_jobs(project: Project) -> None:
    plan = project.plan()
    assert {name: plan.pending(name) for name in ROWS} == {
        name: jobs_of(row) for name, row in ROWS.items()
    }
    assert not any(plan.pending(case) for case in (CASE, WORD, BEST))


def test_without_metrics_only_a_choice_measures(project: Project) -> None:
    configure(project, metrics=0)
    plan = project.plan()
    assert {name: plan.pending(name) for name in ROWS} == {
        name: jobs_of(row, metrics=False) for name, row in ROWS.items()
    }


def test_what_is_planned_is_what_runs_and_numbers_of_pictures_that_are_gone_are_not_shown(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = "edit prompt"
    whole = ("mask", "gps", "chosen", "floor", "overridden", "overridden by the first")
    results = project.folder / "results"
    # As a run does that is stopped before it measures.
    of_mask = (f"mask/edit/edit/{FIRST}.metrics.json", "mask/mask/edit/mask.png")
    targets = (*of_mask, *(f"{name}/edit.png" for name in (*whole, stopped)))
    run = project.run("--", *(f"results/{target}" for target in targets))
    planned = {name: jobs_of(ROWS[name]) for name in whole}
    planned[stopped] = jobs_of(ROWS[stopped], metrics=False)
    assert run.jobs == {f"{name}/{job}" for name, jobs in planned.items() for job in jobs}

    assert "no variant has a background PSNR of 90 dB" in selection(project, "floor")["why"]
    first, second = (
        (results / name / "edit.png").read_bytes()
        for name in ("overridden by the first", "overridden")
    )
    assert first != second
    assert (results / BEST / "edit.png").read_bytes() in (first, second)

    assert {row["case"] for row in table(project)} == {CASE, WORD, BEST, *ROWS} - {stopped}
    monkeypatch.chdir(project.folder)
    # Where none are asked for, only those that choose are shown.
    choosing = {name for name, row in ROWS.items() if row.settings.get("select") == "best"}
    write_metrics_table(*load(metrics=0))
    assert {row["case"] for row in table(project)} == {BEST, *choosing}

    # Weights that came meanwhile measure anew, and nothing else.
    weights = random_squeezenet(tmp_path / "squeezenet")
    configure(project, cases=[stopped, CASE, *whole], lpips_weights=str(weights))
    plan = project.plan()
    for name in (stopped, CASE, *whole):
        waiting = plan.pending(name)
        assert f"edit/edit/{FIRST}.metrics" in waiting
        assert plan.pending_rules(name) <= {"metrics", "select", "finish"}
    configure(project, cases=[stopped], lpips_weights=str(weights))
    assert project.run().jobs == {f"{stopped}/edit/edit/{FIRST}.metrics"}
    (row,) = (row for row in table(project) if row["case"] == stopped)
    assert float(row["background_lpips"]) >= 0


def random_squeezenet(folder: Path) -> Path:
    """A folder of weights that no training made."""
    import torch
    from safetensors.torch import save_file

    from editinfinity.evaluation.lpips import squeezenet_features

    folder.mkdir()
    torch.manual_seed(0)
    state = {f"features.{k}": v for k, v in squeezenet_features().state_dict().items()}
    save_file(state, folder / "squeezenet1_1.safetensors")
    return folder


def test_a_name_that_is_not_drawn_is_told_in_a_line(
    changed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(changed.folder)
    with pytest.raises(UserError) as told:
        check_plan(*load(overrides={CASE: {"select": SECOND}}))
    assert f"select: {SECOND} is not one of the 1 variants" in str(told.value)
    assert len(str(told.value).splitlines()) == 1
