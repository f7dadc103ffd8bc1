"""How long the editing page lets a person wait, and works on each movement of a stroke.

First: from opening the address to the first paint, and from *Draw* to the picture for a second
prompt, beside the seconds that the try itself took (bundled model, hardly trained).

Chromium paints on a photograph of this size with a large brush. What counts is how long the page
works on each movement of the mouse, mask and screen included; a frame at 60 Hz lasts 16.7 ms.
Needs the extra ``app``, Selenium and Chromium.

    python benchmarks/page.py [--width 4000] [--height 3000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from selenium.webdriver.common.actions.action_builder import ActionBuilder

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.app.running import QUICK, App, path_of
from tests.report.browser import chromium
from tests.report.made import scene

FIRST_PAINT = "return performance.getEntriesByType('paint').map(({startTime}) => startTime)"
WATCH = """
window.times = [];
let begun = 0;
document.addEventListener("pointermove", () => { begun = performance.now(); }, true);
window.addEventListener("pointermove", () => { times.push(performance.now() - begun); });
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--moves", type=int, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene((512, 512), 1).save(Path(folder, "small.jpg"))
        app = App.start("small.jpg", *QUICK, cwd=Path(folder), model="bundled")
        try:
            print_waiting_times(app)
        finally:
            app.close()
        scene((options.width, options.height), 1).save(Path(folder, "photo.jpg"))
        app = App.start("photo.jpg", cwd=Path(folder))
        try:
            print("brush/px  zoom  median/ms  worst/ms")
            for brush, zoom in ((250, 0), (1000, 0), (250, 8)):
                times = stroke_times(app, brush, zoom, options.moves)
                row = f"{statistics.median(times):9.1f}  {max(times):8.1f}"
                print(f"{brush:8}  {1.25**zoom:4.1f}  {row}", flush=True)
        finally:
            app.close()


def print_waiting_times(app: App) -> None:
    (photograph,) = app.state()["photographs"]
    id_ = photograph["id"]
    with chromium(1440, 900) as browser:
        browser.get(f"{app.origin}/?token={app.token}")
        while not (paint := browser.execute_script(FIRST_PAINT)):
            time.sleep(0.1)
        print(f"first paint: {paint[0] / 1000:.2f} s")
        app.put(path_of(id_), {"source": "a red apple", "prompt": "a pear"})
        assert app.draw(id_)["state"] == "done"
        for prompt in ("a green apple", "a blue apple", "a cup"):
            app.put(path_of(id_), {"source": "a red apple", "prompt": prompt})
            shown = browser.find_element("id", "after").get_property("src")
            start = time.monotonic()
            browser.find_element("id", "draw").click()
            while browser.find_element("id", "after").get_property("src") == shown:
                time.sleep(0.02)
            waited, drawn = time.monotonic() - start, app.tries(id_)[-1]["seconds"]
            print(f"a further prompt: {waited:.2f} s, of which drawing {drawn:.2f}", flush=True)


def stroke_times(app: App, brush: int, zoom: int, moves: int) -> list[float]:
    """Milliseconds that the page works on each movement of a stroke."""
    with chromium(1440, 900) as browser:
        browser.get(f"{app.origin}/?token={app.token}")
        while not browser.execute_script("return document.getElementById('before').naturalWidth"):
            time.sleep(0.2)
        time.sleep(3)
        press = "document.getElementById(arguments[0]).click()"
        for _ in range(zoom):
            browser.execute_script(press, "zoom-in")
        slide = """
        const slider = document.getElementById("size");
        for (let at = 0; at <= 100; at += 1) {
          slider.value = at;
          slider.dispatchEvent(new Event("input", {bubbles: true}));
          if (parseInt(document.getElementById("size-text").textContent) >= arguments[0]) break;
        }
        """
        browser.execute_script(slide, brush)
        browser.execute_script(WATCH)
        actions = ActionBuilder(browser, duration=16)
        actions.pointer_action.move_to_location(400, 300).pointer_down()
        for move in range(moves):
            actions.pointer_action.move_to_location(400 + 5 * (move % 100), 300 + 3 * (move % 70))
        actions.pointer_action.pointer_up()
        actions.perform()
        times: list[float] = browser.execute_script("return times")
        return times


if __name__ == "__main__":
    main()
