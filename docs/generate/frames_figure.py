"""Draw docs/images/frames.svg: every coordinate frame, with numbers from `gazekit.geometry` itself.

``python docs/generate/frames_figure.py`` writes it anew; a test holds the committed file to what this draws.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gazekit.geometry import (
    ImageFrame,
    PatchGrid,
    fit_frame,
    placed_rectangle,
    range_edges,
    screen_to_image,
    whole_image,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TARGET = Path(__file__).parents[1] / "images" / "frames.svg"
WIDTH = 480
INK, QUIET, BLUE, RED, PAPER, BAND = "#1f2430", "#5b6472", "#1c5fb0", "#c0392b", "#ffffff", "#e6eaf0"

SCREEN = (1920, 1080)
IMAGE = (3000, 2500)  # H, W
GAZE = (1100.0, 400.0)  # on the screen
STORED = 256


def main() -> None:
    """Write the figure."""
    TARGET.write_text(figure(), encoding="utf-8")


def figure() -> str:
    """The SVG."""
    drawn = placed_rectangle(IMAGE, SCREEN)
    on_image = screen_to_image(GAZE, whole_image(IMAGE), range_edges(drawn))
    frame = fit_frame(IMAGE, STORED)
    on_stored = frame.to_stored(on_image)
    parts = [
        *_pixels(top=0),
        *_screen(drawn, on_image, top=306),
        *_stored(frame, on_stored, top=646),
        *_crop(frame, top=912),
    ]
    height = 1246
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" '
        f'font-size="14" role="img" aria-label="The coordinate frames of gazekit and vpmim">'
    )
    return "\n".join([head, _rect(0, 0, WIDTH, height, PAPER, None), *parts, "</svg>", ""])


def _pixels(top: float) -> list[str]:
    """Pixel centres, edges, and a clip on an image of 7 x 4 pixels."""
    cell, left, y0 = 44.0, 60.0, top + 66

    def x(value: float) -> float:
        return left + (value + 0.5) * cell

    def y(value: float) -> float:
        return y0 + (value + 0.5) * cell

    parts = _title(
        top, "1  Image pixels: integers are centres", "x to the right, y down; points (x, y), arrays [row, col]"
    )
    for column in range(7):
        for row in range(4):
            parts.append(_rect(x(column - 0.5), y(row - 0.5), cell, cell, BAND if (column + row) % 2 else PAPER, QUIET))
            parts.append(_dot(x(column), y(row), 2, INK))
    parts += [_text(x(0), y(0) + 17, "(0, 0)", 12, INK, "middle"), _text(x(6), y(3) + 17, "(6, 3)", 12, INK, "middle")]
    parts.append(_rect(x(1.5), y(0.5), 3 * cell, 2 * cell, None, RED, 3))
    for k, line in enumerate(("a rectangle", "of pixels:", "[2, 5) x [1, 3)")):
        parts.append(_text(x(6.5) + 10, y(1) + 18 * k, line, 13, RED))
    for value in (-0.5, 1.5, 4.5, 6.5):
        parts.append(_text(x(value), y(3.5) + 18, f"{value:g}", 13, RED if value in (1.5, 4.5) else BLUE, "middle"))
    for value in (-0.5, 0.5, 2.5, 3.5):
        parts.append(_text(x(-0.5) - 8, y(value) + 5, f"{value:g}", 13, RED if value in (0.5, 2.5) else BLUE, "end"))
    parts.append(
        _text(24, y(3.5) + 42, "Edges lie half a pixel off: the whole image is (-0.5, -0.5, 6.5, 3.5).", 13, BLUE)
    )
    return parts


def _screen(drawn: tuple[float, ...], on_image: NDArray[np.float64], top: float) -> list[str]:
    """The rectangle in which the image is drawn on the screen."""
    scale, left, y0 = 432 / SCREEN[0], 24.0, top + 58
    parts = _title(top, "2  Screen to image", "through the rectangle in which it was drawn, edge to edge")
    parts.append(_rect(left, y0, SCREEN[0] * scale, SCREEN[1] * scale, BAND, QUIET))
    x0, _, x1, y1 = drawn
    parts.append(_rect(left + x0 * scale, y0, (x1 - x0) * scale, y1 * scale, PAPER, RED, 2))
    parts.append(_dot(left + (GAZE[0] + 0.5) * scale, y0 + (GAZE[1] + 0.5) * scale, 5, BLUE))
    parts += [_text(left + 8, y0 + 20, "screen", 13), _text(left + 8, y0 + 38, f"{SCREEN[0]} x {SCREEN[1]}", 13)]
    parts.append(_text(left + x0 * scale + 6, y0 + y1 * scale - 26, f"image {IMAGE[1]} x {IMAGE[0]}", 13, RED))
    parts.append(_text(left + x0 * scale + 6, y0 + y1 * scale - 9, f"drawn [{x0:g}, {x1:g}) x [0, {y1:g})", 13, RED))
    parts.append(_text(left + (GAZE[0] + 18) * scale, y0 + GAZE[1] * scale - 8, "gaze", 13, BLUE))
    px, py = (float(v) for v in on_image)
    text = f"screen ({GAZE[0]:g}, {GAZE[1]:g}) is image ({px:.1f}, {py:.1f})"
    return [*parts, _text(left, y0 + SCREEN[1] * scale + 22, text, 14, BLUE)]


def _stored(frame: ImageFrame, on_stored: NDArray[np.float64], top: float) -> list[str]:
    """The padded square that the cache keeps."""
    scale, left, y0 = 176 / STORED, 24.0, top + 58
    x0, yy0, x1, yy1 = frame.valid_box
    parts = _title(top, "3  Image to stored square", "aspect kept, centred, padded; between pixel centres")
    parts.append(_rect(left, y0, 176, 176, BAND, QUIET))
    parts.append(
        _rect(
            left + (x0 + 0.5) * scale, y0 + (yy0 + 0.5) * scale, (x1 - x0) * scale, (yy1 - yy0) * scale, PAPER, RED, 2
        )
    )
    px, py = (float(v) for v in on_stored)
    parts.append(_dot(left + (px + 0.5) * scale, y0 + (py + 0.5) * scale, 5, BLUE))
    parts.append(_text(left + 4, y0 + 170, "pad", 11, QUIET))
    right = left + 194
    lines = [
        ("stored = scale x image + offset", INK),
        (f"scale ({frame.scale_x:.5f}, {frame.scale_y:.5f})", INK),
        (f"offset ({frame.offset_x:.3f}, {frame.offset_y:.3f})", INK),
        ("edges of the image:", RED),
        (f"{x0:g}, {yy0:g}, {x1:g}, {yy1:g}", RED),
        (f"the gaze is at ({px:.2f}, {py:.2f})", BLUE),
    ]
    return parts + [_text(right, y0 + 22 + 28 * k, line, 14, colour) for k, (line, colour) in enumerate(lines)]


def _crop(frame: ImageFrame, top: float) -> list[str]:
    """A training crop with its patches."""
    crop = (59.5, 39.5, 187.5, 167.5)
    grid = PatchGrid(4, 4)
    xs, ys = grid.edges(crop)
    original = frame.original_box(crop)
    scale, left, y0 = 176 / STORED, 24.0, top + 58
    x0, yy0, x1, yy1 = frame.valid_box
    parts = _title(top, "4  Crop to patches", "a crop is edges; patches run along rows, as in timm")
    parts.append(_rect(left, y0, 176, 176, BAND, QUIET))
    parts.append(
        _rect(
            left + (x0 + 0.5) * scale, y0 + (yy0 + 0.5) * scale, (x1 - x0) * scale, (yy1 - yy0) * scale, PAPER, RED, 1
        )
    )
    parts.append(
        _rect(left + (crop[0] + 0.5) * scale, y0 + (crop[1] + 0.5) * scale, 128 * scale, 128 * scale, None, BLUE, 2)
    )
    zoom, right = 44.0, left + 216
    for row in range(4):
        for column in range(4):
            parts.append(_rect(right + column * zoom, y0 + row * zoom, zoom, zoom, PAPER, BLUE))
            label = str(row * grid.cols + column)
            parts.append(_text(right + (column + 0.5) * zoom, y0 + (row + 0.5) * zoom + 5, label, 14, INK, "middle"))
    parts.append(_text(right, y0 + 196, f"patch 5: x {xs[1]:g} to {xs[2]:g}", 13, BLUE))
    parts.append(_text(right, y0 + 214, f"y {ys[1]:g} to {ys[2]:g}", 13, BLUE))
    parts.append(_text(left, y0 + 196, "crop, stored pixels:", 13, BLUE))
    parts.append(_text(left, y0 + 214, ", ".join(f"{v:g}" for v in crop), 13, BLUE))
    text = f"The same crop in image pixels: {', '.join(f'{v:.1f}' for v in original)}"
    parts.append(_text(left, y0 + 238, text, 13))
    parts.append(_text(left, y0 + 256, "A crop or a flip moves edges; the fixations stay where they are.", 13))
    return parts


def _title(top: float, title: str, subtitle: str) -> list[str]:
    return [
        f'<text x="24" y="{top + 28:g}" font-size="17" font-weight="600" fill="{INK}">{title}</text>',
        _text(24, top + 47, subtitle, 13, QUIET),
    ]


def _rect(
    x: float, y: float, width: float, height: float, fill: str | None, stroke: str | None, line: float = 1
) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{fill or "none"}" '
        f'stroke="{stroke or "none"}" stroke-width="{line:g}"/>'
    )


def _dot(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:g}" fill="{fill}"/>'


def _text(x: float, y: float, text: str, size: float, fill: str = INK, anchor: str = "start") -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}">{text}</text>'


if __name__ == "__main__":
    main()
