"""Figures as files and inside the page, where colours are CSS variables, ids are unique and no link leads outside."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from markupsafe import Markup
from matplotlib.figure import Figure

from ...plot.style import PAPER, Drawing, Palette, drawing
from ...tables import printable

_PNG_DPI = 200
_LINK = "{http://www.w3.org/1999/xlink}href"
_NOTHING = {key: None for key in ("Date", "Creator", "Format", "Type")}
_DROPPED = ("metadata", "style")
_NOTE = re.compile(r'<g id="(note\d+)">')
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")


def to_svg(figure: Figure) -> bytes:
    """An SVG file on white, with text as text and the notes of `rmp_lava.plot` under the pointer."""
    return _svg(figure, facecolor=PAPER)


def to_png(figure: Figure) -> bytes:
    """A PNG file on white."""
    return _saved(figure, format="png", metadata={"Software": None}, facecolor=PAPER, dpi=_PNG_DPI)


def to_pdf(figure: Figure) -> bytes:
    """A PDF file of one page, with text as text."""
    return _saved(figure, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def _svg(figure: Figure, **options: Any) -> bytes:
    """With a title in each element that has a note, which browsers show under the pointer; also where nothing is painted."""

    def titled(found: re.Match[str]) -> str:
        return f'<g id="{found[1]}" pointer-events="all"><title>{escape(printable(notes[found[1]]))}</title>'

    content = _saved(figure, format="svg", metadata=_NOTHING, **options)
    notes = figure.notes if isinstance(figure, Drawing) else {}
    return _NOTE.sub(titled, content.decode("utf-8")).encode("utf-8") if notes else content


def _saved(figure: Figure, **options: Any) -> bytes:
    content = io.BytesIO()
    with drawing():
        figure.savefig(content, **options)
    return content.getvalue()


def inline(figure: Figure, palette: Palette, prefix: str, title: str) -> Markup:
    """An `<svg>` element for the page.

    Parameters
    ----------
    prefix : str
        Of every id, as all pictures of a page share one namespace.
    title : str
        For screen readers.
    """
    root = ElementTree.fromstring(_svg(figure, transparent=True))
    _clean(root, palette, prefix)
    width = f"width: {figure.get_figwidth() * 96:.0f}px"
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": title, "style": width}
    # ElementTree escapes text and attributes.
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element: ElementTree.Element, palette: Palette, prefix: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    attributes = {}
    for key, value in element.attrib.items():
        if key == _LINK:
            key = "href"
        if key == "id":
            if element.tag == "image":  # named after its content, so equal images would share an id
                continue
            value = prefix + value
        elif key == "href" and value.startswith("#"):
            value = f"#{prefix}{value[1:]}"
        elif key == "clip-path":
            value = value.replace("url(#", f"url(#{prefix}")
        elif key == "style":
            value = _style(value, palette)
        elif key == "d":
            value = " ".join(_LONG_NUMBER.sub(r"\1", value).split())
        attributes[key] = value
    element.attrib = attributes
    for child in list(element):
        if child.tag.rpartition("}")[2] in _DROPPED:
            element.remove(child)
        else:
            _clean(child, palette, prefix)


def _style(text: str, palette: Palette) -> str:
    """Colours as CSS variables, and the page's fonts; the font size stays."""
    size = re.search(r"font: (?:\w+ )*?([\d.]+px)", text)
    if size:
        bold = " font-weight: 600;" if re.search(r"font: (?:bold|6\d\d|700)", text) else ""
        text = f"font-size: {size[1]};{bold}" + re.sub(r"font: [^;]*(;|$)", " ", text)
    return _COLOUR.sub(
        lambda found: f"var(--{palette.names[found[0]]})" if found[0] in palette.names else found[0], text
    )
