"""Headless Chromium, driven by Playwright: a page visited from disk, its accessibility, its screenshot.

Chromium is taken from $CHROMIUM or the path (Debian: ``apt-get install chromium``). Screenshots are left in
``out/screenshots``. A page that asks for anything but itself, prints an error or opens a dialogue fails its test.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SCREENSHOTS = Path(__file__).parent.parent / "out" / "screenshots"
LAPTOP, PHONE = (1280, 800), (390, 844)
AA, AA_LARGE = 4.5, 3.0

# every text that is seen, with its contrast against what lies behind it (WCAG 2.2, 1.4.3)
CONTRAST = """() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest("script, .unseen, :disabled, option")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    const size = parseFloat(getComputedStyle(element).fontSize);
    found.push([text.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size]);
  }
  return found;
}"""

NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, canvas, summary, section, nav, aside")]
  .filter((e) => e.checkVisibility() && e.getAttribute("aria-hidden") !== "true" && !e.closest("#cards canvas"))
  .filter((e) => !(e.getAttribute("aria-label") || "").trim() && !(e.labels && e.labels.length)
    && !document.getElementById(e.getAttribute("aria-labelledby") || "none")?.textContent.trim()
    && !(e.textContent || "").trim())
  .map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "no Chromium: apt-get install chromium, or name one in $CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a page from disk; whatever it asks for, prints or pops up is held against it at the end."""
    contexts, wrong = [], []

    def visit(path, at="", size=LAPTOP, scheme="light", **options):
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # on a machine that is busy with other work too
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri() + (f"#{at}" if at else ""))
        settle(page)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def settle(page):
    """Let two frames pass: what was changed is drawn by then."""
    page.evaluate(
        """() => new Promise((done) => setTimeout(
          () => requestAnimationFrame(() => requestAnimationFrame(done)), 60))"""
    )


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    settle(page)


def check_accessible(page):
    """Text has contrast, controls have names, ids are there once, and nothing overflows the page."""
    weak = [(text, ratio) for text, ratio, px in page.evaluate(CONTRAST) if ratio < (AA if px < 24 else AA_LARGE)]
    assert weak == []
    assert page.evaluate(NAMELESS) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(set(ids)) == len(ids)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
