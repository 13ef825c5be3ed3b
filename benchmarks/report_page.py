"""The page of ``gazekit report``: time to build, size, how soon its grid is drawn, how smoothly it scrubs.

    python benchmarks/report_page.py [--readings 200] [--set DIR] [--page OTHER.html ...] [--json]

The readings are simulated over the labelled X-rays of data/sample, 200 of ordinary length and two of 1,000 fixations on
one image; DIR keeps them for the next call. Chromium is Debian's, or the one named in $CHROMIUM, and is driven by
Playwright without a graphics card. `--page` adds pages that another version has made of DIR/long/cache: they take turns
with this one's, so that two versions are compared in one run.

* grid: from the start of the navigation to the frame in which every thumbnail in sight is drawn; best of the rounds
* scrubbing: every frame asks for another moment, forwards, backwards and anywhere, heat grows with the moment;
  frames a second, milliseconds of script a frame (median, 95 %), and processor time a frame of all of Chromium's
  processes, painting included: below 16.7 ms one core that is free keeps up 60 frames
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gazekit.build import build_heatmaps
from gazekit.cache import open_cache
from gazekit.report import write_report
from gazekit.simulate import ReaderParameters
from gazekit.simulate.dataset import simulate_reflacx
from gazekit.sources.reflacx import read_reflacx

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

XRAYS = Path(__file__).parent.parent / "data" / "sample" / "labelled" / "images"
LAPTOP = {"width": 1280, "height": 800}
LONG_READING_S = 330.0
LONG_READERS = 2

GRID_DRAWN = """() => new Promise((done) => {
  const look = () => {
    const inSight = (e) => e.getBoundingClientRect().top < innerHeight;
    const seen = [...document.querySelectorAll("#cards canvas")].filter(inSight);
    const drawn = (e) => e.getContext("2d").getImageData(e.width / 2, e.height / 2, 1, 1).data[3] > 0;
    if (seen.length && seen.every(drawn)) done(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""

SCRUB = """([way, length]) => new Promise((done) => {
  const times = [], draw = drawAll, began = performance.now();
  drawAll = () => { const from = performance.now(); draw(); times.push(performance.now() - from); };
  let frames = 0;
  const moments = {
    forwards: (k) => (k % 240) / 240,
    backwards: (k) => 1 - (k % 240) / 240,
    anywhere: (k) => (k * 0.6180339887) % 1,
  };
  const step = () => {
    if (performance.now() - began > length && times.length >= 20) { // a busy machine may draw few
      drawAll = draw;
      times.sort((a, b) => a - b);
      const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))];
      done([frames, 1000 * frames / (performance.now() - began), at(0.5), at(0.95)]);
      return;
    }
    seek(replay.end * moments[way](frames++));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
WAYS = ("forwards", "backwards", "anywhere")


def make_cache(root: Path, *, readings: int, readers: int | None, duration_s: float) -> Path:
    """Simulate and build once; what is there is taken as it is."""
    if not (root / "cache").exists():
        simulate_reflacx(
            root / "set",
            images=XRAYS,
            readings=readings,
            readers=readers,
            seed=1,
            gaze_files=0,
            discarded=0,
            parameters=ReaderParameters(duration_s=duration_s),
        )
    build_heatmaps(read_reflacx(root / "set" / "reflacx"), root / "set" / "mimic-cxr", root / "cache")
    return root / "cache"


def measure_grid(browser: Browser, page: Path, rounds: int) -> float:
    """Milliseconds to the first drawn grid, best of `rounds` fresh visits."""
    found = []
    for _ in range(rounds):
        with visited(browser, page) as tab:
            found.append(float(tab.evaluate(GRID_DRAWN)))
    return min(found)


def measure_scrubbing(browser: Browser, page: Path, way: str, length_s: float) -> dict[str, float]:
    """Figures of one way to scrub."""
    with visited(browser, page) as tab:
        tab.locator("#cards a").first.click()
        tab.locator("#heat-of").evaluate(
            "(e) => { e.value = 'now'; e.dispatchEvent(new Event('input', { bubbles: true })); }"
        )
        tab.wait_for_timeout(1000)
        before = processor_s(browser)
        frames, rate, median, late = tab.evaluate(SCRUB, [way, 1000 * length_s])
        spent = processor_s(browser) - before
    return {
        "frames_per_s": rate,
        "script_ms": median,
        "script_95_ms": late,
        "processor_ms_a_frame": 1000 * spent / max(1, frames),
    }


def processor_s(browser: Browser) -> float:
    """Processor time of all processes of the browser so far."""
    session = browser.new_browser_cdp_session()
    try:
        found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    finally:
        session.detach()
    return float(sum(process["cpuTime"] for process in found))


@contextmanager
def visited(browser: Browser, page: Path) -> Iterator[Page]:
    """A tab of its own with the page in it."""
    context = browser.new_context(viewport=LAPTOP)
    try:
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        yield tab
    finally:
        context.close()


def measure(root: Path, others: list[Path], readings: int, rounds: int, length_s: float) -> dict[str, Any]:
    """All figures, pages by name."""
    from playwright.sync_api import sync_playwright

    many = make_cache(root / "many", readings=readings, readers=None, duration_s=20.0)
    long = make_cache(root / "long", readings=LONG_READERS, readers=LONG_READERS, duration_s=LONG_READING_S)
    started, busy = time.perf_counter(), time.process_time()
    written = write_report(open_cache(many), root / "many.html")
    built = {
        "readings": written["readings"],
        "pages": written["pages"],
        "megabytes": written["megabytes"],
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - busy,
    }
    write_report(open_cache(long), root / "long.html")
    scrubbed: dict[str, dict[str, list[dict[str, float]]]] = {}
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path)
        grid = measure_grid(browser, root / "many.html", rounds)
        for _ in range(rounds):
            for page in [root / "long.html", *others]:
                for way in WAYS:
                    found = measure_scrubbing(browser, page, way, length_s)
                    scrubbed.setdefault(str(page), {}).setdefault(way, []).append(found)
        browser.close()
    middle = {
        page: {
            way: {name: statistics.median(figures[name] for figures in found) for name in found[0]}
            for way, found in ways.items()
        }
        for page, ways in scrubbed.items()
    }
    return {"built": built, "grid_ms": grid, "scrubbed": middle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of scrubbing, each way in each round")
    parser.add_argument("--set", type=Path, help="folder that keeps the data set and the pages")
    parser.add_argument("--page", type=Path, action="append", default=[], help="a page to compare with")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(chosen.set or Path(scratch), chosen.page, chosen.readings, chosen.rounds, chosen.seconds)
    if chosen.json:
        print(json.dumps(figures))
        return
    built = figures["built"]
    print(
        f"{built['readings']} readings on {built['pages']} page(s): {built['megabytes']:.2f} MB, built in "
        f"{built['seconds']:.1f} s ({built['processor_seconds']:.1f} s of processor time)"
    )
    print(f"grid drawn {figures['grid_ms']:.0f} ms after the page was asked for")
    for page, ways in figures["scrubbed"].items():
        for way, found in ways.items():
            print(
                f"{page}: scrubbed {way}, {found['frames_per_s']:.0f} frames a second, "
                f"{found['processor_ms_a_frame']:.1f} ms of processor time a frame, "
                f"script {found['script_ms']:.1f} ms (95 %: {found['script_95_ms']:.1f} ms)"
            )


if __name__ == "__main__":
    main()
