"""PIE-Bench entries as cases: each picture is inverted once and edited twice.

The edit ``given`` uses the benchmark's mask. The edit ``found`` does not get that mask: it uses the
attention map of the word that the edit is about, or changes the whole picture if there is no such
word or ``mask_source`` is ``none``. Metrics use the benchmark's mask for both edits.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from editinfinity.cases.case import Case, Cases, Edit
from editinfinity.cases.pie_bench_layout import Benchmark, Entry, decode_mask, read_benchmark
from editinfinity.config.load import Config, ConfigError
from editinfinity.errors import UserError
from editinfinity.files.images import write_png
from editinfinity.names import printable
from editinfinity.settings.groups import SETTINGS

SEED = 42
"""Random seed for choosing a sample of the benchmark's entries."""

GIVEN, FOUND = "given", "found"
"""Names of the two edits of every entry: with the given mask, or one found by attention."""


def fixed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that the benchmark overrides, whatever else config.yaml says."""
    return {
        "mask_edit_region": "black", "mask_grow": 0, "background": "decoded", "metrics": True,
        "infer_function": None, "train_lora_iter": config.settings["pie_bench_lora_iter"],
    }  # fmt: skip


def selected_entries(config: Config) -> Benchmark:
    """Return the entries that a configuration selects, before slicing.

    Raises:
        ConfigError: the benchmark cannot be read.
    """
    try:
        benchmark = read_benchmark(Path(str(config.settings["pie_bench"])))
    except UserError as error:
        raise ConfigError([f"pie_bench: {error}"]) from None
    count = config.settings["pie_bench_sample"]
    entries = sample(benchmark.entries, None if count is None else int(str(count)))
    return Benchmark(tuple(entries), benchmark.notices)


def cases_of_benchmark(benchmark: Benchmark, config: Config) -> Cases:
    """Return the cases of this run's slice, and write their masks to the results folder."""
    by_name = {entry.name: entry for entry in benchmark.entries}
    names = config.slice_of(list(by_name))
    notices = [printable(line) for line in benchmark.notices]
    iterations = config.settings["train_lora_iter"]
    if iterations != SETTINGS["train_lora_iter"].default:
        notices.append(
            f"train_lora_iter: {iterations} has no effect on PIE-Bench; set pie_bench_lora_iter: "
            f"{iterations}"
        )
    return Cases({name: case_of_entry(by_name[name], config) for name in names}, tuple(notices))


def case_of_entry(entry: Entry, config: Config) -> Case:
    """Return the case of an entry, and write its mask."""
    settings = {**config.settings_of(entry.name), **fixed_settings(config)}
    mask = write_mask(entry, Path(config.results))
    by_word = entry.word and settings["mask_source"] != "none"
    edits = {
        GIVEN: Edit(GIVEN, entry.prompt, mask, None, {**settings, "mask_source": "user"}),
        FOUND: Edit(
            FOUND, entry.prompt, mask, entry.word or None,
            {**settings, "mask_source": "attention" if by_word else "none"},
        ),
    }  # fmt: skip
    return Case(entry.name, entry.image, entry.source_prompt or None, edits, settings)


def write_mask(entry: Entry, results: Path) -> Path:
    """Write the mask as a picture (black = edited) and return its path.

    The file name contains a hash of the mask, so that an existing file is not written again.
    """
    # Masks of version 0.1.0 contain border lines, so their files must not be used again.
    key = f"without border {entry.runs!r}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    path = results / "masks" / f"{entry.name}-{digest}.png"
    if not path.exists():
        write_png(path, Image.fromarray(~decode_mask(entry.runs)).convert("L"))
    return path


def sample(entries: Sequence[Entry], count: int | None) -> list[Entry]:
    """Return ``count`` entries in the order of the file.

    All entries are returned if ``count`` is None or not less than their number. Each type of edit
    gets a share proportional to its size, and at least one entry if the count allows. Within a
    type, a larger sample includes every smaller one, so that existing results are reused.
    """
    if count is None or count >= len(entries):
        return list(entries)
    types: dict[int, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        types.setdefault(entry.type, []).append(entry)
    chosen: set[str] = set()
    for number, quota in _quotas({n: len(members) for n, members in types.items()}, count).items():
        shuffled = list(types[number])
        random.Random(f"{SEED}/{number}").shuffle(shuffled)
        chosen.update(entry.name for entry in shuffled[:quota])
    return [entry for entry in entries if entry.name in chosen]


def _quotas(sizes: dict[int, int], count: int) -> dict[int, int]:
    """Return the number of entries for each type: one each if possible, then by largest deficit."""
    total = sum(sizes.values())
    quotas = dict.fromkeys(sizes, 0)
    largest_first = sorted(sizes, key=lambda number: (-sizes[number], number))
    for number in largest_first[:count]:
        quotas[number] = 1
    for _ in range(count - sum(quotas.values())):
        open_types = [number for number in largest_first if quotas[number] < sizes[number]]
        neediest = max(open_types, key=lambda n: sizes[n] * count / total - quotas[n])
        quotas[neediest] += 1
    return quotas
