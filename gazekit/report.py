"""A cache as a page to look at: every reading with its replay, in one HTML file that needs no network.

The page is `report_page`'s markup, style and scripts around islands of JSON. Its content policy allows that very style
and script and pictures inside the file, and nothing else; what comes from the data is only ever set as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from gazekit.cache_files import PREDICTED
from gazekit.errors import REASONS, InputError
from gazekit.report_data import GAZE_FIELDS, image_data, shown_by_image
from gazekit.shards import replacing

if TYPE_CHECKING:
    from gazekit.cache import PriorCache

READINGS_A_PAGE = 200
MAX_FAILURES = 500
"""What was left out is listed up to here; ``failures.csv`` of the cache has all."""

COLOUR_MAPS = ("inferno", "viridis", "cividis")
SCRIPTS = (
    "data.js",
    "heat.js",
    "scene.js",
    "trail.js",
    "replay.js",
    "gallery.js",
    "facts.js",
    "legend.js",
    "strip.js",
    "viewer.js",
    "controls.js",
)
"""In the order in which they are read."""


def write_report(
    cache: PriorCache,
    out: str | Path,
    *,
    rows: Sequence[int] | None = None,
    readings_a_page: int = READINGS_A_PAGE,
    title: str | None = None,
    on_image: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write the report of a cache.

    Parameters
    ----------
    cache : PriorCache
    out : path
        The page, ``NAME.html``; further pages are ``NAME-2.html`` and so on beside it. What is there is replaced;
        pages beyond the new last one, of a longer report before it, stay.
    rows : sequence of int, optional
        Rows to show, see `gazekit.render.choose_rows`; default all.
    readings_a_page : int
        Readings of one image stay together, so a page may hold a few more.
    title : str, optional
        Default: the data set's name.
    on_image : callable, optional
        Called with the number of images done.

    Returns
    -------
    dict
        ``report`` (path of the first page), ``pages``, ``images``, ``readings``, ``megabytes``.

    Raises
    ------
    InputError
        A name that does not end in .html or where no file can be, or less than one reading a page.
    CacheError
        The cache is damaged.
    OSError
        The system refused to write, before anything was drawn.
    """
    out = Path(out)
    _check_place(out)
    if readings_a_page < 1:
        raise InputError(f"readings a page must be at least 1, got {readings_a_page}")
    chosen = range(len(cache)) if rows is None else rows
    pages = list(_pages(images_of(cache, chosen), cache, readings_a_page)) or [[]]
    names = [out.name, *(f"{out.stem}-{k}{out.suffix}" for k in range(2, len(pages) + 1))]
    out.parent.mkdir(parents=True, exist_ok=True)
    about = _about(cache, len(chosen)) | {
        "title": title or f"{cache.parameters.get('dataset', 'gaze')} readings",
        "pages": names,
        "index": [[_ids(cache, rows) for rows in page] for page in pages] if len(pages) > 1 else None,
    }
    done = readings = size = 0
    for number, page in enumerate(pages):
        # opened first: what cannot be written is refused before the work, not after it
        with replacing(out.with_name(names[number])) as file:
            images: list[dict[str, Any]] = []
            shown: list[dict[str, Any]] = []
            for image_rows in page:
                image, found = image_data(cache, image_rows, len(shown))
                shown += [reading | {"image": len(images)} for reading in found]
                images.append(image)
                done += 1
                if on_image is not None:
                    on_image(done)
            text = page_text(about | {"page": number}, images, shown)
            size += file.write(text.encode("utf-8", "replace"))
        readings += len(shown)
    return {
        "report": str(out),
        "pages": len(pages),
        "images": done,
        "readings": readings,
        "megabytes": round(size / 1e6, 3),
    }


def images_of(cache: PriorCache, rows: Sequence[int]) -> list[list[int]]:
    """The chosen rows by image, images in the order of their ids."""
    found: dict[str, list[int]] = {}
    for i in rows:
        found.setdefault(str(cache.rows[i]["image_id"]), []).append(i)
    return [found[image_id] for image_id in sorted(found)]


def _check_place(out: Path) -> None:
    if out.is_dir():
        raise InputError(f"{out} is a folder; name the page to write in it, such as {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{out.name}: expected a name that ends in .html")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"{out} cannot be written: {above} is a file, not a folder")


def _ids(cache: PriorCache, rows: Sequence[int]) -> list[str]:
    """Id of an image, and those of its readings as `image_data` has them: what is searched for on other pages."""
    lines = [cache.rows[i] for i in rows]
    by_image = shown_by_image(cache.parameters)
    return [
        str(lines[0]["image_id"]),
        *(id_ for row in lines for id_ in (by_image and row["reading_ids"]) or [row["id"]]),
    ]


def page_text(about: dict[str, Any], images: list[dict[str, Any]], readings: list[dict[str, Any]]) -> str:
    """The whole document: markup, style, scripts, and the data in islands that no text can end."""
    folder = resources.files("gazekit") / "report_page"
    style = (folder / "report.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        policy=html.escape(policy),
        title=html.escape(f"{about['title']}: gazekit report"),
        style=style,
        script=script,
        about=island(about),
        images=island(images),
        readings=island(readings),
    )


def island(content: Any) -> str:
    """JSON that may stand inside a script element: ASCII, and without ``<``, so that nothing in it ends the element."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _pages(images: list[list[int]], cache: PriorCache, most: int) -> Iterator[list[list[int]]]:
    page: list[list[int]] = []
    count = 0
    for rows in images:
        readings = sum(max(1, len(cache.rows[i]["reading_ids"])) for i in rows)
        if page and count + readings > most:
            yield page
            page, count = [], 0
        page.append(rows)
        count += readings
    if page:
        yield page


def _about(cache: PriorCache, shown: int) -> dict[str, Any]:
    """What the page says of the whole cache."""
    parameters = cache.parameters
    failures = [
        {
            "id": " ".join(failure["reading_ids"]) or failure["image_id"],
            "reason": failure["reason"],
            "message": failure["message"],
        }
        for failure in cache.failures
    ]
    return {
        "parameters": parameters,
        "grid": list(cache.grid),
        "fields": list(GAZE_FIELDS),
        "rows": len(cache),
        "shown": shown,
        "images": len({row["image_id"] for row in cache.rows}),
        "readings": sum(row["n_readings"] for row in cache.rows),
        "looks": int(cache.offsets[-1]),
        "seconds": sum(row["dwell_s"] for row in cache.rows),
        "simulated": cache.simulated_gaze,
        "predicted": sum(kind == PREDICTED for kind in cache.gaze_kinds),
        "failures": failures[:MAX_FAILURES],
        "failed": len(failures),
        "reasons": {name: text for name, text in REASONS.items() if any(f["reason"] == name for f in failures)},
        "colours": {name: _colours(name) for name in COLOUR_MAPS},
    }


def _colours(name: str) -> str:
    from gazekit.overlays import colour_table

    return base64.b64encode(colour_table(name).tobytes()).decode("ascii")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
