"""``snakemake pie_bench`` for real, on the random model ``tiny`` and a made benchmark."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from editinfinity.cases.pie_bench import sample
from editinfinity.cases.pie_bench_layout import read_benchmark
from tests.pie_bench import made
from tests.workflow.project import Project

pytestmark = pytest.mark.slow


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


def test_the_benchmark_is_edited_judged_and_gone_on_with(project: Any) -> None:
    """Two entries of two types (the picture of one is broken), then one more."""
    first, broken, more = drawn_one_by_one(project, 3)
    # Sound in the file, broken on the disk: only its own jobs may fail.
    (picture,) = (project.folder / "bench").glob(f"annotation_images/*/{broken}.jpg")
    picture.write_bytes(b"\xff\xd8no")
    config = ("--config", "pie_bench=bench")
    project.run("pie_bench", *config, "pie_bench_sample=2", status=1)
    results = project.folder / "results/pie_bench"
    assert {path.parents[2].name for path in results.glob("*/edit/*/*.metrics.json")} == {first}
    rows = read_table(project)
    overall = {row["mask"]: row for row in rows if row["type"] == "all"}
    assert len(overall) == 2
    for row in overall.values():
        assert (row["entries"], row["measured"]) == ("2", "1")
        assert float(row["background_psnr"]) > 5
        assert not row["clip_whole"][0].isdigit()  # no weights: it says so
    assert len({row["type"] for row in rows}) == 3
    people = (project.folder / "results/pie_bench/pie_bench.md").read_text()
    assert "| EditInfinity |" in people
    assert "a sample stratified by type" in people

    done = project.call("--summary", "pie_bench", *config, "pie_bench_sample=3")
    plan = list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))
    pending = {row["output_file"].split("/")[2] for row in plan if row["plan"] != "no update"}
    assert first in {row["output_file"].split("/")[2] for row in plan}
    assert pending == {broken, more}


def drawn_one_by_one(project: Any, count: int) -> list[str]:
    """Names of entries in the order in which larger and larger samples draw them."""
    entries = read_benchmark(project.folder / "bench").entries
    drawn: dict[str, None] = {}
    for size in range(1, count + 1):
        drawn |= dict.fromkeys(entry.name for entry in sample(entries, size))
    return list(drawn)
