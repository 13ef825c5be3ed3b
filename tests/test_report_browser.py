"""The report in a real browser: headless Chromium, as of `browser_case`. ``make test-browser`` runs these."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from browser_case import AA, CONTRAST, LAPTOP, PHONE, check_accessible, chromium, press, screenshot, settle, visit
from PIL import Image
from report_case import EVIL, KNOWN, KNOWN_XY, MANY, build_case
from synthetic import write_cache

from gazekit.cache import open_cache
from gazekit.errors import REASONS
from gazekit.predicted import PredictedGaze, write_predicted_cache
from gazekit.prior import patch_mass, total_mass
from gazekit.report import write_report

pytestmark = pytest.mark.browser
__all__ = ["chromium", "visit"]  # fixtures

WIDTH, HEIGHT = 90, 70


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return open_cache(build_case(tmp_path_factory.mktemp("browser")))


@pytest.fixture(scope="module")
def report(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "r.html"
    write_report(cache, out)
    return out


def pixels(page, index=0):
    """(H, W, 3) of a panel's canvas."""
    address = page.evaluate("(k) => viewer.panels[k].canvas.toDataURL()", index)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def only(page, *layers):
    """Switch all layers off but some."""
    for layer in ("xray", "heat", "fixations", "path", "shown", "marks", "patches", "partition"):
        page.locator(f"#show-{layer}").set_checked(layer in layers)
    settle(page)


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


def test_a_known_fixation_is_drawn_at_its_known_place(visit, report):
    page = visit(report, KNOWN)
    only(page, "fixations")
    page.locator("#viewer").focus()
    press(page, "Home", "ArrowRight", "ArrowRight")
    assert page.locator("#now").inner_text() == "1.0 of 2.3 s"
    drawn = pixels(page)
    height, width = drawn.shape[:2]
    scale = width / WIDTH
    lit = drawn.sum(axis=2) > 0
    lit[:, : int(45 * scale)] = False  # the first fixation lies in the left half
    rows, cols = np.nonzero(lit)
    # pixel i of the image covers [i, i + 1) of the canvas' scale
    assert (cols.min() + cols.max() + 1) / 2 == pytest.approx((KNOWN_XY[0] + 0.5) * scale, abs=1)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx((KNOWN_XY[1] + 0.5) * height / HEIGHT, abs=1)
    first = pixels(page)[int(50.5 * scale), int(20.5 * scale)]
    assert first.sum() > 0
    assert pixels(page)[int(52.5 * scale), int(30.5 * scale)].sum() == 0, "the third has not begun"


def test_longer_fixations_have_larger_circles(visit, report):
    page = visit(report, KNOWN)
    radii = page.evaluate("() => [0.1, 0.4].map((d) => fixationRadius(d, { longer: 1000 }))")
    assert radii[1] == pytest.approx(2 * radii[0])


@pytest.mark.parametrize("time", [None, 1.25, 2.15])
def test_heat_is_the_exact_mass_of_each_cell_at_any_moment(visit, report, cache, time):
    page = visit(report, KNOWN)
    rows, cols, values = page.evaluate(
        "(time) => { const { rows, cols, map } = heatMap([viewer.reading], time); return [rows, cols, [...map]]; }",
        time,
    )
    table = cache.fixations(cache.ids.index("99b"))
    gaussians = table[:, :9].copy()
    gaussians[:, 4] /= total_mass(gaussians, (HEIGHT, WIDTH))
    if time is not None:
        gaussians[:, 4] *= np.clip((time - table[:, 10]) / (table[:, 11] - table[:, 10]), 0, 1)
    edges = [np.linspace(-0.5, n - 0.5, k + 1) for n, k in ((WIDTH, cols), (HEIGHT, rows))]
    expected = patch_mass(gaussians, *edges) * rows * cols
    np.testing.assert_allclose(np.reshape(values, (rows, cols)), expected, atol=2e-5 * expected.max())


def test_heat_of_the_replay_may_be_rewound(visit, report):
    page = visit(report, MANY)
    same = page.evaluate("""() => { const heat = heatOf(viewer.reading), { end } = gazeOf(viewer.reading);
      const once = heat.upTo(end / 3).slice(); heat.upTo(end); const again = heat.upTo(end / 3);
      return [Math.max(...once), Math.max(...once.map((v, k) => Math.abs(v - again[k])))]; }""")
    assert same[0] > 0
    assert same[1] < 1e-6 * same[0]


def test_a_scanpath_that_grew_or_was_rewound_is_the_one_drawn_at_once(visit, report):
    page = visit(report, MANY)
    only(page, "fixations", "path")
    wandered = []
    for share in (0.31, 0.9, 0.32, 0.02, 0.55, 1.0, 0.31):
        page.evaluate("(share) => seek(share * replay.end)", share)
        settle(page)
        wandered.append(pixels(page))
    fresh = visit(report, MANY)
    only(fresh, "fixations", "path")
    for share, drawn in ((0.31, wandered[-1]), (0.55, wandered[4])):
        fresh.evaluate("(share) => { viewer.panels[0].trails.clear(); seek(share * replay.end); }", share)
        settle(fresh)
        differs = np.abs(pixels(fresh) - drawn).max(axis=2) > 48
        assert drawn.sum() > 0
        assert differs.mean() < 0.002, "more than soft edges differ"


def test_heat_grows_with_the_replay_unless_the_whole_reading_is_asked_for(visit, report):
    page = visit(report, KNOWN)
    only(page, "heat")
    whole = pixels(page).sum()
    press(page, "Home")
    assert pixels(page).sum() == 0
    page.locator("#time").fill("1.2")
    settle(page)
    assert 0 < pixels(page).sum() < whole
    page.locator("#viewer").focus()
    press(page, "w")
    assert pixels(page).sum() == whole
    assert page.locator("#said").inner_text() == "heat of the whole reading"


def test_numbers_do_not_lie_on_each_other_and_the_newest_is_there(visit, report):
    page = visit(report, MANY)
    placed = page.evaluate("""() => { const drawn = [];
      const { to } = viewer.panels[0], context = document.createElement("canvas").getContext("2d");
      context.strokeText = () => {};
      context.fillText = (text, x, y) => drawn.push([text, x, y, context.measureText(text).width]);
      numberFixations(context, viewer.reading, 0, gazeOf(viewer.reading).n, to);
      return drawn; }""")
    assert placed[0][0] == "1000"
    assert len(placed) > 10
    for k, (_, x, y, width) in enumerate(placed):
        for _, other_x, other_y, other_width in placed[:k]:
            assert abs(x - other_x) > 0.45 * (width + other_width) or abs(y - other_y) > 8


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


def test_colour_bars_have_round_ticks_in_the_chosen_unit(visit, report):
    page = visit(report, KNOWN)
    for top, expected in ((26, [0, 10, 20]), (0.37, [0, 0.1, 0.2, 0.3]), (5, [0, 2, 4]), (1, [0, 0.5, 1])):
        assert page.evaluate("(top) => ticksTo(top)", top) == pytest.approx(expected)
    assert "% of the gaze on 1 % of the image, from 0" in page.locator("#legend").get_attribute("aria-label")
    top = float(page.locator("#legend").get_attribute("aria-label").split()[-1].rstrip("."))
    page.locator("#unit").select_option("seconds")
    settle(page)
    label = page.locator("#legend").get_attribute("aria-label")
    assert "seconds of gaze on 1 % of the image" in label
    shown = page.evaluate("() => viewer.reading.seconds_on_image")
    assert float(label.split()[-1].rstrip(".")) == pytest.approx(top * shown / 100, rel=0.06)
    assert page.locator("#legend-patches").is_hidden()
    page.locator("#show-patches").check()
    settle(page)
    assert "% of the gaze on a patch" in page.locator("#legend-patches").get_attribute("aria-label")


def test_seconds_are_offered_for_one_reading_alone(visit, report):
    page = visit(report, "99R-a1")
    lengths = page.evaluate("() => siblings().map((reading) => reading.seconds_on_image)")
    assert len({round(length, 3) for length in lengths}) == 3
    unit, bar = page.locator("#unit"), page.locator("#legend")
    unit.select_option("seconds")
    for view in ("Side by side", "All 3 together"):
        page.get_by_role("button", name=view).click()
        settle(page)
        assert unit.is_disabled()
        assert "% of the gaze on 1 % of the image" in bar.get_attribute("aria-label")
    page.get_by_role("button", name="This reading").click()
    unit.select_option("seconds")
    settle(page)
    peak, length = page.evaluate("() => [peakOf(viewer.panels[0]), viewer.reading.seconds_on_image]")
    assert float(bar.get_attribute("aria-label").split()[-1].rstrip(".")) == pytest.approx(
        peak * length / 100, rel=0.06
    )


@pytest.mark.parametrize("size", [PHONE, LAPTOP, (2200, 1700)])
def test_what_legends_say_lies_inside_them(visit, report, size):
    page = visit(report, KNOWN, size=size)
    if page.locator("#layers").get_attribute("open") is None:
        page.locator("#layers > summary").click()
    page.evaluate("""() => { window.drawn = [];
      const { fillText, arc } = CanvasRenderingContext2D.prototype;
      const note = (context, right, top = 0, bottom = 0) => context.canvas.classList.contains("legend")
        && drawn.push([context.canvas.id, right, context.canvas.clientWidth, top, bottom, context.canvas.clientHeight]);
      CanvasRenderingContext2D.prototype.fillText = function (text, x, y, most = Infinity) {
        if (this.textAlign === "start") note(this, x + Math.min(most, this.measureText(text).width));
        return fillText.call(this, text, x, y, most === Infinity ? undefined : most);
      };
      CanvasRenderingContext2D.prototype.arc = function (x, y, radius, ...rest) {
        note(this, x + radius, y - radius, y + radius);
        return arc.call(this, x, y, radius, ...rest);
      }; }""")
    page.locator("#unit").select_option("seconds")
    page.locator("#scale").select_option("fixed")
    settle(page)
    drawn = page.evaluate("() => drawn")
    assert {id_ for id_, *_ in drawn} == {"legend", "legend-circles"}
    assert [one for one in drawn if one[1] > one[2] or one[3] < 0 or one[4] > one[5]] == []
    circles = len({tuple(one) for one in drawn if one[4] > 0})  # however often they were drawn
    said = page.locator("#legend-circles").get_attribute("aria-label")
    assert said.count(" s") == circles >= 1, said
    screenshot(page, f"report-legends-{size[0]}")


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


def test_heat_lies_where_it_was_looked_and_its_slider_fades_it(visit, report):
    page = visit(report, KNOWN)
    only(page, "heat")
    drawn = pixels(page).sum(axis=2)
    row, col = np.unravel_index(drawn.argmax(), drawn.shape)
    scale = drawn.shape[1] / WIDTH
    assert abs(col / scale - 0.5 - KNOWN_XY[0]) < 2, "the longest fixation is the brightest place"
    assert abs(row / scale - 0.5 - KNOWN_XY[1]) < 2
    page.locator("#opacity").fill("0.1")
    settle(page)
    assert 0 < pixels(page).sum() < 0.4 * drawn.sum()
    page.locator("#opacity").fill("0")
    settle(page)
    assert pixels(page).sum() == 0


def test_the_shown_part_of_the_moment_is_outlined_and_the_rest_dimmed(visit, report):
    page = visit(report, KNOWN)
    only(page, "xray")
    plain = pixels(page)
    page.locator("#time").fill("1.2")
    only(page, "xray", "shown")
    seen = pixels(page)
    scale = plain.shape[1] / WIDTH
    left, right = np.s_[:, 5 : int(43 * scale)], np.s_[20:-20, int(47 * scale) : -20]
    assert seen[left].mean() == pytest.approx(0.5 * plain[left].mean(), rel=0.05)
    np.testing.assert_array_equal(seen[right], plain[right])


def test_patches_and_partition_are_drawn_on_the_grid(visit, report, cache):
    page = visit(report, KNOWN)
    only(page, "partition")
    drawn = pixels(page)
    green = (drawn[..., 1] > 200) & (drawn[..., 0] < 160)
    assert green.any()
    x = page.evaluate("() => patchEdges(images[viewer.reading.image]).x")
    frame = cache[cache.ids.index("99b")].frame
    square = frame.original_box((-0.5, -0.5, cache.image_size - 0.5, cache.image_size - 0.5))
    np.testing.assert_allclose(x, np.linspace(square[0], square[2], cache.grid[1] + 1), atol=1e-9)
    only(page, "patches")
    assert pixels(page).sum() > 0


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
    tops = {panel["y"] for panel in (figure.bounding_box() for figure in page.locator("#panels figure").all())}
    assert len(tops) == 1, "three readers stand in one row"
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


def test_a_moment_among_a_thousand_fixations_costs_a_few_times_that_among_three(visit, report):
    costs = [draw_ms(visit(report, reading)) for reading in (KNOWN, MANY)]
    print("heat that grows, anywhere: {:.1f} ms of processor time a picture of 3, {:.1f} of 1,000".format(*costs))
    assert costs[1] < 4 * costs[0], costs


def draw_ms(page):
    """Processor time of a picture of the replay; benchmarks/report_page.py has the frames a second."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_s():
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    before = busy_s()
    page.evaluate("""() => new Promise((done) => { let k = 0;
      const step = () => { if (k++ === 90) { done(); return; }
        seek(replay.end * ((k * 0.6180339887) % 1)); requestAnimationFrame(step); };
      step(); })""")
    return 1000 * (busy_s() - before) / 90
