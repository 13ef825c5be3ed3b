"""HTML as values: text is escaped unless it was made here, so that no id, note or message can become markup."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

_VOID = {"meta", "img", "br", "hr", "circle", "input", "line", "path", "polyline", "rect", "image"}


class Html(str):
    """Markup that needs no more escaping."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element.

    Parameters
    ----------
    name : element name
    children : text, numbers, `Html`, None (nothing), or lists of these
    attributes : a trailing underscore is dropped (``class_``), others become hyphens; None leaves an attribute out

    Returns
    -------
    Html
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Children one after the other, text escaped."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, str | int | float):
            parts.append(html.escape(_text(child)))
        elif child is not None:
            assert isinstance(child, Iterable), f"no content for a page: {child!r}"
            parts.append(join(*child))
    return Html("".join(parts))


def table(
    head: Sequence[object], rows: Iterable[Iterable[object]], *, label: str, numbers: Container[int] = ()
) -> Html:
    """A table in a region that scrolls where it is too wide, which keys reach.

    Parameters
    ----------
    head : title of each column
    rows : cells of each; the first names its row. A cell that is a ``td`` already stays as it is
    label : what the table holds, for those who cannot see it
    numbers : columns that are aligned to the right
    """
    kinds = ["number" if place in numbers else None for place in range(len(head))]
    body = []
    for cells in rows:
        first, *others = cells
        filled = [
            cell if isinstance(cell, Html) and cell.startswith("<td") else tag("td", cell, class_=kind)
            for cell, kind in zip(others, kinds[1:], strict=True)
        ]
        body.append(tag("tr", tag("th", first, scope="row"), filled))
    top = tag("tr", [tag("th", text, scope="col", class_=kind) for text, kind in zip(head, kinds, strict=True)])
    content = tag("table", tag("thead", top), tag("tbody", body))
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def callout(sentences: Sequence[object]) -> Html | None:
    """What must be known before a figure is believed."""
    if not sentences:
        return None
    return tag("div", [tag("p", sentence) for sentence in sentences], class_="callout", role="note")


def address(target: Path, page: Path) -> str:
    """Where a file is for a link on a page: relative, so that the folder that holds both can be moved."""
    return quote(os.path.relpath(target, page.parent))


def page(title: str, style: str, *body: object, script: str = "") -> Html:
    """A whole document that loads nothing: its content policy allows this very style and script, and pictures in it.

    Parameters
    ----------
    title : text
    style : CSS; there are no style attributes
    body : children
    script : JavaScript, at the end of the document; it may not hold ``</script``
    """
    policy = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
    policy += f"script-src '{_digest(script)}'; " if script else ""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=f"{policy}base-uri 'none'; form-action 'none'"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(style)),
    )
    content = tag("body", *body, tag("script", Html(script)) if script else None)
    return Html(f'<!doctype html>\n<html lang="en">{head}{content}</html>\n')


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
