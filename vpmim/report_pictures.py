"""How the report shows a picture: embedded pixels, with outlines drawn over them as vectors, sharp at any size."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vpmim.markup import Html, tag
from vpmim.pictures import data_uri

if TYPE_CHECKING:
    from numpy.typing import NDArray


def embedded(picture: NDArray[np.uint8], units: float, *, palette: NDArray[np.uint8] | None = None) -> Html:
    """A picture as an element of a drawing, `units` wide; arguments as of `vpmim.pictures.data_uri`."""
    height = units * picture.shape[0] / picture.shape[1]
    table = None if palette is None else palette.tobytes()
    href = _address(picture.tobytes(), picture.shape, table)
    return tag("image", href=href, width=f"{units:g}", height=f"{height:g}")


@lru_cache(maxsize=64)
def _address(content: bytes, shape: tuple[int, ...], palette: bytes | None) -> str:
    """`vpmim.pictures.data_uri`, whose compression is most of the work, once for what is the same at each step."""
    picture = np.frombuffer(content, np.uint8).reshape(shape)
    return data_uri(picture, palette=None if palette is None else np.frombuffer(palette, np.uint8).reshape(-1, 3))


def drawing(content: object, view: str, *, label: str) -> Html:
    """A drawing of pictures and vectors.

    Parameters
    ----------
    content : children, in units of the view
    view : ``x y width height`` of what is shown
    label : what is shown, for those who cannot see it
    """
    return tag("svg", content, viewBox=view, role="img", aria_label=label, class_="picture")


def captioned(picture: Html, caption: object) -> Html:
    """A picture with its caption below."""
    return tag("figure", picture, tag("figcaption", caption))
