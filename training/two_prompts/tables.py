"""Write the rows of the study as tables into the documentation; needs no GPU.

As in the ablation, the prose of a page is written by hand, and the text between
``<!-- table NAME -->`` and ``<!-- end -->`` is generated here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from training.ablation.statistics import Interval, interval
from training.ablation.tables import Column, fill, markdown
from training.two_prompts.recipes import METHODS, PLACES
from training.two_prompts.scenes import read

STUDIES = Path("training/studies/two_prompts")
SHEET = Path("docs/images/which_way.jpg")
SHOWN_EDITS = (3, 44, 85, 107, 125, 165, 185)
PAGES = (Path("docs/which_way.md"), Path("docs/finding_the_place.md"))

SETS = {"one": "120 edits", "two": "60 edits of two things", "backdrop": "40 new backdrops"}
KINDS = ("replace", "recolour", "add", "remove", "backdrop")

COLUMNS = (
    Column("right", "right, % ↑", 100, 0),
    Column("psnr_rendering", "as drawn, dB ↑", 1, 1),
    Column("worst", "worst tenth ↑", 1, 1),
    Column("psnr_exact", "pasted, dB ↑", 1, 1),
    Column("psnr_detail", "with detail, dB ↑", 1, 1),
    Column("luminance", "luminance kept ↑", 1, 2),
    Column("to_wanted", "LPIPS to wanted ×10³ ↓", 1000, 0),
)

PLACE_TITLES = {
    "mask": "hand-drawn mask",
    "word": "word given",
    "words": "found: words",
    "bits": "found: bits",
    "both": "found: both",
    "none": "none",
}


def found_table(found: pd.DataFrame) -> str:
    """Return the overlap of each way to find the place with the true one, by kind of edit."""
    columns = [Column(kind, kind) for kind in KINDS if kind in set(found["kind"])]
    rows = []
    for place in dict.fromkeys(found["place"]):
        cells = []
        for column in columns:
            of = found[(found["place"] == place) & (found["kind"] == column.measure)]
            means = [
                f"{values.mean():.2f}"
                for prompts in ("captions", "close")
                if len(values := of[of["prompts"] == prompts]["iou"])
            ]
            cells.append(" / ".join(means) or "–")
        rows.append((place, cells))
    return markdown("place", columns, rows)


def drawn_table(drawn: pd.DataFrame) -> str:
    """Return the measures of every method and place, with 95 % intervals."""
    rows = []
    for method in METHODS:
        for place in PLACES:
            of = drawn[(drawn["method"] == method.name) & (drawn["place"] == place)]
            if len(of):
                title = f"{method.name}; {PLACE_TITLES[place]}"
                rows.append((title, [_cell(of, column) for column in COLUMNS]))
    return markdown("method; place", COLUMNS, rows)


def _cell(of: pd.DataFrame, column: Column) -> str:
    if column.measure == "right" and (of["set"] == "backdrop").all():
        return "–"  # the judge looks at things
    if column.measure == "worst":
        lowest = np.sort(of["psnr_rendering"].to_numpy())
        return f"{lowest[: max(1, len(lowest) // 10)].mean():.1f}"
    values: Interval = interval(of[column.measure].to_numpy(dtype=np.float64))
    return values.cell(column.scale, column.digits)


def tables(folder: Path) -> dict[str, str]:
    """Return every table, by its name."""
    found = pd.read_csv(folder / "found.tsv", sep="\t")
    drawn = pd.read_csv(folder / "drawn.tsv", sep="\t")
    named = {f"drawn, {name}": drawn_table(drawn[drawn["set"] == name]) for name in SETS}
    named |= {f"found, {name}": found_table(found[found["set"] == name]) for name in SETS}
    return named | {"sheet": _SHEET_CAPTION}


def write_pages(
    output: Path, pack: Path = Path(".carry/two_prompts/edits.safetensors"),
    pages: Sequence[Path] = PAGES,
) -> None:  # fmt: skip
    """Copy the rows and pictures, if there are any, and fill in the pages."""
    STUDIES.mkdir(parents=True, exist_ok=True)
    if (output / "pictures").exists() and pack.exists():
        sheet(output / "pictures", pack, SHOWN_EDITS).save(SHEET, quality=88)
    for name in ("found", "drawn", "tuned_found", "tuned"):
        if (output / f"{name}.tsv").exists():
            shutil.copyfile(output / f"{name}.tsv", STUDIES / f"{name}.tsv")
    filled = tables(STUDIES)
    for page in _existing(pages):
        page.write_text(fill(page.read_text(encoding="utf-8"), filled), encoding="utf-8")


def _existing(pages: Iterable[Path]) -> list[Path]:
    return [page for page in pages if page.exists()]


_SHEET_CAPTION = """\
![Seven of the edits](images/which_way.jpg)

*Edits picked by number before any was drawn: an owl becomes an umbrella, a bird turns orange, a
cake is added, a diamond is removed, a doughnut becomes a moon, a muffin is added, and snow becomes
a brown backdrop. The place in the third column is found from the two prompts.*"""

COLUMNS_SHOWN = {
    "mask-both": "found place",
    "editmod, target-both": "editmod, found",
    "plain-both": "plain, found",
    "inversion-mask": "inversion, mask",
    "editmod, target-mask": "editmod, mask",
    "editmod, target-none": "editmod, none",
    "aredit-none": "aredit, none",
    "plain-none": "plain, none",
}
"""Picture of a drawing, by method and place → its title on the contact sheet."""


def sheet(pictures: Path, pack: Path, edits: Sequence[int], side: int = 128) -> Image.Image:
    """Return a contact sheet: an edit per row, a drawing per column."""
    scenes = {scene.facts.edit: scene for scene in read(pack, list(edits))}
    titles = ["source", "wanted", *COLUMNS_SHOWN.values()]
    top = 18
    image = Image.new("RGB", (len(titles) * side, top + len(edits) * side), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=11)
    for column, title in enumerate(titles):
        pen.text((column * side + 3, 2), title, fill="black", font=font)
    for row, edit in enumerate(edits):
        scene = scenes[edit]
        shown = [Image.fromarray(scene.source), Image.fromarray(scene.wanted)]
        for name in COLUMNS_SHOWN:
            found = sorted((pictures / str(edit)).glob(f"{name}.*"))
            picture = Image.open(found[0]) if found else Image.new("RGB", (1, 1), "white")
            shown.append(picture.convert("RGB"))
        for column, picture in enumerate(shown):
            small = picture.resize((side - 2, side - 2), Image.Resampling.LANCZOS)
            image.paste(small, (column * side, top + row * side))
    return image
