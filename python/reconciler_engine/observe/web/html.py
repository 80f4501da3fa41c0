"""HTML that is escaped by construction: texts become text, and elements alone become elements."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

_VOID = frozenset({"input", "link", "meta"})


@dataclass(frozen=True, slots=True)
class Element:
    """An element; `str()` of it is its HTML."""

    text: str

    def __str__(self) -> str:
        return self.text


_Value = str | int | bool | None
Child = Element | str | int | float | None


def element(tag: str, *children: Child | Iterable[Child], **attributes: str | int | bool | None) -> Element:
    """Return an element of our own vocabulary: `tag` and the attributes' names are the program's words.

    Children other than elements are shown as text; None is left out. An attribute of None or False is
    left out too, one of True has no value; `class_` and `http_equiv` are written as HTML has them.
    """
    shown = "".join(_attribute(name.strip("_").replace("_", "-"), value) for name, value in attributes.items())
    if tag in _VOID:
        return Element(f"<{tag}{shown}>")
    return Element(f"<{tag}{shown}>{''.join(_child(child) for child in _flat(children))}</{tag}>")


def _flat(children: Iterable[Child | Iterable[Child]]) -> Iterable[Child]:
    for child in children:
        if child is None or isinstance(child, Element | str | int | float):
            yield child
        else:
            yield from child


def _child(child: Child) -> str:
    if child is None:
        return ""
    return child.text if isinstance(child, Element) else html.escape(str(child))


def _attribute(name: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
