"""The editing page in a real browser: from the first stroke to the edit.

The model is small and random, because nothing here is about what it draws.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.app.running import QUICK, App, box_mask, path_of, png_of
from tests.report.browser import barriers, chromium, require_chromium
from tests.report.made import HOSTILE, scene

pytestmark = [pytest.mark.slow, pytest.mark.imports_itself]

ODD_NAME = "<img src=x onerror=alert(1)> '\" 100% #?.png"
PATIENCE = 240  # seconds for what takes two on a machine that does nothing else


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with a folder of photographs."""
    require_chromium()
    pytest.importorskip("starlette")
    folder = tmp_path_factory.mktemp("page") / "photos"
    folder.mkdir()
    scene((320, 200), 1).save(folder / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter: 200 wide, 320 high
    scene((320, 200), 2).save(folder / "turned.jpg", exif=exif)
    scene((200, 200), 3).save(folder / "drawn.png")
    scene((160, 120), 4).save(folder / ODD_NAME)
    running = App.start("photos", *QUICK, cwd=folder.parent)
    running.listen()
    yield running
    running.close()


@pytest.fixture(scope="module")
def session(app: App) -> Iterator[Any]:
    with chromium() as driver:
        driver.get(f"{app.origin}/?token={app.token}")
        yield driver


@pytest.fixture
def browser(session: Any) -> Iterator[Any]:
    """The browser; nothing may have been complained of at the end."""
    resize(session, 1280, 800)
    session.get_log("browser")
    yield session
    assert session.get_log("browser") == []


def resize(browser: Any, width: int, height: int, scale: int = 1, touch: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})


def wait(browser: Any, done: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    return WebDriverWait(browser, seconds, 0.1).until(lambda _: done(), what)


def by_id(browser: Any, name: str) -> Any:
    return browser.find_element(By.ID, name)


def show(browser: Any, app: App, name: str) -> str:
    """Load the page with a photograph; return the photograph's id."""
    id_ = app.photograph(name)["id"]
    browser.get("about:blank")
    browser.get(f"{app.origin}/#{quote(id_, safe='')}")
    picture = "return document.getElementById('before').naturalWidth"
    wait(browser, lambda: by_id(browser, "name").text == name, f"{name} is shown")
    wait(browser, lambda: browser.execute_script(picture) > 0, f"{name} is loaded")
    # Painting is possible as soon as the mask is there, which the tools tell.
    wait(browser, lambda: by_id(browser, "canvas").is_displayed(), "the canvas")
    saved(browser)
    return id_


IDLE = """
const done = arguments[arguments.length - 1];
setTimeout(() => requestIdleCallback(() => done(true), {timeout: 3000}), 900);
"""


def saved(browser: Any) -> None:
    """Wait until what was painted or typed has been sent."""
    browser.execute_async_script(IDLE)


def picture(app: App, path: str) -> NDArray[np.uint8]:
    return np.asarray(app.get(path).picture())


def mask_of(app: App, id_: str) -> NDArray[np.bool_]:
    return picture(app, f"{path_of(id_)}/mask") >= 128


def at(browser: Any, x: float, y: float) -> tuple[int, int]:
    """Where a pixel of the photograph is in the window, by the picture the browser shows."""
    rect, width = browser.execute_script(
        "const image = document.getElementById('before');"
        "return [image.getBoundingClientRect().toJSON(), image.naturalWidth]"
    )
    scale = rect["width"] / width
    return round(rect["left"] + x * scale), round(rect["top"] + y * scale)


def drag(browser: Any, *points: tuple[float, float]) -> None:
    """Drag the mouse over points of the photograph."""
    actions = ActionBuilder(browser, duration=20)
    mouse = actions.pointer_action
    mouse.move_to_location(*at(browser, *points[0])).pointer_down()
    for point in points[1:]:
        mouse.move_to_location(*at(browser, *point))
    mouse.pointer_up()
    actions.perform()


def press(browser: Any, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def set_size(browser: Any, pixels: int) -> None:
    """Give the brush a size by the keyboard."""
    for _ in range(60):
        size = int(by_id(browser, "size-text").text.split()[0])
        if size <= pixels:
            return
        press(browser, "[")


def clear(browser: Any) -> None:
    press(browser, Keys.DELETE)
    saved(browser)


@pytest.mark.parametrize("case", ["plain", "fine", "zoomed", "scrolled", "turned"])
def test_a_stroke_lands_on_the_pixels_below_it(browser: Any, app: App, case: str) -> None:
    scale = 2 if case in ("fine", "turned") else 1
    resize(browser, *((390, 844) if case == "scrolled" else (1280, 800)), scale)
    id_ = show(browser, app, "turned.jpg" if case == "turned" else "plain.png")
    clear(browser)
    width, height = (200, 320) if case == "turned" else (320, 200)
    if case == "zoomed":
        press(browser, "+", "+", "+")
        ActionChains(browser).key_down(" ").perform()
        drag(browser, (160, 100), (120, 110))
        ActionChains(browser).key_up(" ").perform()
    if case == "scrolled":
        browser.execute_script("scrollTo(0, 120)")
    set_size(browser, 12)
    size = int(by_id(browser, "size-text").text.split()[0])
    drag(browser, (150, 90), (180, 90), (180, 120))
    saved(browser)
    mask = mask_of(app, id_)
    assert mask.shape == (height, width)
    y, x = np.mgrid[:height, :width] + 0.5
    across = np.hypot(x - np.clip(x, 150, 180), y - 90)
    down = np.hypot(x - 180, y - np.clip(y, 90, 120))
    apart = np.minimum(across, down)
    # A pixel of the window is at most a pixel of the photograph here; positions are whole ones.
    assert mask[apart < size / 2 - 1.5].all()
    assert not mask[apart > size / 2 + 1.5].any()


def test_undo_eraser_shapes_and_keys(browser: Any, app: App) -> None:
    id_ = show(browser, app, "plain.png")
    clear(browser)
    press(browser, "r")
    drag(browser, (40, 30), (140, 130))
    saved(browser)
    assert mask_of(app, id_).sum() == pytest.approx(100 * 100, rel=0.04)
    press(browser, "e")
    set_size(browser, 20)
    drag(browser, (90, 80), (90, 81))
    saved(browser)
    erased = mask_of(app, id_)
    assert not erased[80, 90]
    press(browser, "f")
    drag(browser, (90, 80))
    saved(browser)
    assert mask_of(app, id_)[80, 90], "filled again"
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    saved(browser)
    assert (mask_of(app, id_) == erased).all()
    press(browser, "l")
    drag(browser, (200, 100), (260, 100), (260, 160), (200, 160))
    press(browser, "g")
    saved(browser)
    grown = mask_of(app, id_)
    assert grown[130, 230]
    assert grown[130, 260]
    press(browser, "i")
    saved(browser)
    assert (mask_of(app, id_) == ~grown).all()
    press(browser, "b")


def test_the_keyboard_alone_paints(browser: Any, app: App) -> None:
    id_ = show(browser, app, "plain.png")
    clear(browser)
    by_id(browser, "canvas").send_keys("")
    browser.execute_script("document.getElementById('canvas').focus()")
    press(browser, Keys.ARROW_LEFT, Keys.ENTER, *[Keys.ARROW_DOWN] * 5, Keys.ENTER)
    assert by_id(browser, "status").text == "Painted."
    saved(browser)
    rows, columns = np.nonzero(mask_of(app, id_))
    scale = browser.execute_script(
        "return document.getElementById('before').getBoundingClientRect().width / 320"
    )
    assert columns.mean() == pytest.approx(160 - 8 / scale, abs=1.5)
    assert np.ptp(rows) - np.ptp(columns) == pytest.approx(40 / scale, abs=2)


def touch(browser: Any, kind: str, *points: tuple[int, int]) -> None:
    touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_one_finger_paints_and_two_zoom(browser: Any, app: App) -> None:
    resize(browser, 390, 844, 2, touch=True)
    id_ = show(browser, app, "plain.png")
    clear(browser)
    start, end = at(browser, 100, 100), at(browser, 200, 100)
    touch(browser, "touchStart", start)
    touch(browser, "touchMove", end)
    touch(browser, "touchEnd")
    saved(browser)
    mask = mask_of(app, id_)
    assert mask[100, 150]
    assert not mask[20, 20]
    x, y = at(browser, 160, 100)
    touch(browser, "touchStart", (x - 30, y))
    touch(browser, "touchStart", (x - 30, y), (x + 30, y))
    touch(browser, "touchMove", (x - 60, y), (x + 30, y))
    touch(browser, "touchMove", (x - 60, y), (x + 60, y))
    touch(browser, "touchEnd")
    saved(browser)
    assert (mask_of(app, id_) == mask).all(), "two fingers do not paint"
    left, right = at(browser, 0, 0)[0], at(browser, 320, 0)[0]
    assert right - left == pytest.approx(2 * (390 - 40), rel=0.1)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def type_into(browser: Any, name: str, text: str) -> None:
    field = by_id(browser, name)
    field.clear()
    field.send_keys(text)


def drawn(browser: Any, app: App, id_: str) -> dict[str, Any]:
    """Press Draw; return the try when it has ended."""
    before = len(app.tries(id_))
    by_id(browser, "draw").click()

    def ended() -> dict[str, Any] | None:
        tries = app.tries(id_)
        new = tries[-1] if len(tries) > before else None
        return new if new and new["state"] in ("done", "failed", "cancelled") else None

    return wait(browser, ended, "the try has ended", PATIENCE)


def stages(app: App, id_: str, number: int) -> set[str]:
    """What was told of the making of a try."""
    told = (event for event in app.events if event["type"] == "progress")
    return {each["stage"] for each in told if (each["photograph"], each["try"]) == (id_, number)}


SHOWN = """
window.shown = [];
const after = document.getElementById("after");
new MutationObserver(() => window.shown.push(after.getAttribute("src")))
  .observe(after, {attributeFilter: ["src"]});
const progress = document.getElementById("progress");
window.hiddenAt = [];
new MutationObserver(([{oldValue}]) => {
  if (oldValue === null && progress.hidden) window.hiddenAt.push(after.getAttribute("src"));
}).observe(progress, {attributeFilter: ["hidden"], attributeOldValue: true});
"""


def test_a_large_edit_is_seen_before_it_is_saved(browser: Any, app: App) -> None:
    noise = Image.effect_noise((3000, 2000), 60).convert("RGB")
    id_ = app.upload(png_of(noise), "large.png").json["id"]
    app.put(f"{path_of(id_)}/mask", box_mask(noise.size, (900, 600, 1500, 1100)))
    show(browser, app, "large.png")
    type_into(browser, "source", "a red apple on a table")
    type_into(browser, "prompt", "a green apple on a table")
    browser.execute_script(SHOWN)
    assert drawn(browser, app, id_)["state"] == "done"
    width = "return document.getElementById('after').naturalWidth"
    wait(browser, lambda: browser.execute_script(width) == 3000, "the photograph is shown")
    paths = [f"{path_of(id_)}/tries/1/{name}" for name in ("view", "picture")]
    assert browser.execute_script("return window.shown") == paths
    assert browser.execute_script("return window.hiddenAt") == paths[1:], "it tells of saving"


CANCEL_WHEN_SEEN = """
const after = document.getElementById("after");
new MutationObserver(() => document.querySelector("#tries input[aria-label*=', saving']")?.click())
  .observe(document.getElementById("tries"), {childList: true});
window.seen = false;
new MutationObserver(() => {
  if (window.seen || !after.getAttribute("src")?.endsWith("/view")) return;
  window.seen = true;
  document.getElementById("cancel").click();
}).observe(after, {attributeFilter: ["src"]});
"""


def test_what_is_cancelled_while_it_is_saved_is_not_shown_any_more(browser: Any, app: App) -> None:
    noise = Image.effect_noise((3000, 2400), 60).convert("RGB")
    id_ = app.upload(png_of(noise), "cancelled.png").json["id"]
    app.put(f"{path_of(id_)}/mask", box_mask(noise.size, (900, 600, 1500, 1100)))
    app.put(path_of(id_), {"source": "a red apple", "prompt": "a green apple"})
    show(browser, app, "cancelled.png")
    browser.execute_script(CANCEL_WHEN_SEEN)
    number = app.post(f"{path_of(id_)}/tries", {"settings": {}}).json["try"]  # another page does
    assert app.ended(id_, number)["state"] == "cancelled"
    assert browser.execute_script("return window.seen")
    after = "return document.getElementById('after').hasAttribute('src')"
    wait(browser, lambda: not browser.execute_script(after), "nothing is shown")
    assert app.get(f"{path_of(id_)}/tries/{number}/view").status == 404


def test_from_the_stroke_to_the_edit_and_back(browser: Any, app: App) -> None:
    id_ = show(browser, app, "drawn.png")
    type_into(browser, "source", "a red apple on a table")
    type_into(browser, "prompt", "a green apple on a table")
    drag(browser, (60, 60), (90, 90))
    first = drawn(browser, app, id_)
    assert first["state"] == "done", first
    wait(browser, lambda: by_id(browser, "after").is_displayed(), "the picture is shown")
    assert by_id(browser, "slider").accessible_name
    assert not by_id(browser, "model-bar").is_displayed(), "the model is loaded"
    photograph = picture(app, f"{path_of(id_)}/picture").astype(int)
    result = picture(app, f"{path_of(id_)}/tries/1/picture").astype(int)
    assert result.shape == photograph.shape
    changed = np.abs(result - photograph).max(axis=2) > 0
    rows, columns = np.nonzero(mask_of(app, id_))
    reach = 40  # the seam's width at this size is far below
    y, x = np.mgrid[:200, :200]
    far = (
        (y < rows.min() - reach) | (y > rows.max() + reach)
        | (x < columns.min() - reach) | (x > columns.max() + reach)
    )  # fmt: skip
    assert changed.any()
    assert not changed[far].any()
    # Another prompt: nothing is learned again, and the whole picture may change now.
    type_into(browser, "prompt", "a blue apple on a table")
    by_id(browser, "draw").send_keys(Keys.TAB)
    press(browser, Keys.DELETE)
    second = drawn(browser, app, id_)
    assert second["state"] == "done"
    assert stages(app, id_, 1) > stages(app, id_, 2), "what was learned is used again"
    assert not app.photograph("drawn.png")["mask"]
    wait(
        browser,
        lambda: by_id(browser, "chosen-title").text == "Try 2",
        "the second try is chosen",
    )
    # Back to the first: its prompt and its mask.
    items = browser.find_elements(By.CSS_SELECTOR, "#tries label")
    items[-1].click()
    wait(browser, lambda: by_id(browser, "chosen-title").text == "Try 1", "back at the first")
    assert by_id(browser, "prompt").get_property("value") == "a green apple on a table"
    saved(browser)
    assert mask_of(app, id_).any()
    content = app.get(f"{path_of(id_)}/tries/1/download").body
    with Image.open(io.BytesIO(content)) as file:
        assert file.size == (200, 200)
    # A reload loses nothing.
    browser.refresh()
    wait(
        browser,
        lambda: len(browser.find_elements(By.CSS_SELECTOR, "#tries label")) == 2,
        "both tries",
    )
    assert by_id(browser, "prompt").get_property("value") == "a green apple on a table"
    # A case of its own, and the result as a photograph.
    wait(browser, lambda: by_id(browser, "canvas").is_displayed(), "painting")
    browser.find_elements(By.CSS_SELECTOR, "#tries label")[0].click()
    wait(browser, lambda: by_id(browser, "save-case").is_displayed(), "what can be done")
    by_id(browser, "save-case").click()
    type_into(browser, "case-name", "apple")
    press(browser, Keys.ENTER)
    wait(browser, lambda: any(p["id"] == "apple" for p in app.state()["photographs"]), "case")
    by_id(browser, "further").click()
    wait(browser, lambda: by_id(browser, "name").text != "drawn.png", "the result is opened")
    assert by_id(browser, "source").get_property("value") == "a blue apple on a table"


def test_the_model_finds_the_place(browser: Any, app: App) -> None:
    id_ = show(browser, app, "drawn.png")
    type_into(browser, "source", "a red apple on a table")
    type_into(browser, "prompt", "a green apple on a table")
    clear(browser)
    how, find = Select(by_id(browser, "how")), by_id(browser, "find")
    place = by_id(browser, "place")
    for way, word in (("both", ""), ("word", "apple")):
        how.select_by_value(way)
        if word:
            type_into(browser, "word", word)
        browser.execute_script("document.activeElement.blur()")
        clear(browser)
        assert "whole picture" in place.text
        find.click()
        wait(browser, lambda: place.text.startswith("Only the marked"), "it is found", PATIENCE)
        assert find.is_enabled() and not by_id(browser, "progress").is_displayed()
        saved(browser)
        found = picture(app, f"{path_of(id_)}/found") >= 128
        assert found.any()
        assert (mask_of(app, id_) == found).all()
    # What was found is one step of the history.
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    assert "whole picture" in place.text
    type_into(browser, "word", "cow")
    find.click()
    wait(browser, lambda: "cow" in by_id(browser, "fault-line").text, "the fault is shown")
    browser.get_log("browser")  # the browser itself tells that a request was refused


def test_each_photograph_keeps_its_own_history(browser: Any, app: App) -> None:
    id_ = show(browser, app, "plain.png")
    clear(browser)
    press(browser, "b")
    drag(browser, (100, 100), (120, 100))
    press(browser, "j")
    wait(browser, lambda: by_id(browser, "name").text != "plain.png", "the next is opened")
    assert not by_id(browser, "canvas").get_attribute("hidden")
    press(browser, "k")
    wait(browser, lambda: by_id(browser, "name").text == "plain.png", "back")
    wait(browser, lambda: by_id(browser, "place").text.startswith("Only"), "its mask is shown")
    assert mask_of(app, id_).any()
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    saved(browser)
    assert not app.photograph("plain.png")["mask"]


def test_learning_can_be_cancelled(browser: Any, app: App) -> None:
    id_ = show(browser, app, "drawn.png")
    browser.find_element(By.CSS_SELECTOR, "#more summary").click()
    type_into(browser, "setting-train_lora_iter", "300")
    type_into(browser, "prompt", "a yellow apple on a table")
    by_id(browser, "draw").click()
    detail = by_id(browser, "progress-detail")
    wait(browser, lambda: "of 300 · loss" in detail.text, "loss is shown", PATIENCE)
    assert "left" in detail.text
    by_id(browser, "cancel").click()
    wait(browser, lambda: app.tries(id_)[-1]["state"] == "cancelled", "it is cancelled", PATIENCE)
    wait(browser, lambda: not by_id(browser, "progress").is_displayed(), "no progress")


def test_a_fault_is_one_line_and_the_page_goes_on(browser: Any, app: App, tmp_path: Path) -> None:
    show(browser, app, "plain.png")
    broken = tmp_path / "broken <b>.png"
    broken.write_bytes(b"no picture")
    by_id(browser, "files").send_keys(str(broken))
    fault = by_id(browser, "fault-line")
    wait(browser, fault.is_displayed, "the fault is shown")
    assert "broken <b>.png" in fault.text
    assert "\n" not in fault.text
    browser.get_log("browser")  # the browser itself tells that a request was refused
    by_id(browser, "fault-close").click()
    assert not fault.is_displayed()
    type_into(browser, "prompt", "")
    by_id(browser, "draw").click()
    assert fault.text == "Type what the picture should show."
    scene((64, 48), 9).save(tmp_path / "good.png")
    by_id(browser, "files").send_keys(str(tmp_path / "good.png"))
    wait(browser, lambda: by_id(browser, "name").text == "good.png", "the next is opened")


def test_names_and_prompts_are_text_and_two_tabs_agree(browser: Any, app: App) -> None:
    show(browser, app, ODD_NAME)
    type_into(browser, "prompt", HOSTILE.replace("\n", " "))
    saved(browser)
    assert browser.find_elements(By.CSS_SELECTOR, "img[src='x']") == []
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    show(browser, app, ODD_NAME)
    assert by_id(browser, "prompt").get_property("value") == HOSTILE.replace("\n", " ")
    type_into(browser, "source", "typed in the second tab")
    saved(browser)
    browser.close()
    browser.switch_to.window(first)
    source = by_id(browser, "source")
    wait(
        browser,
        lambda: source.get_property("value") == "typed in the second tab",
        "the first tab follows",
    )


def test_the_list_leads_to_every_photograph(browser: Any, app: App) -> None:
    show(browser, app, "plain.png")
    press(browser, "a")
    names = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#list b")]
    assert {"plain.png", "turned.jpg", "drawn.png", ODD_NAME} <= set(names)
    assert "can be run" in by_id(browser, "run-line").text
    browser.find_elements(By.CSS_SELECTOR, "#list button")[names.index("turned.jpg")].click()
    wait(browser, lambda: by_id(browser, "name").text == "turned.jpg", "it is opened")
    press(browser, "k", "j")
    wait(browser, lambda: by_id(browser, "name").text == "turned.jpg", "back and forth")
    press(browser, "?")
    assert by_id(browser, "keys").is_displayed()
    press(browser, Keys.ESCAPE)
    select = Select(by_id(browser, "how"))
    select.select_by_value("word")
    assert by_id(browser, "word").is_displayed()


def test_no_request_leaves_the_machine(browser: Any, app: App) -> None:
    browser.get_log("performance")
    show(browser, app, "plain.png")
    asked = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert len(asked) > 10
    assert {url for url in asked if not url.startswith((app.origin, "data:", "about:"))} == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser: Any, app: App, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    show(browser, app, "drawn.png")
    browser.find_element(By.CSS_SELECTOR, "#more summary").click()
    for tried in browser.find_elements(By.CSS_SELECTOR, "#tries label")[:1]:
        tried.click()
    assert barriers(browser) == []
    press(browser, "a")
    assert barriers(browser) == []
    press(browser, Keys.ESCAPE, "?")
    assert barriers(browser) == []
    press(browser, Keys.ESCAPE)
    resize(browser, 390, 844, 2, touch=True)
    assert barriers(browser) == []
