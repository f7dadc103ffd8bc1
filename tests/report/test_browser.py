"""The page in a real browser: everything on it works, offline and without a complaint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from editinfinity.results.report.make import make_report
from tests.report.browser import barriers, chromium, require_chromium
from tests.report.made import HOSTILE, load, make_data, make_results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Six cases of every kind: masks, a word, a sweep, a fault, a hostile prompt, an odd name."""
    require_chromium()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        make_data("apple", "a green apple on a hill", mask=True)
        make_data("boat", "a cat on a hill", word="dog", size=(120, 200))
        make_data("case 10", "a horse on a hill")
        make_data("case 9", HOSTILE)
        make_data("was it?#%20<I>", "a cow")
        make_data("broken")
        config, cases = load(overrides={"apple": {"cfg": [3, 4, 5]}})
        make_results(config, cases, failed={"broken": "broken: <b>no</b> picture; replace it"})
        yield make_report(config, cases).absolute()


@pytest.fixture(scope="module")
def session(page: Path) -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(session: Any, page: Path) -> Iterator[Any]:
    """The page, fresh; nothing may have been complained of at the end."""
    session.get("about:blank")
    session.get_log("performance")
    session.get(page.as_uri())
    session.execute_script("localStorage.clear()")
    yield session
    assert session.get_log("browser") == []


def titles(browser: Any) -> list[str]:
    return [title.text for title in browser.find_elements(By.CSS_SELECTOR, "#gallery .open")]


def card(browser: Any, name: str) -> Any:
    found = browser.find_elements(By.CSS_SELECTOR, "#gallery .card")
    return next(each for each in found if each.find_element(By.TAG_NAME, "bdi").text == name)


def clip(frame: Any) -> str:
    return frame.find_element(By.CSS_SELECTOR, ".after").value_of_css_property("clip-path")


def press(browser: Any, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def test_a_slider_follows_mouse_and_keyboard(browser: Any) -> None:
    frame = card(browser, "apple").find_element(By.CSS_SELECTOR, ".frame")
    slider = frame.find_element(By.CSS_SELECTOR, "input[type=range]")
    assert "apple" in slider.accessible_name
    assert clip(frame).endswith("50%)")
    quarter = round(frame.size["width"] / 4)
    ActionChains(browser).move_to_element(frame).click_and_hold().move_by_offset(
        quarter, 0
    ).release().perform()
    assert 73 <= int(slider.get_attribute("value")) <= 77
    assert clip(frame).endswith(f"{slider.get_attribute('value')}%)")
    at = int(slider.get_attribute("value"))
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert int(slider.get_attribute("value")) == at - 2
    assert clip(frame).endswith(f"{at - 2}%)")
    assert slider.get_attribute("aria-valuetext") == f"{at - 2} % photograph"


def test_filters_search_and_sorting(browser: Any) -> None:
    assert len(titles(browser)) == 6
    browser.find_element(By.XPATH, "//label[span[text()='Failed 1']]").click()
    assert titles(browser) == ["broken"]
    assert "<b>no</b> picture" in card(browser, "broken").text
    browser.find_element(By.XPATH, "//label[span[text()='All 6']]").click()
    Select(browser.find_element(By.ID, "masks")).select_by_value("attention")
    assert titles(browser) == ["boat"]
    Select(browser.find_element(By.ID, "masks")).select_by_value("all")
    press(browser, "/")
    press(browser, "GREEN apple")
    assert titles(browser) == ["apple"]
    press(browser, " nothing")
    assert titles(browser) == []
    browser.find_element(By.ID, "reset").click()
    assert len(titles(browser)) == 6
    sort = Select(browser.find_element(By.ID, "sort"))
    sort.select_by_value("name")
    assert titles(browser)[2:5] == ["broken", "case 9", "case 10"], "numbers by their size"
    sort.select_by_value("faults")
    assert titles(browser)[0] == "broken"
    sort.select_by_value("background_psnr")
    assert titles(browser)[0] == "was it?#%20<I>"
    assert titles(browser)[-1] == "broken", "without a number it comes last"
    assert browser.find_element(By.ID, "count").get_attribute("role") == "status"


def test_an_edit_in_full_with_views_layers_and_variants(browser: Any) -> None:
    card(browser, "apple").find_element(By.CSS_SELECTOR, ".open").click()
    dialog = browser.find_element(By.ID, "detail")
    assert dialog.is_displayed()
    assert browser.switch_to.active_element.is_displayed()
    assert browser.current_url.endswith("#apple/edit")
    # The full picture has taken the place of the small one: it is let in from beside the page.
    WebDriverWait(browser, 10).until(
        lambda _: (
            dialog.find_element(By.CSS_SELECTOR, ".after img")
            .get_attribute("src")
            .endswith("/results/apple/edit.png")
        )
    )
    text = dialog.text
    for words in ("a dog on a hill", "Background PSNR", "20.0 dB", "no weights", "LoRA", "912 MB"):
        assert words in text, words
    chart = dialog.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert [each.get_attribute("role") for each in chart] == ["img", "img"]
    press(browser, "2")
    assert len(dialog.find_elements(By.CSS_SELECTOR, ".views > .frame")) == 2
    press(browser, "1", "m", "g")
    assert len(dialog.find_elements(By.CSS_SELECTOR, ".over.mask, .over.kernel")) == 2
    strip = dialog.find_elements(By.CSS_SELECTOR, ".strip label")
    assert [each.text.splitlines()[0] for each in strip[1:]] == [
        "cfg3 chosen · 20.0 dB",
        "cfg4 20.1 dB",
        "cfg5 20.2 dB",
    ]
    strip[3].click()
    after = dialog.find_element(By.CSS_SELECTOR, ".after img")
    before = dialog.find_element(By.CSS_SELECTOR, ".before img")
    assert after.rect["width"] == pytest.approx(0.8 * before.rect["width"], rel=0.01)
    assert "20.2 dB" in dialog.find_element(By.CSS_SELECTOR, ".panel").text
    press(browser, "j")
    assert dialog.find_element(By.ID, "detail-title").text.startswith("boat")
    assert dialog.find_element(By.XPATH, ".//label[span[text()='Attention']]")
    press(browser, Keys.ESCAPE)
    assert not dialog.is_displayed()
    # A dialog's `close` event comes a moment after it has closed; the focus moves with the event.
    WebDriverWait(browser, 10).until(
        lambda _: browser.switch_to.active_element.text == "boat", "the focus where the person was"
    )


def opened(browser: Any) -> str:
    """Which edit is shown in full."""
    return browser.find_element(By.CSS_SELECTOR, "#detail-title bdi").text


def test_the_focus_stays_on_the_button_that_was_pressed(browser: Any) -> None:
    card(browser, "apple").find_element(By.CSS_SELECTOR, ".open").click()
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Previous (k)']").send_keys(Keys.TAB)
    for name in ("boat", "broken"):
        press(browser, Keys.ENTER)
        assert opened(browser) == name
        assert browser.switch_to.active_element.accessible_name == "Next (j)"
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    press(browser, Keys.ENTER)
    assert opened(browser) == "boat"
    assert browser.switch_to.active_element.accessible_name == "Previous (k)"
    mode = browser.find_element(By.CSS_SELECTOR, "#detail input[value=side]")
    mode.send_keys(Keys.SPACE, "k")
    assert opened(browser) == "apple"
    assert browser.switch_to.active_element.get_attribute("value") == "side"


@pytest.mark.parametrize(("key", "name"), [("j", "apple"), ("k", "was it?#%20<I>")])
def test_from_an_edit_that_the_filter_hides_keys_go_to_the_ends(
    browser: Any, key: str, name: str
) -> None:
    browser.find_element(By.XPATH, "//label[span[starts-with(text(), 'Edited')]]").click()
    assert "broken" not in titles(browser)
    browser.execute_script("location.hash = 'broken/edit'")
    WebDriverWait(browser, 10).until(
        lambda _: browser.find_element(By.ID, "detail").is_displayed(), "opened by its address"
    )
    assert opened(browser) == "broken"
    press(browser, key)
    assert opened(browser) == name


LONG_REASON = """
const reason = arguments[0].querySelector(".reason");
reason.textContent = "a reason of many words ".repeat(40);
const style = getComputedStyle(reason);
return [reason.clientHeight - parseFloat(style.paddingTop), 5 * parseFloat(style.lineHeight)];
"""


def test_a_long_reason_ends_with_its_last_line(browser: Any) -> None:
    seen, lines = browser.execute_script(LONG_REASON, card(browser, "broken"))
    assert seen == pytest.approx(lines, abs=1), "what is clipped begins right below the fifth"


def test_a_link_opens_an_edit_and_odd_names_have_working_links(browser: Any, page: Path) -> None:
    name = "was it?#%20<I>"
    card(browser, name).find_element(By.CSS_SELECTOR, ".open").click()
    address = browser.current_url
    links = browser.find_elements(By.CSS_SELECTOR, "#detail .files a")
    targets = {link.text: link.get_attribute("href") for link in links}
    browser.get("about:blank")
    browser.get(address)
    assert browser.find_element(By.ID, "detail-title").text.startswith(name)
    browser.get(targets["Result"])
    assert browser.find_element(By.TAG_NAME, "img").get_property("naturalWidth") == 160


def test_hostile_prompts_are_text(browser: Any) -> None:
    assert HOSTILE in card(browser, "case 9").find_element(By.CSS_SELECTOR, ".prompt").text
    assert "broken in" not in browser.title


def test_keys_go_from_picture_to_picture(browser: Any) -> None:
    press(browser, Keys.ARROW_RIGHT)
    assert browser.switch_to.active_element.text == "apple"
    press(browser, Keys.ARROW_RIGHT)
    assert browser.switch_to.active_element.text == "boat"
    press(browser, Keys.ENTER)
    assert browser.find_element(By.ID, "detail").is_displayed()
    press(browser, Keys.ESCAPE, "?")
    assert browser.find_element(By.ID, "keys").is_displayed()


def test_it_asks_for_nothing_from_elsewhere(browser: Any) -> None:
    card(browser, "apple").find_element(By.CSS_SELECTOR, ".open").click()
    asked = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert asked, "the page itself at least"
    assert {address.partition(":")[0] for address in asked} <= {"file", "data"}
    policy = browser.find_element(By.CSS_SELECTOR, "meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def nameless(place: Any) -> list[str]:
    controls = place.find_elements(By.CSS_SELECTOR, "button, select, input, a, summary")
    return [
        each.get_attribute("outerHTML")[:200]
        for each in controls
        if each.is_displayed() and not each.accessible_name.strip()
    ]


def test_everything_has_a_name(browser: Any) -> None:
    assert not nameless(browser)
    images = browser.find_elements(By.CSS_SELECTOR, "#gallery .before img, #gallery .after img")
    assert images
    assert all(image.get_attribute("alt") for image in images)
    card(browser, "apple").find_element(By.CSS_SELECTOR, ".open").click()
    dialog = browser.find_element(By.ID, "detail")
    assert dialog.accessible_name.startswith("apple")
    assert not nameless(dialog)


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_barrier(page: Path, dark: bool) -> None:
    with chromium(dark=dark) as browser:
        browser.get(page.as_uri())
        assert barriers(browser) == []
        card(browser, "apple").find_element(By.CSS_SELECTOR, ".open").click()
        assert barriers(browser) == []


LIGHTNESS = """
const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
return (r + g + b) / 3;
"""


def test_colours_follow_the_system_and_a_button(page: Path) -> None:
    with chromium(dark=True) as browser:
        browser.get(page.as_uri())
        assert browser.execute_script(LIGHTNESS) < 60
        browser.find_element(By.ID, "theme").click()
        assert browser.execute_script(LIGHTNESS) > 200
        browser.refresh()
        assert browser.execute_script(LIGHTNESS) > 200, "it is remembered"
        assert browser.get_log("browser") == []


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page: Path) -> None:
    with chromium(390, 844) as browser:
        browser.get(page.as_uri())
        wide = "return document.documentElement.scrollWidth"
        assert browser.execute_script(wide) <= 390
        card(browser, "apple").find_element(By.CSS_SELECTOR, ".open").click()
        dialog = browser.find_element(By.ID, "detail")
        assert browser.execute_script("return arguments[0].scrollWidth", dialog) <= 390
        assert dialog.find_element(By.CSS_SELECTOR, ".views .frame").size["width"] > 300
        assert browser.get_log("browser") == []
