"""Write the rows as tables into ``docs/ablation.md`` and ``docs/training_free.md``; needs no GPU.

The prose of a page is written by hand; the text between ``<!-- table NAME -->`` and
``<!-- end -->`` is generated here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from training.ablation.edits import PACK, read_facts
from training.ablation.statistics import Interval, Key, Measurements
from training.ablation.variants import (
    BLENDED,
    BOTH,
    COMPARED,
    FULL,
    INVERSIONS,
    KERNELS,
    MOST,
    NOTHING,
    PROMPT,
    TRAINING_FREE,
    VARIANTS,
    WHOLE,
    Learned,
    Variant,
)
from training.tables import replace_rows, write_table

STUDIES = Path("training/studies/ablation")
PAGES = (Path("docs/ablation.md"), Path("docs/training_free.md"))
SHEET = Path("docs/images/ablation.jpg")


@dataclass(frozen=True)
class Column:
    """A measure with its column title and number format."""

    measure: str
    title: str
    scale: float = 1.0
    digits: int = 2


COLUMNS = (
    Column("psnr", "PSNR ↑"),
    Column("psnr_rendering", "PSNR, rendering ↑"),
    Column("ssim", "SSIM ×10² ↑", 100),
    Column("lpips", "LPIPS ×10³ ↓", 1000, 1),
    Column("right", "right, % ↑", 100, 1),
    Column("chance", "judge’s belief, % ↑", 100, 1),
    Column("luminance", "luminance kept ↑", 1, 3),
    Column("to_wanted", "LPIPS to wanted ×10³ ↓", 1000, 1),
)
OUTSIDE = tuple(column for column in COLUMNS if column.measure not in ("ssim",))
LEARNED = (Column("loss", "loss on the source ↓", 1, 4), Column("redrawn", "source redrawn, dB ↑"))

SHOWN = """\
![Eight of the edits](images/ablation.jpg)

*Eight edits picked by number before any was drawn.*"""
NOT_DRAWN = "*Not drawn yet: `python -m training.ablation draw tables` on a GPU.*"

_LEARNED_TITLES = {
    NOTHING.name: "nothing", PROMPT.name: "prompt alone", "lora50": "LoRA alone, 50",
}  # fmt: skip


def title_of(learned: Learned) -> str:
    """Return a description of what was learned."""
    return _LEARNED_TITLES.get(learned.name, f"prompt + LoRA, {learned.lora}")


def variant_title(variant: Variant) -> str:
    """Return a description of a variant."""
    guidance = "source negative" if variant.guidance == "source_negative" else "cfg"
    lock = f", first {variant.lock_scales} scales locked" if variant.lock_scales else ""
    name = f"{title_of(variant.learned)}; {variant.kernel}; {guidance}{lock}"
    if variant == TRAINING_FREE:
        return f"**{name}** (`method: training_free`)"
    return f"**{name}** (the method)" if variant == FULL else name


def markdown(head: str, columns: Sequence[Column], rows: Sequence[tuple[str, list[str]]]) -> str:
    """Return a table in Markdown; ``head`` is the title of its first column."""
    lines = [
        "| " + " | ".join([head, *(column.title for column in columns)]) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += ["| " + " | ".join([title, *cells]) + " |" for title, cells in rows]
    return "\n".join(lines)


def means(found: Measurements, key: Key, columns: Sequence[Column]) -> list[str]:
    """Return the cells of a variant."""
    return [found.mean(key, c.measure).cell(c.scale, c.digits) for c in columns]


def differences(
    found: Measurements, key: Key, reference: Key, columns: Sequence[Column]
) -> list[str]:
    """Return the cells of the differences between a variant and a reference."""
    cells = []
    for column in columns:
        change: Interval = found.difference(key, reference, column.measure)
        cells.append(change.cell(column.scale, column.digits, signed=True))
    return cells


def tables(folder: Path) -> dict[str, str]:
    """Return every table, by its name."""
    edits = Measurements(folder / "edits.tsv", ("inversion", "kernel", "guidance"))
    sources = Measurements(folder / "inversions.tsv", ("inversion",))
    drawn = {variant.key for variant in VARIANTS if variant.key in edits}
    best = ("rendering", "-", "-")
    ceiling = ("*the wanted picture, by the tokenizer*", means(edits, best, COLUMNS))

    def of(variants: Sequence[Variant], name: Callable[[Variant], str]) -> str:
        rows = [
            (name(variant), means(edits, variant.key, COLUMNS))
            for variant in variants
            if variant.key in edits
        ]
        return markdown("", COLUMNS, [*rows, ceiling])

    def against(variants: Sequence[Variant], base: Variant, name: Callable[[Variant], str]) -> str:
        rows = [
            (name(variant), differences(edits, variant.key, base.key, COLUMNS))
            for variant in variants
            if variant != base and {variant.key, base.key} <= drawn
        ]
        return markdown("", COLUMNS, rows) if rows else NOT_DRAWN

    def learned(variant: Variant) -> str:
        return title_of(variant.learned)

    def kernel(variant: Variant) -> str:
        return f"{title_of(variant.learned)}; {variant.kernel}"

    bare = [v for v in KERNELS if v.learned == NOTHING]
    linear = [v for v in KERNELS if v.learned == BOTH[MOST]]
    return {
        "sheet": SHOWN if SHEET.exists() else NOT_DRAWN,
        "inversions": markdown("learned", LEARNED, [
            (title_of(each), means(sources, (each.name,), LEARNED))
            for each in INVERSIONS
            if (each.name,) in sources
        ]),
        "iterations": of(BLENDED, learned),
        "iterations, differences": against(BLENDED, Variant(NOTHING), learned),
        "kernels": of(KERNELS, kernel),
        "kernels, differences": against(linear, FULL, kernel),
        "kernels, nothing learned": against(bare, Variant(NOTHING), kernel),
        "everywhere": of(WHOLE, learned),
        "training-free": of(COMPARED, variant_title),
        "training-free, plain": against(COMPARED, Variant(NOTHING), variant_title),
        "training-free, differences": against(COMPARED, FULL, variant_title),
    }  # fmt: skip


def fill(page: str, found: dict[str, str]) -> str:
    """Return a page with its tables replaced.

    Raises:
        KeyError: the page refers to a table that does not exist.
    """
    pattern = re.compile(r"(<!-- table ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{found[match[2]]}\n{match[3]}", page)


def sheet(pictures: Path, side: int = 128) -> Image.Image:
    """Return the contact sheet: an edit per row, a variant per column."""
    columns = {
        "source": "source", "mask": "mask", "source-rendering": "its rendering",
        **{"-".join(Variant(each).key): title_of(each) for each in (NOTHING, PROMPT)},
        **{"-".join(Variant(BOTH[n]).key): f"both, {n}" for n in (10, 30, MOST)},
        "-".join(Variant(BOTH[MOST], "none").key): f"both, {MOST}; no kernel",
        "-".join(Variant(BOTH[MOST], "gaussian").key): f"both, {MOST}; gaussian",
        "-".join(TRAINING_FREE.key): "training-free",
        "-".join(Variant(NOTHING, "everywhere").key): "no mask, nothing",
        "-".join(Variant(BOTH[MOST], "everywhere").key): f"no mask, both, {MOST}",
        "wanted": "wanted",
    }  # fmt: skip
    rows = sorted(pictures.iterdir(), key=lambda folder: int(folder.name))
    top = 18
    image = Image.new("RGB", (len(columns) * side, top + len(rows) * side), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=11)
    for column, (name, title) in enumerate(columns.items()):
        pen.text((column * side + 3, 2), title, fill="black", font=font)
        for row, folder in enumerate(rows):
            small = Image.open(folder / f"{name}.jpg").resize(
                (side - 2, side - 2), Image.Resampling.LANCZOS
            )
            image.paste(small, (column * side, top + row * side))
    return image


def all_drawn(table: Path) -> bool:
    """Whether a table of sources has rows of every inversion."""
    if not table.exists():
        return False
    sources = Measurements(table, ("inversion",))
    return all((inversion.name,) in sources for inversion in INVERSIONS)


def write_pages(output: Path, pack_folder: Path = Path(".carry/ablation")) -> None:
    """Take over the generated rows, if there are any, and fill in the pages.

    Rows of inversions that were not drawn stay. The contact sheet is made anew only if all were.
    """
    STUDIES.mkdir(parents=True, exist_ok=True)
    for name in ("edits.tsv", "inversions.tsv"):
        if (output / name).exists():
            replace_rows(STUDIES / name, output / name, "inversion")
    if (pack_folder / PACK).exists():
        facts = read_facts(pack_folder / PACK)
        write_table(
            STUDIES / "asked.tsv",
            [
                {k: v for k, v in asdict(fact).items() if k not in ("thing", "colour")}
                | {"wanted_colour": fact.wanted_colour}
                for fact in facts
            ],
        )
    if all_drawn(output / "inversions.tsv") and (output / "pictures").exists():
        SHEET.parent.mkdir(parents=True, exist_ok=True)
        sheet(output / "pictures").save(SHEET, quality=85)
    found = tables(STUDIES)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(fill(text, found), encoding="utf-8")
