"""A subset for a quick look: drawn by a fixed seed, every type of edit by its share."""

from __future__ import annotations

import random
from collections.abc import Sequence

from editinfinity.cases.pie_bench_layout import Entry

SEED = 42


def sample(entries: Sequence[Entry], count: int | None) -> list[Entry]:
    """So many entries in the file's order; all where ``count`` is None or no less than there are.

    Types get their share of the entries, and one at least where the count allows. Within a type a
    larger sample holds a smaller one, so that what was edited already serves again.
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
    """How many of each type: one each while that goes, the rest where most are missing."""
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
