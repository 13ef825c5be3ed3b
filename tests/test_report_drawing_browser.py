"""What the report draws, in headless Chromium: fixations, heat, scanpath, patches, and legends that say how much it is.

Fixtures as of `browser_case` and `gaze_page`.
"""

from __future__ import annotations

import numpy as np
import pytest
from browser_case import LAPTOP, PHONE, chromium, press, screenshot, settle, visit
from gaze_page import cache, only, pixels, report
from memory_source import HEIGHT, WIDTH
from report_case import KNOWN, KNOWN_XY, MANY

from gazekit.prior import patch_mass, total_mass

pytestmark = pytest.mark.browser
__all__ = ["cache", "chromium", "report", "visit"]  # fixtures


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
