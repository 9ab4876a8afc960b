"""matplotlib's SVG file made fit for a page with a strict style policy.

No style attributes, no scripts, no metadata: styles become presentation attributes, sentinel colours
become CSS classes, ids get a prefix, sizes follow the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

# Colours that no plot uses as themselves; the style sheet gives each class its real colour.
SERIES = tuple(f"#0000{place:02x}" for place in range(1, 9))
FOREGROUND, MUTED, GRID, LEVEL, BAD = "#000011", "#000012", "#000013", "#000014", "#000015"
CLASSES = {colour: f"s{place}" for place, colour in enumerate(SERIES, start=1)} | {
    FOREGROUND: "fg",
    MUTED: "muted",
    GRID: "grid",
    LEVEL: "level",
    BAD: "bad",
}
KEPT = frozenset(
    {
        "opacity",
        "stroke-opacity",
        "fill-opacity",
        "stroke-width",
        "stroke-dasharray",
        "stroke-dashoffset",
        "stroke-linecap",
        "stroke-linejoin",
        "text-anchor",
    }
)

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_FONT_SIZE = re.compile(r"([\d.]+)px")
_REFERENCE = re.compile(r"#([\w.-]+)")


def series_colour(place: int) -> str:
    """The sentinel colour of the n-th curve."""
    return SERIES[place % len(SERIES)]


def inline(file_text: str, prefix: str, label: str) -> str:
    """The `<svg>` element of a matplotlib file, with its ids prefixed and `label` as what it shows."""
    source = ElementTree.fromstring(file_text)  # noqa: S314 - matplotlib's own output, no outside text in it
    root = _converted(source, prefix)
    root.attrib = {"viewBox": source.attrib["viewBox"], "role": "img", "aria-label": label, "class": "chart"}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _converted(element: ElementTree.Element, prefix: str) -> ElementTree.Element:
    made = ElementTree.Element(element.tag.removeprefix(_NAMESPACE), dict(_attributes(element, prefix)))
    made.text = element.text if made.tag == "text" else None
    made.extend(_converted(child, prefix) for child in element if _is_drawing(child))
    return made


def _is_drawing(element: ElementTree.Element) -> bool:
    return element.tag.startswith(_NAMESPACE) and element.tag.removeprefix(_NAMESPACE) not in {
        "metadata",
        "style",
    }


def _attributes(element: ElementTree.Element, prefix: str) -> Iterator[tuple[str, str]]:
    classes: list[str] = []
    for name, value in element.attrib.items():
        if name == "style":
            yield from _presentation(value, classes)
        elif name == "id":
            if _is_referred_to(element):
                yield "id", f"{prefix}-{value}"
        elif name in {_XLINK, "clip-path"}:
            yield name.replace(_XLINK, "href"), _REFERENCE.sub(rf"#{prefix}-\1", value)
        else:
            yield name, value
    if classes:
        yield "class", " ".join(classes)


def _is_referred_to(element: ElementTree.Element) -> bool:
    """Whether other elements refer to this one; groups have ids too, which nothing needs."""
    return element.tag in {f"{_NAMESPACE}clipPath", f"{_NAMESPACE}path"}


def _presentation(style: str, classes: list[str]) -> Iterator[tuple[str, str]]:
    """Style declarations as attributes; sentinel colours are collected as class names instead."""
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        size = _FONT_SIZE.search(value)
        if value in CLASSES:
            classes.append(f"{name}-{CLASSES[value]}")
        elif name in KEPT or (name in {"fill", "stroke"} and value == "none"):
            yield name, value
        elif name in {"font", "font-size"} and size:
            yield "font-size", size[1]
