"""The report in headless Chromium: read by anyone, led through by keys and searches, plain about what is not there.

``make test-browser`` runs these. Fixtures as of `browser_case` and `gaze_page`; what is drawn:
``test_report_drawing_browser.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from browser_case import AA, CONTRAST, LAPTOP, PHONE, check_accessible, chromium, press, screenshot, settle, visit
from gaze_page import cache, only, pixels, report
from memory_source import HEIGHT, WIDTH
from report_case import EVIL, KNOWN, MANY, build_case
from synthetic import write_cache

from gazekit.cache import open_cache
from gazekit.errors import REASONS
from gazekit.predicted import PredictedGaze, write_predicted_cache
from gazekit.report import write_report

pytestmark = pytest.mark.browser
__all__ = ["cache", "chromium", "report", "visit"]  # fixtures


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_text_has_contrast_controls_have_names_and_nothing_overflows(visit, report, size, scheme):
    page = visit(report, size=size, scheme=scheme)
    for place in ("grid", "reading"):
        if place == "reading":
            page.locator("#cards a").first.click()
            settle(page)
            for details in page.locator("#viewer details").all():
                details.evaluate("(e) => { e.open = true; }")
        check_accessible(page)
        screenshot(page, f"report-{place}-{size[0]}-{scheme}")


def test_headings_landmarks_and_language_are_there(visit, report):
    page = visit(report)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == page.locator("main").count() == page.locator("header").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the readings"
    page.locator("#cards a").first.click()
    settle(page)
    levels = page.evaluate(
        """() => [...document.querySelectorAll('h1, h2, h3')]
        .filter((e) => e.checkVisibility()).map((e) => +e.tagName[1])"""
    )
    assert levels[0] == 2
    assert max(np.diff(levels)) <= 1


def test_every_key_is_in_the_help_which_opens_anywhere_and_closes_alone(visit, report):
    page = visit(report, KNOWN)
    page.locator("#viewer").focus()
    press(page, "?")
    help_ = page.locator("#help")
    assert help_.is_visible()
    told = help_.locator("kbd").all_inner_texts()
    names = {" ": "space", "ArrowLeft": "\u2190", "ArrowRight": "\u2192", "ArrowUp": "\u2191", "ArrowDown": "\u2193",
             "Escape": "Esc", "=": "+"}  # fmt: skip
    keys = page.evaluate("() => [KEYS, GRID_KEYS, LAYER_KEYS].flatMap(Object.keys)")
    assert {names.get(key, key) for key in keys} <= set(told)
    weak = [(text, ratio) for text, ratio, _ in page.evaluate(CONTRAST) if ratio < AA]
    assert weak == []
    screenshot(page, "report-keys")
    press(page, "h", "Escape")
    assert help_.is_hidden()
    assert page.locator("#show-heat").is_checked(), "a key did something behind the help"
    assert page.locator("#viewer").is_visible()
    press(page, "Escape")
    page.locator("#filters .ask").click()
    assert help_.is_visible()
    page.locator("#help-close").click()
    assert help_.is_hidden()


def test_arrows_go_from_card_to_card_and_a_slash_to_the_search(visit, report):
    page = visit(report)
    focused = lambda: page.evaluate("() => document.activeElement.querySelector('b')?.textContent")  # noqa: E731
    press(page, "ArrowRight")
    assert focused() == "99R-a1"
    press(page, "ArrowRight", "ArrowRight")
    assert focused() == "99R-a3"
    press(page, "End")
    assert focused() == "99R-gone"
    press(page, "Home", "/")
    assert page.evaluate("() => document.activeElement.id") == "search"
    page.keyboard.type("?/known")
    assert page.locator("#search").input_value() == "?/known", "keys are text while one types"
    page.locator("#search").fill("known")
    press(page, "ArrowDown", "Enter")
    assert page.locator("#viewer-title").inner_text() == KNOWN


def test_the_skip_link_stays_in_the_reading(visit, report):
    page = visit(report, KNOWN)
    for reading, place in ((KNOWN, "viewer"), ("", "main")):
        page.locator(".skip").focus()
        press(page, "Enter")
        assert page.evaluate("() => document.activeElement.id") == place
        assert page.locator("#viewer").is_visible() == bool(reading)
        assert page.evaluate("() => location.hash.slice(1)") == reading
        press(page, "Escape")


def test_a_table_of_merged_samples_is_called_one_of_groups(visit, report):
    page = visit(report, KNOWN)
    summary = page.locator("#table > summary")
    assert summary.inner_text() == "Fixations as a table"
    for looks, words in ((3, "Samples"), (5000, "Groups of samples")):
        page.evaluate("(looks) => fillTable(Object.assign(viewer.reading, { samples: true, looks }))", looks)
        assert summary.inner_text() == f"{words} as a table"


def test_keys_play_step_switch_layers_and_lead_back_to_the_card(visit, report):
    page = visit(report)
    card = page.locator("#cards a", has_text=KNOWN)
    card.focus()
    press(page, "Enter")
    assert page.locator("#viewer-title").inner_text() == KNOWN
    press(page, "Home", "Space")
    page.wait_for_function("() => replay.time > 0.1")
    press(page, "Space")
    stopped = page.evaluate("() => [replay.time, replay.playing]")
    assert stopped[1] is False
    press(page, "End", "ArrowLeft")
    assert page.evaluate("() => replay.time") == pytest.approx(2.0, abs=1e-6)
    assert "fixation 3 of 3" in page.locator("#time").get_attribute("aria-valuetext")
    press(page, "h")
    assert not page.locator("#show-heat").is_checked()
    assert page.locator("#said").inner_text() == "Heat hidden"
    press(page, "]")
    assert page.locator("#viewer-title").inner_text() == MANY
    press(page, "[")
    press(page, "[")
    press(page, "c", "c")
    assert page.locator("#panels canvas").count() == 3
    press(page, "Escape")
    assert page.locator("#overview").is_visible()
    assert "99R-a3" in page.evaluate("() => document.activeElement.textContent")


def test_the_replay_plays_to_its_end_at_the_chosen_speed(visit, report):
    page = visit(report, KNOWN)
    page.locator("#speed").select_option("0.25")  # nine seconds: time to see the button's word on a busy machine
    page.locator("#play").click()
    page.wait_for_function("() => document.querySelector('#play').innerText === 'Pause'")
    page.locator("#speed").select_option("8")
    page.wait_for_function("() => !replay.playing")
    settle(page)
    assert page.locator("#now").inner_text() == "2.3 of 2.3 s"
    assert page.locator("#play").inner_text() == "Play"


def test_the_time_slider_scrubs_and_words_lead_to_their_moment(visit, report):
    page = visit(report, KNOWN)
    page.locator("#time").fill("1.1")
    settle(page)
    assert page.locator("#now").inner_text() == "1.1 of 2.3 s"
    assert page.locator(".word.now").inner_text().startswith('"></script>')
    page.locator(".word").first.click()
    settle(page)
    assert page.evaluate("() => replay.time") == pytest.approx(0.1)


def test_search_and_filters_find_readings_and_say_when_there_are_none(visit, report):
    page = visit(report)
    shown = lambda: [text.splitlines()[0] for text in page.locator("#cards .about").all_inner_texts()]  # noqa: E731
    assert len(shown()) == 6
    page.locator("#search").fill("known")
    assert shown() == [KNOWN]
    page.locator("#search").fill("")
    page.locator("#by-split").select_option("test")
    assert shown() == [KNOWN, MANY]
    page.locator("#by-split").select_option("")
    page.locator("#by-reader").select_option("two")
    assert shown() == ["99R-a2"]
    page.locator("#by-reader").select_option("")
    page.locator("#by-flag").select_option("discarded")
    assert shown() == ["99R-gone"]
    page.locator("#by-flag").select_option("")
    page.locator("#order").select_option("looks")
    assert shown()[0] == MANY
    page.locator("#search").fill("nothing like it")
    assert shown() == []
    assert page.locator("#count").inner_text() == "No reading matches."


def test_readers_stand_side_by_side_with_their_agreement(visit, report):
    page = visit(report, "99R-a1")
    page.get_by_role("button", name="Side by side").click()
    settle(page)
    assert page.locator("#panels canvas").count() == 3
    assert page.locator("#agreement tbody tr").count() == 6
    screenshot(page, "report-side-by-side")
    assert page.locator("#agreement h3").bounding_box()["y"] < page.locator("#layers").bounding_box()["y"]
    tops = {panel["y"] for panel in (canvas.bounding_box() for canvas in page.locator("#panels canvas").all())}
    assert len(tops) == 1, "three readers stand in one row, however long their names are"
    lines = page.locator("#agreement .number").evaluate_all(
        """cells => cells.map(cell => {
            const text = document.createRange();
            text.selectNodeContents(cell);
            return text.getClientRects().length;
        })"""
    )
    assert lines == [1] * 18, "no number is broken"
    page.locator("#time").fill("0.5")
    page.get_by_role("button", name="All 3 together").click()
    settle(page)
    assert page.locator("#panels canvas").count() == 1
    assert page.evaluate("() => replay.time") == pytest.approx(0.5), "the moment stays while views change"


def test_hostile_text_stays_text(visit, report):
    page = visit(report, KNOWN)
    assert EVIL in page.locator("#transcript").evaluate("(e) => e.textContent")
    assert page.locator("#labelled li").evaluate("(e) => e.textContent") == EVIL
    assert page.locator("img, #viewer script, #overview script").count() == 0
    screenshot(page, "report-hostile-text")
    press(page, "Escape")
    assert any("<script>" in text for text in page.locator("#by-reader option").all_text_contents())


def test_a_reading_without_gaze_says_so(visit, report):
    page = visit(report, "99R-gone")
    assert "There is no gaze for this image" in page.locator("#viewer-note").inner_text()
    assert page.locator("#transport").is_hidden()
    assert pixels(page).sum() > 0


def test_predicted_gaze_is_called_predicted_and_has_no_replay(visit, cache, tmp_path):
    row = cache.ids.index("99b")
    prediction = PredictedGaze(np.array([[40.0, 30, 8, 8, 1, 0, 0, WIDTH, HEIGHT]]), 0.625)
    write_predicted_cache(cache, tmp_path / "predicted", [(row, prediction)], predictor={"name": "invented"})
    write_report(open_cache(tmp_path / "predicted"), tmp_path / "r.html")
    page = visit(tmp_path / "r.html")
    assert "1 row of this cache has predicted gaze" in page.locator("#notes").inner_text()
    page.locator("#cards a", has_text="predicted gaze, confidence 0.6").click()
    settle(page)
    assert "Nobody looked at this image" in page.locator("#viewer-note").inner_text()
    assert page.locator("#transport").is_hidden()
    only(page, "fixations", "path")
    assert pixels(page).sum() == 0


def test_empty_caches_and_caches_of_failures_say_so(visit, tmp_path):
    from memory_source import Spec

    write_report(open_cache(write_cache(tmp_path / "empty", images=0)), tmp_path / "e.html")
    page = visit(tmp_path / "e.html")
    assert "This cache is empty" in page.locator("#notes").inner_text()
    failed = build_case(tmp_path, [Spec("99e", "99R-bad", fault="bad_table")])
    write_report(open_cache(failed), tmp_path / "f.html")
    page = visit(tmp_path / "f.html")
    assert "everything was left out" in page.locator("#notes").inner_text()
    assert "bad_table" in page.locator("#failures td").all_inner_texts()
    assert page.locator("#reasons dd").inner_text() == REASONS["bad_table"]
    screenshot(page, "report-failures-only")


def test_pages_are_linked(visit, cache, tmp_path):
    write_report(cache, tmp_path / "r.html", readings_a_page=2)
    page = visit(tmp_path / "r.html")
    page.get_by_role("link", name="Next page").click()
    page.wait_for_load_state()
    assert page.url.endswith("r-2.html")
    assert page.locator("#pages [aria-current]").inner_text() == "2"


def test_a_reading_on_another_page_is_found_by_its_id_and_by_its_address(visit, cache, tmp_path):
    write_report(cache, tmp_path / "r.html", readings_a_page=2)
    page = visit(tmp_path / "r.html")
    assert "on this page, 1 of 3" in page.locator("#count").inner_text()
    page.locator("#search").fill("known")
    assert page.locator("#cards li").count() == 0
    page.locator("#elsewhere a").click()
    page.wait_for_url("**/r-2.html#99R-known")
    assert page.locator("#viewer-title").inner_text() == KNOWN
    page = visit(tmp_path / "r.html", "99R-gone")
    page.wait_for_url("**/r-3.html#99R-gone")
    assert page.locator("#viewer-title").inner_text() == "99R-gone"


def test_what_was_left_out_is_one_click_from_its_number(visit, report):
    page = visit(report)
    page.locator("#figures a").click()
    assert page.locator("#failures table").is_visible()
    assert page.locator("#overview").is_visible()
