"""What the documentation says is run: every command and every Python example, page by page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from editinfinity.config.load import load_config
from editinfinity.released.catalogue import RELEASES
from tests.docs.pages import PAGES, READ, ROOT, RUN, Block, blocks_of
from tests.docs.scratch import Scratch
from tests.pie_bench.made import make_benchmark
from tests.released.files import shrunk, write_release
from tests.released.hub import serving

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = 14
"""Blocks that nobody runs. Think twice before you raise it."""

_COMMAND = re.compile(
    r"^\s*(\$ |(\.venv/bin/)?(editinfinity|snakemake|python|pip|pytest|make|sbatch) )", re.MULTILINE
)


def runnable(page: Path, *conditions: str) -> list[Block]:
    """The blocks of a page that run under one of these conditions, Python joined in order."""
    blocks = [
        block
        for block in blocks_of(page)
        if block.language in RUN and not block.reason and block.condition in conditions
    ]
    joined = []
    for language, group in groupby(blocks, key=lambda block: block.language):
        if language == "python":  # names live on from one example to the next
            first, *others = group
            code = "\n".join(block.code for block in (first, *others))
            makes = sum((block.makes for block in others), first.makes)
            joined.append(replace(first, code=code, makes=makes))
        else:
            joined.extend(group)
    return joined


HERE = ("", "hub", "pie_bench")
"""Conditions that these tests meet."""

PAGES_TO_RUN = [page for page in PAGES if runnable(page, *HERE)]


def test_every_block_says_what_it_is() -> None:
    assert len(BLOCKS) >= 40
    for block in BLOCKS:
        assert block.language in (*RUN, *READ), f"{block.place}: name the block's language"
        shown = block.language in READ
        assert not (shown and _COMMAND.search(block.code)), f"{block.place}: commands are bash"
        assert not (shown and block.condition), f"{block.place}: is not run, whatever it says"


def test_what_nobody_runs_says_why() -> None:
    left = [block for block in BLOCKS if block.language in RUN and block.reason]
    assert all(len(block.reason) > 10 for block in left)
    assert len(left) == NOT_RUN, [block.place for block in left]


def test_what_is_left_to_ci_is_in_it() -> None:
    lines = [line.split() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    made = {target for program, *targets in filter(None, lines) if program == "make"
            for target in targets}  # fmt: skip
    for block in BLOCKS:
        for command in block.code.splitlines() if block.condition == "ci" else ():
            words = command.partition("#")[0].split()
            assert words[:1] in ([], ["make"]) and made.issuperset(words[1:]), block.place


def test_configuration_that_is_shown_is_valid() -> None:
    shown = [block for block in BLOCKS if block.language == "yaml"]
    assert shown
    for block in shown:
        load_config(yaml.safe_load(block.code), source=block.place)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    blocks = runnable(page, *HERE)
    conditions = {block.condition for block in blocks}
    brief = not any("iter" in block.code for block in blocks)
    if "hub" in conditions:
        follow_beside_a_hub(blocks, tmp_path, brief)
        return
    scratch = Scratch(tmp_path, brief=brief)
    if "pie_bench" in conditions:
        make_benchmark(scratch.folder / "PIE-Bench_v1", 2, hostile=False)
        brief = {"train_textembedding_iter": 1, "pie_bench_lora_iter": 1, "device": "cpu"}
        (scratch.folder / "config.yaml").write_text(yaml.safe_dump(brief))
    for block in blocks:
        scratch.follow(block)


def follow_beside_a_hub(blocks: list[Block], tmp_path: Path, brief: bool) -> None:
    """Released models at a small width: on a stand-in of the hub, and in a folder."""
    published = tmp_path / "hub"
    for name in RELEASES:
        write_release(shrunk(name), published / "infinity")
    (published / "infinity" / "flan-t5-xl").rename(published / "t5")
    folders = {
        "FoundationVision/Infinity": published / "infinity",
        "google/flan-t5-xl": published / "t5",
    }
    with serving(folders) as hub:
        online = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        scratch = Scratch(tmp_path, brief=brief, **online)
        # What weights.md calls the folder with the released files.
        write_release(shrunk("infinity_2b"), scratch.folder / "released")
        for block in blocks:
            scratch.follow(block)


def texts_in(path: Path) -> Iterator[str]:
    """The texts of a module, with ``…`` where something is filled in."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_errors_of_troubleshooting_are_those_of_the_code() -> None:
    code = "\n".join(
        text for path in (ROOT / "editinfinity").rglob("*.py") for text in texts_in(path)
    )
    code += (ROOT / "Makefile").read_text()
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    told = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    # Snakemake's own.
    told = [
        text for text in told if text not in ("Nothing to be done", "Directory cannot be locked")
    ]
    assert len(told) >= 30
    for text in told:
        for part in filter(None, (piece.strip(" :;,().") for piece in text.split("…"))):
            assert part in code, f"{text!r}: the code never says {part!r}"
