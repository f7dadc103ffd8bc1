"""Makes docs/images/page.png: the editing page after two real edits of data/example_2.

python benchmarks/page_picture.py
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.app.running import App, path_of, png_of, wait_until
from tests.report.browser import chromium

CASE = ROOT / "data" / "example_2"
SOURCE = (CASE / "prompt" / "original_image_prompt.txt").read_text("utf-8").strip()
PROMPT = (CASE / "prompt" / "edit_image_prompt.txt").read_text("utf-8").strip()


def main() -> None:
    """Draw twice, open the page, and take its picture."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "teddy_and_cup.jpg")
        shutil.copy(CASE / "image" / "original_image.jpg", photo)
        app = App.start(photo.name, *sys.argv[1:], cwd=Path(folder), model="bundled")
        try:
            (photograph,) = app.state()["photographs"]
            with Image.open(CASE / "image" / "mask.png") as mask:
                white = png_of(ImageOps.invert(mask.convert("L")))
            app.put(f"{path_of(photograph['id'])}/mask", white)
            for seed in (7, 42):
                texts = {"source": SOURCE, "prompt": PROMPT, "settings": {"seed": seed}}
                app.put(path_of(photograph["id"]), texts)
                draw(app, photograph["id"], seed)
            picture = page_with_last_try(app)
        finally:
            app.close()
    picture.save(ROOT / "docs" / "images" / "page.png", optimize=True)


def draw(app: App, photograph: str, seed: int) -> None:
    """Draw a try, however long learning takes on this machine."""
    number = app.post(f"{path_of(photograph)}/tries", {"settings": {"seed": seed}}).json["try"]
    wait_until(lambda: app.tries(photograph)[number - 1]["state"] in ("done", "failed"), 3600)
    assert app.tries(photograph)[number - 1]["state"] == "done"


def page_with_last_try(app: App) -> Image.Image:
    """The page that compares the photograph with its newest edit."""
    with chromium(1280, 800) as browser:
        browser.get(f"{app.origin}/?token={app.token}")
        deadline = time.monotonic() + 60
        while not (tries := browser.find_elements("css selector", "#tries label")):
            assert time.monotonic() < deadline, "the page shows no try"
            time.sleep(0.2)
        tries[0].click()
        # Through the teddy bear, which becomes a cupcake.
        slide = """
        const slider = document.getElementById("slider");
        slider.value = 28;
        slider.dispatchEvent(new Event("input"));
        """
        browser.execute_script(slide)
        time.sleep(3)
        return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")


if __name__ == "__main__":
    main()
