"""*Run all* in a real browser: progress, a change meanwhile, what fails, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.running import QUICK, App, path_of, png_of
from tests.app.test_browser import PATIENCE, by_id, press, saved, show, type_into, wait
from tests.report.browser import chromium, require_chromium
from tests.report.made import scene

pytestmark = pytest.mark.slow


def test_a_folder_is_run_from_the_page(tmp_path: Path) -> None:
    require_chromium()
    pytest.importorskip("starlette")
    photos = tmp_path / "photos"
    photos.mkdir()
    scene((96, 64), 1).save(photos / "good.png")
    content = png_of(scene((300, 200), 2), compress_level=0)
    (photos / "damaged.png").write_bytes(content[: len(content) // 2])
    app = App.start("photos", *QUICK, cwd=tmp_path)
    try:
        for name in ("good.png", "damaged.png"):
            texts = {"source": "a tree", "prompt": "a house"}
            assert app.put(path_of(app.photograph(name)["id"]), texts).status == 200
        with chromium(1280, 800) as browser:
            browser.get(f"{app.origin}/?token={app.token}")
            run_and_look(browser, app)
    finally:
        status, errors = app.close()
    assert (status, errors) == (0, "")


def run_and_look(browser: Any, app: App) -> None:
    show(browser, app, "good.png")
    press(browser, "a")
    line = by_id(browser, "run-line")
    assert line.text == "2 of 2 have a prompt and can be run."
    by_id(browser, "run").click()
    wait(browser, lambda: "steps" in line.text, "the run makes progress", PATIENCE)
    assert line.text.startswith("Running · ")
    names = ("good.png: ", "damaged.png: ")
    wait(browser, lambda: any(name in line.text for name in names), "it names the photograph")
    assert by_id(browser, "run-bar").is_displayed() and by_id(browser, "run-cancel").is_displayed()
    assert not by_id(browser, "run").is_displayed()

    # A change meanwhile waits for the end of the run, also if another photograph is shown.
    press(browser, Keys.ESCAPE)
    type_into(browser, "prompt", "a ship")
    browser.execute_script("document.activeElement.blur()")
    fault = by_id(browser, "fault-line")
    wait(browser, lambda: "Your change is kept on this page" in fault.text, "it is told")
    assert fault.text.startswith("good.png: is in use by a run") and "\n" not in fault.text
    assert app.photograph("good.png")["prompt"] == "a house"
    press(browser, "j")
    wait(browser, lambda: by_id(browser, "name").text == "damaged.png", "the other is shown")
    press(browser, "k")
    wait(browser, lambda: by_id(browser, "name").text == "good.png", "back")
    assert by_id(browser, "prompt").get_property("value") == "a ship"
    wait(browser, lambda: app.photograph("good.png")["prompt"] == "a ship", "saved", PATIENCE)
    wait(browser, lambda: not fault.is_displayed(), "nothing is unsaved")

    # The photograph that failed, its reason, and the way to it.
    wait(browser, lambda: app.state()["run"]["state"] == "failed", "the end", PATIENCE)
    press(browser, "a")
    wait(browser, lambda: line.text == "1 of 2 photographs could not be edited", "the result")
    (failed,) = browser.find_elements(By.CSS_SELECTOR, "#run-failed li")
    assert failed.text.startswith("damaged.png: is damaged")
    assert by_id(browser, "report").is_displayed() and by_id(browser, "run").is_displayed()
    failed.find_element(By.TAG_NAME, "button").click()
    wait(browser, lambda: by_id(browser, "name").text == "damaged.png", "it is shown")
    assert not by_id(browser, "photographs").is_displayed()
    saved(browser)

    browser.get_log("browser")  # the browser itself tells that requests were refused
    browser.get(by_id(browser, "report").get_property("href"))
    wait(browser, lambda: "good" in browser.find_element(By.TAG_NAME, "main").text, "the report")
    assert browser.get_log("browser") == []
