"""The report of a run and the page of an ablation in headless Chromium; fixtures as of `browser_case`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from browser_case import LAPTOP, PHONE, check_accessible, chromium, press, screenshot, settle, visit
from PIL import Image
from run_case import EVIL, panel_arrays, write_ablation, write_evaluation, write_run
from synthetic import write_cache

from vpmim.report import write_report
from vpmim.report_ablation import write_ablation_report

pytestmark = pytest.mark.browser
__all__ = ["chromium", "visit"]  # fixtures

STEPS = (0, 10, 20, 30, 40)
SIDE = 5


def write_stepped_run(path: Path, **facts: object) -> Path:
    """A run whose panels can be told apart: at the k-th step the k-th column of cells has all the weight."""
    run = write_run(path, panels=0, **facts)
    (run / "panels").mkdir()
    for place, step in enumerate(STEPS):
        arrays = panel_arrays(3, side=SIDE)
        for scale in ("4", "2", "1"):
            cells = round(float(scale) * SIDE)
            weights = np.zeros((3, cells, cells), np.float32)
            weights[:, :, round(place * float(scale)) : round((place + 1) * float(scale))] = 2
            arrays[f"weights_{scale}x"] = weights
        np.savez(run / "panels" / f"step_{step:08d}.npz", **arrays)
    return run


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Everything at once, with hostile names wherever one can be given."""
    root = tmp_path_factory.mktemp("runs")
    run = write_stepped_run(root / "run", device=EVIL)
    other = write_run(root / "b<img src=x onerror=alert(1)>", overrides=["mask.kappa=0.25"], steps=20, planned=30)
    evaluations = [
        write_evaluation(root / "one", classes=(EVIL, "effusion")),
        write_evaluation(root / "two", classes=(EVIL, "effusion"), auc=0.75, seed=1),
    ]
    out = root / "out" / "r.html"
    cache = write_cache(root / "cache", images=6)
    write_report(run, out, cache=cache, evaluations=evaluations, compare=[other], notes=[EVIL], title=EVIL)
    return out


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    arms = {"VP-MIM": (), "random masks": ("mask.kind=random",), EVIL: ("loss.gaze_weighting=none",)}
    folder = write_ablation(tmp_path_factory.mktemp("ablation") / "grid", arms)
    write_ablation_report(folder)
    return folder / "report.html"


def weighted_columns(page, scale: str = "1x") -> list[int]:
    """Columns of the first image that are drawn bright in its picture of weights, as the screen shows it."""
    picture = page.locator(f"svg[aria-label='loss weights at {scale}']").first
    picture.scroll_into_view_if_needed()
    settle(page)
    with Image.open(io.BytesIO(picture.screenshot())) as shot:
        seen = np.asarray(shot.convert("RGB")).astype(int)
    middle = seen[seen.shape[0] // 2]
    centres = [middle[round((column + 0.5) * len(middle) / SIDE)] for column in range(SIDE)]
    return [column for column, (red, _, blue) in enumerate(centres) if red > 200 and blue < 100]


def slider_of(page):
    return page.get_by_role("slider", name="Training step")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("name", ["report", "ablation"])
def test_text_has_contrast_controls_have_names_and_nothing_overflows(visit, request, name, size, scheme):
    page = visit(request.getfixturevalue(name), size=size, scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("(e) => { e.open = true; }")
    check_accessible(page)
    levels = page.evaluate("() => [...document.querySelectorAll('h1, h2, h3, h4')].map((e) => +e.tagName[1])")
    assert levels[0] == 1
    assert max(np.diff(levels)) <= 1
    assert page.locator("h1").count() == page.locator("main").count() == 1
    pictures = page.evaluate("() => [...document.querySelectorAll('svg:not([aria-hidden])')].map((e) => e.ariaLabel)")
    assert all(pictures)
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(18, 20, 23)") == (scheme == "dark")
    screenshot(page, f"run-{name}-{size[0]}-{scheme}")


def test_keys_move_the_slider_and_the_picture_of_that_step_is_seen(visit, report):
    page = visit(report)
    slider = slider_of(page)
    assert slider.get_attribute("aria-valuetext") == "step 40 of 40: loss 0.100"
    assert weighted_columns(page) == [4]
    slider.focus()
    press(page, "ArrowLeft")
    assert weighted_columns(page) == [3]
    assert weighted_columns(page, "4x") == [3]
    assert page.locator("output").inner_text() == "step 30 of 40: loss 0.133"
    slider.focus()
    press(page, "Home")
    assert weighted_columns(page) == [0]
    assert slider.get_attribute("aria-valuetext") == "step 0 of 40: before training"
    slider.focus()
    press(page, "End")
    assert weighted_columns(page) == [4]


def test_the_mouse_moves_the_slider_which_stays_in_sight(visit, report):
    page = visit(report)
    slider = slider_of(page)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    assert weighted_columns(page) == [2]
    page.mouse.wheel(0, 300)
    page.wait_for_function("() => scrollY > 0")
    settle(page)
    top = slider.bounding_box()["y"]
    assert 0 <= top < 60, "sticks to the top while its pictures are looked at"
    page.mouse.click(box["x"] + 2, top + box["height"] / 2)
    assert weighted_columns(page) == [0]
    page.locator("#what-a-step-sees-and-makes").scroll_into_view_if_needed()
    screenshot(page, "run-slider-first-step")


def test_a_version_is_seen_at_its_steps_alone(visit, report):
    page = visit(report)
    counts = []
    for step in range(len(STEPS)):
        slider_of(page).fill(str(step))
        counts.append(
            page.evaluate("""() => [...document.querySelectorAll("svg.picture")]
            .filter((svg) => svg.checkVisibility()).map((svg) => [...svg.querySelectorAll("image")]
              .filter((image) => getComputedStyle(image.closest(".frame") || image).display !== "none").length)""")
        )
    assert counts[0]
    assert {number for seen in counts for number in seen} == {1}


def test_without_scripts_the_last_step_and_all_text_are_there(chromium, report):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#panel-step").is_hidden()
    pictures = page.locator("svg[aria-label='loss weights at 1x']").first.locator("image").all()
    assert [picture.is_visible() for picture in pictures] == [False] * 4 + [True]
    assert "step by step" in page.locator("#what-a-step-sees-and-makes").inner_text()
    assert "mean AUC" in page.locator("#evaluation").inner_text()
    context.close()


def test_hostile_text_stays_text(visit, report, ablation):
    page = visit(report)
    assert page.locator("h1").inner_text() == EVIL
    assert page.locator(".callout").first.inner_text().startswith(EVIL)
    assert "b<img src=x onerror=alert(1)>" in page.locator("#beside-other-runs").inner_text()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    page = visit(ablation)
    assert page.locator("#arms tbody th").last.inner_text() == EVIL
    assert page.locator("img, script").count() == 0


def test_an_arm_leads_to_the_reports_of_its_runs_and_back(visit, ablation):
    page = visit(ablation)
    page.locator("#arms").get_by_role("link", name="seed 1").nth(1).click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() == "random masks, seed 1"
    assert page.url.endswith("grid/random_masks/seed_1/run/report.html")
    page.get_by_role("link", name="All runs").click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() == "grid"


def test_wide_tables_scroll_by_keys(visit, ablation):
    page = visit(ablation, size=PHONE)
    region = page.locator("#arms .scroll")
    assert region.get_attribute("aria-label") == "Arms"
    region.focus()
    press(page, "ArrowRight", "ArrowRight", "ArrowRight")
    page.wait_for_function("() => document.querySelector('#arms .scroll').scrollLeft > 0")


def test_a_run_without_steps_panels_or_checkpoint_says_so(visit, tmp_path):
    run = write_run(tmp_path / "run", steps=0, panels=0, checkpoint=False)
    (run / "metrics.jsonl").unlink()
    (run / "environment.json").unlink()
    write_report(run)
    page = visit(run / "report.html")
    assert "has not reached a checkpoint" in page.locator(".callout").inner_text()
    for words in ("No panels were saved", "No step was logged.", "No evaluation was given", "There is no environment"):
        assert words in page.locator("main").inner_text()
    screenshot(page, "run-empty")
