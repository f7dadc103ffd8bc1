"""``snakemake pie_bench`` for real, on the random model ``tiny`` and a made benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pie_bench import made
from tests.workflow.project import Project


def read_table(project: Any) -> list[dict[str, str]]:
    """Rows of pie_bench.tsv."""
    lines = (project.folder / "results/pie_bench/pie_bench.tsv").read_text().splitlines()
    heading, *rows = (line.split("\t") for line in lines)
    return [dict(zip(heading, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pie_bench")
    project = Project.create(folder / "project", method="training_free")
    project.add_case("plain")  # what there is where no benchmark is asked for
    made.make_benchmark(project.folder / "bench", 20)
    # Sound in the file, broken on the disk: only its own jobs may fail.
    (project.folder / "bench/annotation_images/0_type/000000000000.jpg").write_bytes(b"\xff\xd8no")
    return project


def test_all_entries_are_planned_and_hostile_ones_told(project: Any) -> None:
    run = project.run("pie_bench", "-n", "-q", "rules", "--config", "pie_bench=bench")
    planned = run.stdout + run.stderr
    assert planned.count("left out") == len(made.HOSTILE)
    assert not (project.folder / "results/pie_bench/pie_bench.tsv").exists()
    masks = list((project.folder / "results/pie_bench/masks").glob("*.png"))
    assert len(masks) == 20


def test_without_a_benchmark_there_is_one_line(project: Any) -> None:
    run = project.run("pie_bench", "-n", status=1)
    assert "pie_bench: is null" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr
    run = project.run("pie_bench", "-n", "--config", "pie_bench=nowhere", status=1)
    assert "mapping_file.json: there is no such file" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_the_benchmark_is_edited_judged_and_gone_on_with(project: Any) -> None:
    """Ten entries of all ten types (the first one's picture is broken), then one more."""
    config = ("--config", "pie_bench=bench")
    first = project.run("pie_bench", *config, "pie_bench_sample=10", status=None)
    broken = first.status != 0  # whether the sample holds the broken picture
    rows = read_table(project)
    overall = {row["mask"]: row for row in rows if row["type"] == "all"}
    for row in overall.values():
        assert row["entries"] == "10"
        assert int(row["measured"]) == 10 - broken
        assert float(row["background_psnr"]) > 5
        assert not row["clip_whole"][0].isdigit()  # no weights: it says so
    assert len({row["type"] for row in rows}) == 11
    assert not project.run("pie_bench", *config, "pie_bench_sample=10", status=None).jobs - {
        job for job in first.jobs if job.endswith("/check")
    }
    more = project.run("pie_bench", *config, "pie_bench_sample=11", "slice=11/11", status=None)
    assert len({job.split("/")[0] for job in more.jobs}) <= 1
    people = (project.folder / "results/pie_bench/pie_bench.md").read_text()
    assert "| EditInfinity |" in people
    assert "a sample stratified by type" in people
