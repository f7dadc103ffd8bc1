"""``results/metrics.tsv``: a row a variant, whatever slice of the cases a run was about."""

from __future__ import annotations

import csv
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from editinfinity.cases.case import Cases
from editinfinity.cases.load import load_cases
from editinfinity.config.load import Config, load_config
from editinfinity.evaluation.record import MetricResults
from editinfinity.planning.targets import layout
from editinfinity.planning.variants import variants_of
from editinfinity.results import metrics_table
from editinfinity.results.metrics_table import write_metrics_table
from tests.cases.test_cases import make_case


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "犬 [1]"):
        make_case(Path("data", name))


def load(**settings: Any) -> tuple[Config, Cases]:
    config = load_config(settings)
    return config, load_cases(config)


def measure(config: Config, cases: Cases) -> None:
    for case in cases.by_name.values():
        where = layout(config, case.name)
        for index, variant in enumerate(variants_of(case.edits["edit"].settings)):
            measured = MetricResults(
                {"background_psnr": 30.0 + index}, {"clip_whole": "no weights; x"}
            )
            measured.save(Path(where.metrics("edit", variant)))


def rows() -> list[dict[str, str]]:
    with Path("results/metrics.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_nothing_measured_is_no_table() -> None:
    assert write_metrics_table(*load()) is None
    assert not Path("results").exists()


def test_every_variant_has_a_row_and_another_slice_keeps_those_of_the_first() -> None:
    config, cases = load(cfg=[4, 3], slice="1/2")
    measure(config, cases)
    assert write_metrics_table(config, cases) == Path("results/metrics.tsv")
    assert [row["background_psnr"] for row in rows()] == ["30", "31"]
    assert {row["clip_whole"] for row in rows()} == {"no weights"}

    config, cases = load(cfg=[4, 3], slice="2/2")
    measure(config, cases)
    write_metrics_table(config, cases)
    assert [row["case"] for row in rows()] == ["a", "a", "犬 [1]", "犬 [1]"]


def test_slices_that_end_together_keep_each_others_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    read = metrics_table._valid_rows

    def slowly(*arguments: Any) -> list[list[str]]:
        found = read(*arguments)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(metrics_table, "_valid_rows", slowly)
    slices = [load(slice=f"{part}/2") for part in (1, 2)]
    for config, cases in slices:
        measure(config, cases)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: write_metrics_table(*each), slices))
    assert {row["case"] for row in rows()} == {"a", "犬 [1]"}


def test_equal_rows_are_not_written_anew_and_gone_ones_leave() -> None:
    config, cases = load()
    measure(config, cases)
    table = write_metrics_table(config, cases)
    made = table.stat().st_mtime_ns
    write_metrics_table(config, cases)
    assert table.stat().st_mtime_ns == made
    next(Path("results/a/edit/edit").glob("*.metrics.json")).unlink()
    write_metrics_table(config, cases)
    assert [row["case"] for row in rows()] == ["犬 [1]"]


def test_a_damaged_file_leaves_its_row_out_and_the_others_in() -> None:
    config, cases = load()
    measure(config, cases)
    next(Path("results/a/edit/edit").glob("*.metrics.json")).write_text("{")
    write_metrics_table(config, cases)
    assert [row["case"] for row in rows()] == ["犬 [1]"]
