"""The report of `report_case` as a page: fixtures of its cache and its file, its layers, and what its canvas holds."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from browser_case import settle
from PIL import Image
from report_case import build_case

from gazekit.cache import open_cache
from gazekit.report import write_report


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
