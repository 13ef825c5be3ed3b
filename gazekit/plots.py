"""Charts of readings with matplotlib: axes in, axes out; they show what they are given and compute nothing.

Scales are fixed, so that two readings can be compared by eye; a keyword changes them. Colour maps are perceptually
uniform and can be told apart by colour-blind readers, and each colour bar names its unit. Without `ax` a new figure is
made with pyplot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gazekit.errors import InputError
from gazekit.geometry import check_image_shape, whole_image
from gazekit.quality import BOUNDS, Quality
from gazekit.reading import POSITION, TIMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from numpy.typing import ArrayLike, NDArray

DENSITY_MAX = 20.0
"""Top of the scale of `overlay` and `patch_grid`: gaze so many times as dense as if spread evenly over the image."""

DURATION_MAX_S = 30.0
POINTS2_PER_S = 500.0
"""Area of a fixation's disc, square points for each second."""

DEGREES = (0.1, 40.0)
DEGREES_PER_S = (5.0, 1500.0)
SACCADE_MAX_MS = 100.0

INK, ACCENT, WARM = "#222222", "#0072B2", "#D55E00"
"""Of the palette of Okabe and Ito (2008), which colour-blind readers can tell apart."""

TITLES = {
    "sampling_rate_hz": "sampling rate, Hz",
    "data_loss": "data lost, share",
    "std_dva": "STD in fixations, degrees",
    "off_image": "time off the image, share",
    "fixations_per_s": "fixations a second",
    "median_fixation_s": "median fixation, s",
}
"""The figures of `quality_summary`, in the order of its panels."""


def overlay(
    image: ArrayLike,
    heatmap: ArrayLike,
    *,
    image_shape: tuple[int, int] | None = None,
    maximum: float = DENSITY_MAX,
    colour_bar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A heatmap over its X-ray.

    Parameters
    ----------
    image : (h, w)
        Grey, of any size: it is stretched over the whole image.
    heatmap : (h', w')
        Over the whole image, of any unit and size; its mean is taken as an even spread.
    image_shape : (H, W), optional
        Of the original, whose pixels are the axes' unit; default: that of `image`.
    maximum : float
        Top of the scale, in even spreads; denser gaze has the top colour.
    colour_bar : bool
        False where several pictures of one scale share one.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    extent = _show_image(ax, image, image_shape)
    density = _times_even(heatmap)
    opacity = np.clip(1.6 * density / maximum, 0, 0.75)
    drawn = ax.imshow(
        density, cmap="inferno", vmin=0, vmax=maximum, alpha=opacity, extent=extent, interpolation="bilinear"
    )
    if colour_bar:
        _colour_bar(ax, drawn, "gaze density (1 = spread evenly)")
    return ax


def patch_grid(
    relevance: ArrayLike,
    *,
    image_shape: tuple[int, int],
    image: ArrayLike | None = None,
    relevant: ArrayLike | None = None,
    maximum: float = DENSITY_MAX,
    ax: Axes | None = None,
) -> Axes:
    """The gaze on each patch, and the boundary of the partition.

    Parameters
    ----------
    relevance : (rows, cols)
        Gaze mass of patches that tile the whole image, see `gazekit.patch_relevance`.
    image_shape : (H, W)
        Of the original, whose pixels are the axes' unit.
    image : (h, w), optional
        Grey, of any size.
    relevant : (rows, cols) bool, optional
        The partition, see `gazekit.partition`.
    maximum : float
        Top of the scale, in even spreads.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    density = _times_even(relevance)
    extent = _show_image(ax, np.zeros((1, 1)) if image is None else image, image_shape)
    alpha: Any = 1.0 if image is None else np.clip(3 * density / maximum, 0, 0.7)
    # not "none": SVG and PDF then hold the patches without their opacity, and the X-ray is lost below them
    drawn = ax.imshow(
        density, cmap="viridis", vmin=0, vmax=maximum, alpha=alpha, extent=extent, interpolation="nearest"
    )
    rows, cols = density.shape
    x, y = np.linspace(extent[0], extent[1], cols + 1), np.linspace(extent[3], extent[2], rows + 1)
    ax.vlines(x, y[0], y[-1], color="white", linewidth=0.4, alpha=0.4)
    ax.hlines(y, x[0], x[-1], color="white", linewidth=0.4, alpha=0.4)
    if relevant is not None:
        inside = np.pad(np.asarray(relevant, dtype=bool), 1)
        if inside.shape != (rows + 2, cols + 2):
            raise InputError(f"relevant is {np.shape(relevant)}, relevance {density.shape}: one flag a patch is needed")
        for r, c in np.argwhere(inside[1:-1, 1:] != inside[1:-1, :-1]):
            ax.plot([x[c], x[c]], [y[r], y[r + 1]], color="white", linewidth=2, solid_capstyle="projecting")
        for r, c in np.argwhere(inside[1:, 1:-1] != inside[:-1, 1:-1]):
            ax.plot([x[c], x[c + 1]], [y[r], y[r]], color="white", linewidth=2, solid_capstyle="projecting")
    _colour_bar(ax, drawn, "gaze on a patch (1 = spread evenly)")
    return ax


def scanpath(
    fixations: pd.DataFrame,
    *,
    image_shape: tuple[int, int],
    image: ArrayLike | None = None,
    maximum_s: float = DURATION_MAX_S,
    number: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Fixations in their order: discs whose area is the duration and whose colour is the time, joined by lines.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table.
    image_shape : (H, W)
    image : (h, w), optional
        Grey, of any size.
    maximum_s : float
        Top of the scale of time.
    number : bool
        Write the order into the discs.
    ax : Axes, optional

    Returns
    -------
    Axes
        The discs have an area of `POINTS2_PER_S` square points for each second. Fixations off the image are drawn,
        and the axes widened for them.
    """
    ax = _axes(ax)
    _show_image(ax, np.zeros((1, 1)) if image is None else image, image_shape)
    onset, offset = (fixations[name].to_numpy(np.float64) for name in TIMES)
    x, y = (fixations[name].to_numpy(np.float64) for name in POSITION)
    ax.plot(x, y, color="white", linewidth=0.8, alpha=0.6, zorder=2)
    drawn = ax.scatter(
        x,
        y,
        s=POINTS2_PER_S * (offset - onset),
        c=onset,
        cmap="viridis",
        vmin=0,
        vmax=maximum_s,
        alpha=0.75,
        edgecolors="white",
        linewidths=0.6,
        zorder=3,
    )
    if number:
        for k, place in enumerate(zip(x, y, strict=True), start=1):
            ax.annotate(str(k), place, ha="center", va="center", fontsize=6, color="white", zorder=4)
    if len(x):
        x0, y0, x1, y1 = whole_image(image_shape)
        ax.set_xlim(min(x0, x.min() - 10), max(x1, x.max() + 10))
        ax.set_ylim(max(y1, y.max() + 10), min(y0, y.min() - 10))
    _colour_bar(ax, drawn, "time, s (area of a disc: duration)")
    return ax


def timeline(
    fixations: pd.DataFrame,
    *,
    image_shape: tuple[int, int],
    samples: pd.DataFrame | None = None,
    transcript: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where the gaze was at each moment, and what was said.

    Parameters
    ----------
    fixations : DataFrame
        Canonical table: each fixation is a line at its place, from onset to offset.
    image_shape : (H, W)
        Positions are shown as a share of it, on a scale from -10 to 110 %.
    samples : DataFrame, optional
        ``time_s, x_px, y_px``: the raw trace, broken where the eye was lost.
    transcript : DataFrame, optional
        ``word, onset_s, offset_s``.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = _axes(ax, figsize=(12, 3.6))
    height, width = check_image_shape(image_shape)
    onset, offset = (fixations[name].to_numpy(np.float64) for name in TIMES)
    for name, size, colour, label in zip(
        POSITION, (width, height), (ACCENT, WARM), ("x, from the left", "y, from the top"), strict=True
    ):
        if samples is not None:
            share = 100 * (samples[name].to_numpy(np.float64) + 0.5) / size
            ax.plot(samples["time_s"], share, color=colour, linewidth=0.6, alpha=0.6)
        place = 100 * (fixations[name].to_numpy(np.float64) + 0.5) / size
        ax.hlines(place, onset, offset, color=colour, linewidth=2.5, label=label)
    ax.set_ylim(-10, 110)
    ax.set_yticks(range(0, 101, 25))
    ax.set_ylabel("position, % of the image")
    ax.set_xlabel("time, s")
    for spine in ("top", "right"):
        ax.spines[spine].set_visible(False)
    ax.margins(x=0.01)
    ax.legend(loc="upper right", ncols=2, frameon=False, bbox_to_anchor=(1, -0.12), fontsize="small")
    if transcript is not None:
        for word, start, end in transcript[["word", *TIMES]].itertuples(index=False):
            if any(character.isalnum() for character in word):
                ax.axvspan(start, end, ymin=0.985, ymax=1, color=INK, linewidth=0)
                ax.annotate(
                    word,
                    (start, 112),
                    rotation=60,
                    fontsize=7,
                    ha="left",
                    va="bottom",
                    annotation_clip=False,
                    color=INK,
                )
    return ax


def main_sequence(saccades: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Peak velocity over amplitude of saccades, coloured by duration, on logarithmic axes of fixed range.

    Parameters
    ----------
    saccades : DataFrame
        As `gazekit.events.measure_saccades` returns it.
    ax : Axes, optional

    Returns
    -------
    Axes
        Healthy saccades lie along a line that bends at large amplitudes (Bahill, Clark & Stark 1975); a cloud points to
        noise or to a detector that cuts them off.
    """
    ax = _axes(ax)
    drawn = ax.scatter(
        saccades["amplitude_dva"],
        saccades["peak_velocity_dva_s"],
        c=1e3 * (saccades["offset_s"] - saccades["onset_s"]),
        cmap="cividis",
        vmin=0,
        vmax=SACCADE_MAX_MS,
        s=22,
        edgecolors=INK,
        linewidths=0.3,
    )
    ax.set(xscale="log", yscale="log", xlim=DEGREES, ylim=DEGREES_PER_S)
    ax.set_xlabel("amplitude, degrees")
    ax.set_ylabel("peak velocity, degrees/s")
    ax.grid(visible=True, which="both", linewidth=0.3, alpha=0.5)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    _colour_bar(ax, drawn, "duration, ms")
    return ax


def quality_summary(readings: Sequence[Quality], *, axes: Sequence[Axes] | None = None) -> NDArray[Any]:
    """How the figures of a data set's readings are spread, and where the bounds of their flags lie.

    Parameters
    ----------
    readings : sequence of Quality
        Such as the ``readings`` of `gazekit.dataset_quality`.
    axes : sequence of 6 Axes, optional

    Returns
    -------
    (6,) object array of Axes
        One a figure of `TITLES`: a dot a reading, those with that figure's flag in orange; bounds dashed, median solid.
    """
    if not readings:
        raise InputError("no reading, so there is no quality to show")
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.subplots(2, 3, figsize=(12, 4.5), layout="constrained")[1].ravel()
    if len(axes) != len(TITLES):
        raise InputError(f"quality_summary needs {len(TITLES)} axes, got {len(axes)}")
    panels = np.empty(len(TITLES), dtype=object)
    for k, (ax, (name, title)) in enumerate(zip(axes, TITLES.items(), strict=True)):
        panels[k] = ax
        values = [value for reading in readings if (value := getattr(reading, name)) is not None]
        _strip(ax, values, BOUNDS.get(name, (None, None)))
        median = f": median {np.median(values):.4g}" if values else ""
        ax.set_title(title + median, fontsize="medium", loc="left")
    return panels


def _strip(ax: Axes, values: list[float], bounds: tuple[float | None, float | None]) -> None:
    """A dot a value over a fixed pattern of heights, so that equal values do not hide each other."""
    ax.set_yticks([])
    for spine in ("top", "right", "left"):
        ax.spines[spine].set_visible(False)
    if not values:
        ax.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=ax.transAxes, color=INK)
        ax.set_xticks([])
        return
    found = np.array(values, dtype=np.float64)
    odd = np.zeros(len(found), dtype=bool)
    for bound, beyond in zip(bounds, (np.less, np.greater), strict=True):
        if bound is not None:
            odd |= beyond(found, bound)
            ax.axvline(bound, color=WARM, linewidth=1, linestyle="--")
    # the golden ratio spreads any number of points evenly
    heights = (np.arange(len(found)) * 0.6180339887) % 1
    for chosen, colour, order in ((~odd, ACCENT, 2), (odd, WARM, 3)):
        ax.scatter(found[chosen], heights[chosen], s=18, color=colour, alpha=0.7, linewidths=0, zorder=order)
    ax.axvline(float(np.median(found)), color=INK, linewidth=1)
    ax.set_ylim(-0.1, 1.1)
    ax.set_xlim(0, 1.15 * max(found.max(), *(bound for bound in bounds if bound is not None), 1e-3))


def _axes(ax: Axes | None, **figure: Any) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    made: Axes = plt.subplots(layout="constrained", **figure)[1]
    return made


def _show_image(ax: Axes, image: ArrayLike, image_shape: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """The grey image in original pixels; its extent as matplotlib counts, left, right, bottom, top."""
    grey = np.asarray(image)
    if grey.ndim != 2:
        raise InputError(f"image must be grey (h, w), got shape {grey.shape}")
    x0, y0, x1, y1 = whole_image(check_image_shape(grey.shape if image_shape is None else image_shape))
    extent = (x0, x1, y1, y0)
    ax.imshow(grey, cmap="gray", extent=extent, aspect="equal")
    ax.set_facecolor("black")
    ax.set_xlabel("x, image pixels")
    ax.set_ylabel("y, image pixels")
    return extent


def _times_even(values: ArrayLike) -> NDArray[np.float64]:
    """A map as multiples of its mean."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"expected a map (rows, cols), got shape {array.shape}")
    mean = float(array.mean())
    if not (np.isfinite(mean) and mean > 0 and array.min() >= 0):
        raise InputError("a map must be finite, not negative, and above zero somewhere to be drawn")
    return array / mean


def _colour_bar(ax: Axes, drawn: ScalarMappable, label: str) -> None:
    # an inset is as high as the axes, also where an image makes them lower than their place in the figure
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.02, 0, 0.03, 1)), label=label, extend="max")
    if bar.solids is not None:
        bar.solids.set_alpha(1)
