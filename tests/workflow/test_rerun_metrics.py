"""The rerun contract of metrics and of choosing among variants; Snakemake runs for real."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from editinfinity.evaluation.names import NAMES
from tests.workflow.project import Project, draw_mask, write

CASE, OTHER = "été 1", "b.2"
FIRST, SECOND = (f"embedding2-lora2-cfg{cfg}-tau0.5-seed42" for cfg in (4.5, 3))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("metrics") / "project", metrics=1)
    project.add_case(CASE, mask=True)
    project.add_case(OTHER, target_word="dog")
    run = project.run()
    assert run.rules["metrics"] == 2
    assert "in numbers: results/metrics.tsv" in run.stdout
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


def jobs(*names: str, case: str = CASE) -> set[str]:
    return {f"{case}/edit/edit/{name}" for name in names}


def measured(project: Project, variant: str = FIRST, case: str = CASE) -> dict[str, dict]:
    path = project.folder / "results" / case / "edit" / "edit" / f"{variant}.metrics.json"
    return json.loads(path.read_text("utf-8"))


def table(project: Project) -> list[dict[str, str]]:
    with (project.folder / "results" / "metrics.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_table_gathers_what_lies_beside_the_pictures(project: Project) -> None:
    rows = table(project)
    assert [(row["case"], row["edit"], row["variant"]) for row in rows] == [
        (OTHER, "edit", FIRST),
        (CASE, "edit", FIRST),
    ]
    assert list(rows[0]) == ["case", "edit", "variant", *NAMES]
    for row in rows:
        assert 0 < float(row["background_psnr"]) < 60
        assert row["clip_whole"] == "no weights of CLIP ViT-L/14"
        assert row["alignment"].startswith("made by another model")
    found = measured(project)
    assert found["values"]["clip_whole"] is None
    assert "editinfinity weights fetch clip" in found["missing"]["clip_whole"]
    # The picture's own JSON holds its settings only.
    settings = project.folder / "results" / CASE / "edit" / "edit" / f"{FIRST}.json"
    assert not set(json.loads(settings.read_text("utf-8"))) & set(NAMES)


def test_nothing_reruns_and_the_table_is_not_written_anew(project: Project) -> None:
    path = project.folder / "results" / "metrics.tsv"
    before = path.stat().st_mtime_ns
    assert "Nothing to be done" in project.run().stderr
    # Metrics lie beside the pictures whatever else is asked for; the table stays.
    project.configure(metrics=1, gps="drop")
    assert project.run().jobs == jobs("finish") | jobs("finish", case=OTHER)
    assert path.stat().st_mtime_ns == before


def test_a_change_of_one_case_measures_that_case_alone(project: Project) -> None:
    draw_mask(project.folder / "data" / CASE / "image" / "mask.png", side=40)
    kernel = {f"{CASE}/mask/edit/{name}" for name in ("pictures", "kernel-linear")}
    assert project.run().jobs == jobs(FIRST, f"{FIRST}.metrics", "finish") | kernel
    assert len(table(project)) == 2


def test_numbers_of_a_picture_that_is_gone_are_not_shown(project: Project) -> None:
    prompt = project.folder / "data" / CASE / "prompt" / "edit_image_prompt.txt"
    write(prompt, "a horse on a hill")
    # As a run does that is stopped before it measures.
    project.run("--", f"results/{CASE}/edit.png")
    assert [row["case"] for row in table(project)] == [OTHER]
    project.configure(metrics=0)
    project.run("report", status=None)
    assert not (project.folder / "results" / "metrics.tsv").exists()
    project.configure(metrics=1)
    assert project.run().jobs == jobs(f"{FIRST}.metrics")
    assert [row["case"] for row in table(project)] == [OTHER, CASE]


def test_weights_that_came_meanwhile_measure_anew(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "squeezenet"
    folder.mkdir()
    shutil.copy(random_squeezenet(tmp_path), folder / "squeezenet1_1.safetensors")
    project.configure(metrics=1, lpips_weights=str(folder))
    again = jobs(f"{FIRST}.metrics") | jobs(f"{FIRST}.metrics", case=OTHER)
    assert project.run().jobs == again
    assert float(table(project)[0]["background_lpips"]) >= 0


def random_squeezenet(folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    from editinfinity.evaluation.lpips import squeezenet_features

    torch.manual_seed(0)
    state = {f"features.{k}": v for k, v in squeezenet_features().state_dict().items()}
    save_file(state, folder / "random.safetensors")
    return folder / "random.safetensors"


def test_the_best_is_chosen_by_the_stated_rule_and_can_be_overridden(project: Project) -> None:
    def configure(**settings: object) -> None:
        project.configure(metrics=1, overrides={CASE: {"cfg": [4.5, 3], **settings}})

    configure(select="best", select_floor=0)
    run = project.run()
    assert run.jobs == jobs(SECOND, f"{SECOND}.metrics", "select", "finish")
    selection = json.loads(
        (project.folder / "results" / CASE / "edit.selection.json").read_text("utf-8")
    )
    kept = {name: measured(project, name)["values"]["background_psnr"] for name in (FIRST, SECOND)}
    assert selection["chosen"] == max(kept, key=kept.__getitem__)
    assert "no alignment is known" in selection["why"]
    assert [row["variant"] for row in selection["variants"]] == [FIRST, SECOND]
    assert "Nothing to be done" in project.run().stderr

    configure(select="best", select_floor=90)
    assert project.run().jobs == jobs("select", "finish")
    assert "no background keeps 90 dB" in (
        project.folder / "results" / CASE / "edit.selection.json"
    ).read_text("utf-8")

    configure(select=SECOND)
    assert project.run().jobs == jobs("finish")
    configure(select="first")
    assert project.run().jobs == jobs("finish")
    first = project.folder / "results" / CASE / "edit.png"
    chosen_first = first.read_bytes()
    configure(select=SECOND)
    project.run()
    assert first.read_bytes() != chosen_first


def test_a_name_that_is_not_drawn_is_told_in_a_line(project: Project) -> None:
    project.configure(metrics=1, overrides={CASE: {"select": SECOND}})
    run = project.run(status=None)
    assert run.status != 0
    assert f"select: {SECOND} is none of the 1 variants" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_best_needs_metrics_even_where_they_are_not_asked_for(project: Project) -> None:
    project.configure(metrics=0, overrides={CASE: {"cfg": [4.5, 3], "select": "best"}})
    assert project.run().rules == {"edit": 1, "metrics": 1, "select": 1, "finish": 1}


def test_an_edit_prompt_measures_anew(project: Project) -> None:
    write(project.folder / "data" / OTHER / "prompt" / "edit_image_prompt.txt", "a red hat")
    again = jobs("text_features", FIRST, f"{FIRST}.metrics", "finish", case=OTHER)
    assert project.run().jobs == again
