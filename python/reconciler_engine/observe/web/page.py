"""Parts that the pages share: head, links, banner, tables, and highlighted cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reconciler_engine.observe.readiness import ReadinessCheck, standing_of
from reconciler_engine.observe.series_state import lacks, why_unready, worst_first
from reconciler_engine.observe.status import EngineStatus, SeriesCoverage
from reconciler_engine.observe.web.html import Child, Element, element
from reconciler_engine.observe.words import describe_span

_PROSE = frozenset({"state", "why"})
"""Heads of columns that hold prose in any table."""

REFRESH_S = 5
"""How often a page with `live=1` in its query reloads itself (s)."""

_LINKS = {"/": "status", "/ready": "ready", "/coverage": "coverage", "/metrics": "metrics", "/readyz": "readyz"}


def whole_page(name: str, engine: EngineStatus | None, body: Iterable[Child], *, live: bool | None = None) -> bytes:
    """Return a page: its head, the links to all pages, and `body`.

    Args:
        name: Name of the page among the links.
        engine: The engine that the page shows; None if it is unknown.
        body: Content of the page.
        live: Whether the page reloads itself; None for a page without that choice.
    """
    nav = [
        element("a", text, href=path, aria_current="page" if text == name else None) for path, text in _LINKS.items()
    ]
    title = "reconciler-engine" if engine is None else f"reconciler-engine on {engine.node}"
    about = None if engine is None else _about(engine)
    mark = element("span", "SIMULATED", class_="mark") if engine is not None and engine.simulated else None
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="refresh", content=REFRESH_S) if live else None,
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{name}: {title}"),
        element("link", rel="stylesheet", href="/style.css"),
    )
    skip = element("a", "to the content", href="#content", class_="skip")
    header = element("header", element("h1", title), mark, about, element("nav", nav, aria_label="pages"))
    main = element("main", body, id="content", tabindex=-1)
    document = element("html", head, element("body", skip, header, main, _footer(live=live)), lang="en")
    return f"<!doctype html>\n{document}\n".encode()


def _footer(*, live: bool | None) -> Element:
    if live is None:
        return element("footer", "times in UTC")
    text, href = ("stop reloading", "?") if live else (f"reload every {REFRESH_S} s", "?live=1")
    return element("footer", "times in UTC; shows the state when the page was loaded: ", element("a", text, href=href))


def _about(engine: EngineStatus) -> Element:
    up = describe_span(engine.written_at - engine.started_at)
    layout = "" if engine.layout == "user" else f", layout {engine.layout}"
    text = f"{engine.version}, up {up}, exchange {engine.source}, user {engine.user_id}{layout}"
    return element("span", text, class_="soft")


def table(heads: Sequence[str], rows: Iterable[Sequence[Child]], *, words: bool = False) -> Element:
    """Return a table. The first cell of each row is the row's heading; with `words` the last column holds prose."""
    prose = len(heads) - 1 if words else None
    head = element(
        "thead",
        element(
            "tr",
            [
                element("th", text, scope="col", class_="words" if at == prose or text in _PROSE else None)
                for at, text in enumerate(heads)
            ],
        ),
    )
    lines = []
    for first, *others in rows:
        cells = [cell if _is_cell(cell) else element("td", cell) for cell in others]
        if words and not _is_cell(others[-1]):
            cells[-1] = element("td", others[-1], class_="words")
        lines.append(element("tr", element("th", first, scope="row"), cells))
    # With a tab index, keys can scroll a table that is wider than the screen.
    return element(
        "div",
        element("table", head, element("tbody", lines)),
        class_="scroll",
        tabindex=0,
        role="group",
        aria_label=f"table by {heads[0]}",
    )


def _is_cell(child: Child) -> bool:
    return isinstance(child, Element) and child.text.startswith("<td")


def counted(count: int) -> Child:
    """Return a number, in a highlighted cell if it is not 0."""
    return alarming(str(count), alarming=True) if count else count


def alarming(text: str, *, alarming: bool) -> Element:
    """Return a cell with a text, highlighted if `alarming`."""
    return element("td", text, class_="bad" if alarming else None)


_CLASSES = {"ready": "good", "degraded": "warn", "not ready": "bad"}
_NAMED = 3


def banner(found: Sequence[ReadinessCheck], series: Mapping[str, SeriesCoverage] | None = None) -> Element:
    """Return the first sentence of a page: the engine's state, its causes, and the series that are not ready.

    Args:
        found: Checks of the engine's readiness.
        series: State of each series when a pass last looked; None to leave out the series.
    """
    how, why = standing_of(found)
    lacking = [(name, state) for name, state in worst_first(series or {}) if lacks(state)]
    look = "warn" if lacking and how == "ready" else _CLASSES[how]
    told: list[Child] = [element("strong", f"The engine is {how}"), f": {why}." if why else "."]
    if lacking:
        told += _of_series(lacking, len(series or {}))
    elif series:
        told.append(" All series are ready." if how == "ready" else "")
    return element("p", told, class_=f"banner {look}")


def _of_series(lacking: Sequence[tuple[str, SeriesCoverage]], count: int) -> list[Child]:
    worst = "; ".join(f"{name} {why_unready(state)}" for name, state in lacking[:_NAMED])
    more = "" if len(lacking) <= _NAMED else f"; and {len(lacking) - _NAMED:,} more"
    number = element("a", f"{len(lacking):,} of {count:,} series", href="/coverage?unready=1")
    return [" ", number, f" are not ready: {worst}{more}."]
