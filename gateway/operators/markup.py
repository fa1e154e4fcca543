"""HTML as a tree of elements, so that no text can become markup: the serialiser escapes each one."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from xml.etree import ElementTree as ET

__all__ = ["Content", "Element", "document", "element", "link", "table"]

Element: TypeAlias = ET.Element
Content: TypeAlias = str | Element | Iterable[str | Element] | None


def element(tag: str, *contents: Content, **attributes: str | bool) -> Element:
    """Return an element.

    Args:
        tag: Its name.
        contents: Texts and elements, in order; None stands for nothing.
        attributes: Its attributes: ``class_`` is ``class``, other underscores are hyphens, and False leaves one out.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not False}
    made = ET.Element(tag, {name: "" if value is True else value for name, value in named.items()})
    for content in contents:
        if content is None:
            continue
        # An element is iterable, too: it yields its children.
        for part in (content,) if isinstance(content, str | ET.Element) else content:
            _append(made, part)
    return made


def link(href: str, text: str) -> Element:
    """Return a link."""
    return element("a", text, href=href)


def table(headings: Sequence[str], rows: Iterable[Element], *, label: str, class_: str = "") -> Element:
    """Return a table; a heading that begins with ``#`` is that of a column of numbers.

    Each cell knows its heading too, for narrow screens, where rows are stacked.
    """
    names = [heading.removeprefix("#") for heading in headings]
    head = [
        element("th", name, scope="col", class_="number" if heading.startswith("#") else False)
        for name, heading in zip(names, headings, strict=True)
    ]
    body = element("tbody", rows)
    for row in body:
        for name, cell in zip(names, row, strict=True):
            cell.set("data-label", name)
    return element("table", element("thead", element("tr", head)), body, aria_label=label, class_=class_ or False)


def document(root: Element) -> bytes:
    """Serialise a whole page."""
    text: str = ET.tostring(root, encoding="unicode", method="html")
    return f"<!doctype html>\n{text}\n".encode("utf-8", "replace")


def _append(parent: Element, part: str | Element) -> None:
    if not isinstance(part, str):
        parent.append(part)
    elif len(parent):
        parent[-1].tail = (parent[-1].tail or "") + part
    else:
        parent.text = (parent.text or "") + part
