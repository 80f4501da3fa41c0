"""HTML elements that escape their content: only an `Element` becomes markup, anything else becomes text."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

_VOID = frozenset({"input", "link", "meta"})


@dataclass(frozen=True, slots=True)
class Element:
    """An HTML element; `str()` returns its HTML."""

    text: str

    def __str__(self) -> str:
        return self.text


_Value = str | int | bool | None
Child = Element | str | int | float | None


def element(tag: str, *children: Child | Iterable[Child], **attributes: str | int | bool | None) -> Element:
    """Return an element. The tag and the names of attributes are not escaped: they must be constants of the program.

    Children other than elements are escaped; None is left out. An attribute that is None or False is left out; one that
    is True is written without a value. `class_` becomes `class`, and `http_equiv` becomes `http-equiv`.
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
