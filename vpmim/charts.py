"""Two kinds of chart as SVG, coloured by the page's style: curves over steps, and figures with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vpmim.markup import Html, tag

WIDTH, HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40
_POINTS = 300
"""Points a curve is drawn with: more could not be told apart."""

COLOURS = 6
"""Colours of lines; the seventh has the first one's, with dashes."""

_TICK_WIDTH = 52
"""What the number at a tick needs, with the space around it."""

_FEW = 4
"""Lines up to here are drawn as logged too."""

_LOG_RANGE = 8.0
"""A positive curve that spans more than this factor is drawn on a logarithmic axis."""


class Dot(NamedTuple):
    """A figure with its interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    kind: str
    """Class of its colour."""


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x_label: str = "step",
    logarithmic: bool = True,
) -> Html:
    """Lines over a shared axis: each averaged over a twenty-fifth of its length and, where they are few, as logged too.

    Parameters
    ----------
    series : label -> (x, y), x ascending; values that are not finite are left out. A label keeps its colour and dashes
        by its place, in every chart
    title : what is drawn, for those who cannot see it too
    x_label : under the axis
    logarithmic : whether a positive curve of a wide range may have a logarithmic axis
    """
    lines = {}
    for number, (label, (x, y)) in enumerate(series.items()):
        finite = np.isfinite(np.asarray(y, np.float64))
        if finite.any():
            kind = f"c{number % COLOURS + 1} d{number // COLOURS}"
            lines[label] = kind, np.asarray(x, np.float64)[finite], np.asarray(y, np.float64)[finite]
    if not lines:
        return tag("p", f"{title}: no finite value was logged.", class_="note")
    everything = np.concatenate([y for _, _, y in lines.values()])
    low, high = float(everything.min()), float(everything.max())
    logarithmic = logarithmic and low > 0 and high / low > _LOG_RANGE
    ticks = _log_ticks(low, high) if logarithmic else nice_ticks(min(low, 0.0) if low < 0.4 * high else low, high)
    bottom, top = min(ticks[0], low), max(ticks[-1], high)
    first, last = min(x[0] for _, x, _ in lines.values()), max(x[-1] for _, x, _ in lines.values())

    def across(x: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((x - first) / (last - first) if last > first else 0.5)

    def up(y: float) -> float:
        if logarithmic:
            share = math.log(y / bottom) / math.log(top / bottom)
        else:
            share = (y - bottom) / (top - bottom) if top > bottom else 0.5
        return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * share

    faint: list[Html] = []
    drawn: list[Html] = []
    for kind, x, y in lines.values():
        x, y = _thinned(x, y)
        if len(lines) <= _FEW:
            faint.append(_polyline(x, y, across, up, f"raw {kind}"))
        drawn.append(_polyline(x, smoothed(y), across, up, f"line {kind}"))
        if len(x) == 1:  # no line to see
            drawn.append(tag("circle", cx=across(x[0]), cy=up(y[0]), r=4, class_=f"dot {kind}"))
    legend = tag(
        "figcaption",
        tag("strong", title),
        [tag("span", key(kind), label, class_="entry") for label, (kind, _, _) in lines.items()]
        if len(series) > 1
        else None,
        tag("span", "logarithmic axis", class_="entry muted") if logarithmic else None,
    )
    axes = [_horizontal(up(tick), tick) for tick in ticks]
    axes += [_below(across(tick), tick) for tick in nice_ticks(first, last, 5) if first <= tick <= last]
    name = tag("text", x_label, x=(WIDTH + _LEFT) / 2, y=HEIGHT - 6, class_="axis middle")
    ends = "; ".join(
        f"{label}: {y[0]:.4g} at {x_label} {x[0]:g}, {y[-1]:.4g} at {x_label} {x[-1]:g}"
        for label, (_, x, y) in lines.items()
    )
    view = f"0 0 {WIDTH} {HEIGHT}"
    svg = tag("svg", axes, name, faint, drawn, viewBox=view, role="img", aria_label=f"{title}. {ends}")
    return tag("figure", legend, svg, class_="chart")


def key(kind: str) -> Html:
    """A piece of a curve, for a legend."""
    line = tag("line", x1=1, x2=25, y1=4, y2=4, class_=f"line {kind}")
    return tag("svg", line, viewBox="0 0 26 8", class_="key", aria_hidden="true")


def intervals(
    dots: Sequence[Dot],
    *,
    title: str,
    reference: float | None = None,
    reference_label: str = "",
    signed: bool = False,
) -> Html:
    """Figures as dots, one below the other, each with its interval as a bar.

    Parameters
    ----------
    dots : from top to bottom
    title : what is drawn
    reference : where a line is drawn through all of them, such as chance
    reference_label : what it is
    signed : whether the figures are differences, written with their sign
    """
    row = 30
    label_width = 16 + 7.5 * max(len(_shortened(dot.label)) for dot in dots)
    left, right = min(label_width, 190), WIDTH - 52
    bottom = 14 + row * len(dots)
    bounds = [bound for dot in dots for bound in (dot.low, dot.high, dot.value) if bound is not None]
    if reference is not None:
        bounds.append(reference)
    ticks = nice_ticks(min(bounds), max(bounds), max(2, int((right - left) / _TICK_WIDTH)))
    low, high = min(ticks[0], *bounds), max(ticks[-1], *bounds)

    def across(value: float) -> float:
        return left + (right - left) * ((value - low) / (high - low) if high > low else 0.5)

    written = f"{'+' if signed else ''}.3f"
    said = []
    parts: list[Html] = []
    for tick in ticks:
        parts.append(tag("line", x1=across(tick), x2=across(tick), y1=6, y2=bottom, class_="grid"))
        parts.append(tag("text", f"{tick:g}", x=across(tick), y=bottom + 16, class_="axis middle"))
    if reference is not None:
        parts.append(tag("line", x1=across(reference), x2=across(reference), y1=6, y2=bottom, class_="reference"))
        parts.append(tag("text", reference_label, x=across(reference), y=bottom + 32, class_="axis middle"))
    for place, dot in enumerate(dots):
        y = 6 + row * (place + 0.5)
        parts.append(tag("text", _shortened(dot.label), x=left - 10, y=y + 4, class_="axis end"))
        if dot.low is not None and dot.high is not None:
            parts.append(tag("line", x1=across(dot.low), x2=across(dot.high), y1=y, y2=y, class_=f"bar {dot.kind}"))
        parts.append(tag("circle", cx=across(dot.value), cy=y, r=5.5, class_=f"dot {dot.kind}"))
        parts.append(tag("text", f"{dot.value:{written}}", x=WIDTH - 4, y=y + 4, class_="axis value end"))
        bounds_said = "" if dot.low is None else f", interval {dot.low:{written}} to {dot.high:{written}}"
        said.append(f"{dot.label}: {dot.value:{written}}{bounds_said}")
    view = f"0 0 {WIDTH} {bottom + 38}"
    svg = tag("svg", parts, viewBox=view, role="img", aria_label=f"{title}. {'; '.join(said)}")
    return tag("figure", tag("figcaption", tag("strong", title)), svg, class_="chart")


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count` of them, their step 1, 2 or 5 times a power of ten."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / count
    unit = 10 ** math.floor(math.log10(rough))
    step = unit * min((m for m in (1, 2, 5, 10) if m * unit >= rough * 0.999), default=10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def smoothed(y: np.ndarray) -> np.ndarray:
    """Centred running mean over a twenty-fifth of the points, over fewer at both ends."""
    half = len(y) // 50
    if half == 0:
        return y
    sums = np.concatenate([[0.0], np.cumsum(y)])
    low, high = np.arange(len(y)) - half, np.arange(len(y)) + half + 1
    low, high = low.clip(min=0), high.clip(max=len(y))
    return (sums[high] - sums[low]) / (high - low)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over equal runs of points, where there are too many to be seen."""
    if len(x) <= _POINTS:
        return x, y
    edges = np.linspace(0, len(x), _POINTS + 1).astype(int)
    counts = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / counts, np.add.reduceat(y, edges[:-1]) / counts


def _log_ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    multiples = (1, 2, 5) if len(exponents) <= 3 else (1,)
    ticks = [m * 10.0**e for e in exponents for m in multiples]
    below = max((t for t in ticks if t <= low), default=ticks[0])
    above = min((t for t in ticks if t >= high), default=ticks[-1])
    return [t for t in ticks if below <= t <= above]


def _polyline(
    x: np.ndarray, y: np.ndarray, across: Callable[[float], float], up: Callable[[float], float], kind: str
) -> Html:
    points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return tag("polyline", points=points, class_=kind)


def _horizontal(y: float, tick: float) -> list[Html]:
    return [
        tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=round(y, 1), y2=round(y, 1), class_="grid"),
        tag("text", f"{tick:g}", x=_LEFT - 6, y=round(y + 4, 1), class_="axis end"),
    ]


def _below(x: float, tick: float) -> list[Html]:
    return [tag("text", f"{tick:g}", x=round(x, 1), y=HEIGHT - _BOTTOM + 17, class_="axis middle")]


def _shortened(label: str, length: int = 24) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"
