"""Rows of a cache as figures for print: axes in original pixels, fixed scales, colour bars; PNG, SVG or PDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.cache_files import PREDICTED, gaze_kind
from gazekit.errors import InputError
from gazekit.metrics.cached_gaze import map_shape
from gazekit.prior import density
from gazekit.relevance import partition
from gazekit.render import OTSU_SIDE, make_folder
from gazekit.shards import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache, Record

FORMATS = ("png", "svg", "pdf")
HEAT_SIDE = 512
"""Cells on the longer side of a heatmap."""

SHEET_COLUMNS, SHEET_ROWS = 6, 4
ROW_COLUMNS = 3
"""Panels beside each other in the figure of one row: on a page of print the words stay legible."""

_PANEL_INCHES = 4.6
_SIDE, _GAP, _HEAD, _FOOT = 2.0, 0.1, 0.36, 0.75
"""Of a sheet in inches: a picture, the space between two, the words above each, the colour bar below all."""


def render_figures(
    cache: PriorCache,
    out_dir: Path,
    *,
    rows: Sequence[int],
    format: str = "pdf",
    dpi: int = 300,
    contact_sheet: bool = False,
    on_row: Callable[[int], None] | None = None,
) -> int:
    """Write ``<id>.<format>`` for each of `rows`, or all of them on contact sheets ``contact-sheet-<n>.<format>``.

    Parameters
    ----------
    cache : PriorCache
    out_dir : Path
    rows : sequence of int
    format : "png", "svg" or "pdf"
    dpi : int
        Pixels an inch of a PNG, and of the X-rays and heatmaps inside the others, whose lines and words are vectors.
    contact_sheet : bool
    on_row : callable, optional
        Called with the number of rows done.

    Returns
    -------
    int
        Number of files written. Equal caches give equal files: no time is written into them.
    """
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if not 30 <= dpi <= 1200:
        raise InputError(f"dpi must be from 30 to 1200, got {dpi}")
    make_folder(out_dir)
    places = list(rows)
    step = SHEET_COLUMNS * SHEET_ROWS if contact_sheet else 1
    groups = [places[k : k + step] for k in range(0, len(places), step)]
    for number, group in enumerate(groups, start=1):
        figure = sheet_figure(cache, group) if contact_sheet else row_figure(cache[group[0]], cache)
        name = f"contact-sheet-{number}" if contact_sheet else cache.ids[group[0]]
        _save(figure, out_dir / f"{name}.{format}", format, dpi)
        if on_row is not None:
            on_row(min(number * step, len(places)))
    return len(groups)


def row_figure(record: Record, cache: PriorCache) -> Figure:
    """Heatmap, a scanpath for each reading, and patches, all in original pixels; without gaze the X-ray alone."""
    from gazekit import plots

    shape = (record.frame.height, record.frame.width)
    predicted = gaze_kind(record.info) == PREDICTED
    readings = [] if predicted else np.unique(record.reading_index).tolist()
    figure, axes = _figure(2 + len(readings) if len(record.gaussians) else 1, shape)
    figure.suptitle(record.id, fontsize="medium")
    if not len(record.gaussians):
        _show_xray(axes[0], record)
        axes[0].set(xlabel="x, image pixels", ylabel="y, image pixels")
        axes[0].set_title("no gaze", fontsize="medium", loc="left")
        return figure
    plots.overlay(_valid_image(record), _heat(record), image_shape=shape, ax=axes[0])
    said = f"predicted gaze, of no reader; confidence {record.info['confidence']:.2f}" if predicted else "heatmap"
    axes[0].set_title(said, fontsize="medium", loc="left")
    for ax, place in zip(axes[1:], readings, strict=False):
        _show_scanpath(ax, record, place)
    _show_patches(axes[len(readings) + 1], record, cache)
    return figure


def _show_scanpath(ax: Axes, record: Record, place: int) -> None:
    """One reading, in the frame of the other panels: fixations off the image are counted in the title, not drawn."""
    from gazekit import plots

    table = _fixations(record, place)
    height, width = record.frame.height, record.frame.width
    plots.scanpath(table, image_shape=(height, width), image=_valid_image(record), ax=ax)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for number in ax.texts:
        number.set_clip_on(True)
    x, y = table["x_px"], table["y_px"]
    off = int(((x < -0.5) | (x >= width - 0.5) | (y < -0.5) | (y >= height - 0.5)).sum())
    names = record.info["reading_ids"]
    name = names[place] if place < len(names) else "scanpath"
    said = f"{name}: {len(table)} fixations" + (f", {off} off the image" if off else "")
    ax.set_title(said, fontsize="medium", loc="left")


def _show_patches(ax: Axes, record: Record, cache: PriorCache) -> None:
    """The patches tile the stored square; the axes count original pixels as those of the other panels do."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

    from gazekit import plots

    frame = record.frame
    square = frame.original_box((-0.5, -0.5, cache.image_size - 0.5, cache.image_size - 0.5))
    dense = density(record.gaussians, (frame.height, frame.width), out_shape=(OTSU_SIDE, OTSU_SIDE), crop=square)
    relevant = partition(dense, cache.grid)
    plots.patch_grid(record.relevance, image_shape=record.image.shape, image=record.image, relevant=relevant, ax=ax)
    x0, y0, x1, y1 = frame.valid_box
    ax.set(xlim=(x0, x1), ylim=(y1, y0))
    for axis, size, scale, offset in (
        (ax.xaxis, frame.width, frame.scale_x, frame.offset_x),
        (ax.yaxis, frame.height, frame.scale_y, frame.offset_y),
    ):
        ticks = [tick for tick in MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(0, size - 1) if 0 <= tick < size]
        axis.set_major_locator(FixedLocator([scale * tick + offset for tick in ticks]))
        axis.set_major_formatter(FixedFormatter([f"{tick:.0f}" for tick in ticks]))
    ax.set_title(f"patches, Otsu: {relevant.mean():.0%} relevant", fontsize="medium", loc="left")


def sheet_figure(cache: PriorCache, rows: Sequence[int]) -> Figure:
    """Heatmaps of up to `SHEET_COLUMNS` times `SHEET_ROWS` rows, all on one scale, with one colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from gazekit import plots

    looks = "samples" if cache.parameters.get("gaze") == "samples" else "fixations"
    lines = -(-len(rows) // SHEET_COLUMNS)
    width, height = _GAP + SHEET_COLUMNS * (_SIDE + _GAP), lines * (_SIDE + _HEAD) + _FOOT
    figure = Figure(figsize=(width, height))
    for k, i in enumerate(rows):
        line, column = divmod(k, SHEET_COLUMNS)
        left, bottom = _GAP + column * (_SIDE + _GAP), _FOOT + (lines - 1 - line) * (_SIDE + _HEAD)
        ax = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
        record = cache[i]
        if len(record.gaussians):
            shape = (record.frame.height, record.frame.width)
            plots.overlay(_valid_image(record), _heat(record), image_shape=shape, colour_bar=False, ax=ax)
        else:
            _show_xray(ax, record)
        said = {None: "no gaze", PREDICTED: "predicted"}.get(gaze_kind(record.info), f"{len(record.gaussians)} {looks}")
        ax.set_title(f"{_shortened(record.id)}\n{said}", fontsize=7)
        # every picture takes an equal square, with the image in its middle
        half = max(record.frame.width, record.frame.height) / 2
        middle = record.frame.width / 2, record.frame.height / 2
        ax.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] + half, middle[1] - half))
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="", facecolor="black")
    scale = ScalarMappable(Normalize(0, plots.DENSITY_MAX), "inferno")
    figure.colorbar(
        scale, cax=figure.add_axes((0.25, 0.5 / height, 0.5, 0.12 / height)), orientation="horizontal", extend="max",
        label="gaze density (1 = spread evenly)",
    )  # fmt: skip
    return figure


def _figure(panels: int, image_shape: tuple[int, int]) -> tuple[Figure, NDArray[Any]]:
    from matplotlib.figure import Figure

    aspect = min(1.3, max(0.4, image_shape[0] / image_shape[1]))
    columns = min(panels, ROW_COLUMNS)
    lines = -(-panels // columns)
    size = (_PANEL_INCHES * columns, lines * (0.8 * _PANEL_INCHES * aspect + 0.6) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[panels:]:
        ax.set_axis_off()
    return figure, axes


def _save(figure: Figure, path: Path, format: str, dpi: int) -> None:
    import matplotlib as mpl

    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format, {})
    # the salt names the elements of an SVG, which are random otherwise
    with mpl.rc_context({"svg.hashsalt": path.stem}), replacing(path) as file:
        figure.savefig(file, format=format, dpi=dpi, metadata=dated)


def _heat(record: Record) -> NDArray[np.float32]:
    shape = (record.frame.height, record.frame.width)
    return density(record.gaussians, shape, out_shape=map_shape(shape, HEAT_SIDE))


def _valid_image(record: Record) -> NDArray[np.uint8]:
    """The stored image without its padding."""
    x0, y0, x1, y1 = (round(edge + 0.5) for edge in record.frame.valid_box)
    return record.image[y0:y1, x0:x1]


def _show_xray(ax: Axes, record: Record) -> None:
    width, height = record.frame.width, record.frame.height
    ax.imshow(_valid_image(record), cmap="gray", vmin=0, vmax=255, extent=(-0.5, width - 0.5, height - 0.5, -0.5))


def _fixations(record: Record, place: int) -> Any:
    import pandas as pd

    from gazekit.reading import POSITION, TIMES

    own = record.reading_index == place
    columns = [*record.gaussians[own, :2].T, record.onset_s[own], record.offset_s[own]]
    return pd.DataFrame(dict(zip((*POSITION, *TIMES), columns, strict=True)))


def _shortened(text: str) -> str:
    return text if len(text) <= 22 else f"{text[:10]}…{text[-8:]}"
