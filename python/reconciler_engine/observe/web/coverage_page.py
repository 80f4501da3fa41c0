"""The coverage page: the states of each series' slots, as a heatmap in HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple, Self
from urllib.parse import parse_qs, urlencode

from reconciler_engine.observe.readiness import ReadinessCheck
from reconciler_engine.observe.series_state import (
    count_verified,
    lacks,
    rank_of,
    worst_first,
)
from reconciler_engine.observe.status import Report, SeriesCoverage
from reconciler_engine.observe.web.html import Child, Element, element
from reconciler_engine.observe.web.page import banner, counted, table, whole_page
from reconciler_engine.observe.words import ago, describe_span, iso
from reconciler_engine.observe.words import counted as in_number

PAGE_SERIES: Final = 50
"""Largest number of series on a page."""

COLUMNS: Final = 48
"""Largest number of cells of a series; narrower cells could not be told apart on a phone."""

WINDOWS: Final = {"6h": 6 * 3_600_000, "24h": 24 * 3_600_000, "kept": None}
"""How far back the page looks (ms), by the query's `window`; None stands for the newest bars that are kept."""

_WORDS: Final = {"6h": "6 hours", "24h": "24 hours", "kept": "all that is kept"}
SIGNS: Final[Mapping[str, str]] = {
    "missing": "\u00d7",
    "suspect": "?",
    "unknown": "~",
    "halted": "=",
    "empty": "\u00b7",
    "unlisted": "-",
    "unverified": "/",
    "present": "\u00a0",
}
"""Sign of each state, worst state first. Each sign is different, so that the picture needs no colour."""

_TOLD: Final = 4
_ALIKE_CELLS: Final = 8
_TEXT_LETTERS: Final = 40
_PAGE_SLOTS: Final = 300


class Asked(NamedTuple):
    """The reader's question to the page.

    Attributes:
        window: How far back the page looks: a key of `WINDOWS`.
        text: Part of the symbol; empty for all symbols.
        timeframe: Name of the timeframe; empty for all timeframes.
        unready: Whether to leave out series that are ready.
        page: Number of the page, from 1 on.
    """

    window: str = "6h"
    text: str = ""
    timeframe: str = ""
    unready: bool = False
    page: int = 1

    @classmethod
    def parse(cls, query: str) -> Self:
        """Read the query of a request; fields that it lacks have their defaults.

        Raises:
            ValueError: A field has a value that is not allowed; the message names the allowed ones.
        """
        given = {name: values[-1] for name, values in parse_qs(query, max_num_fields=10).items()}
        window, page = given.get("window", "6h"), given.get("page", "1")
        if window not in WINDOWS:
            raise ValueError(f"window {window[:_TEXT_LETTERS]!r} is not allowed; allowed: {', '.join(WINDOWS)}")
        if re.fullmatch("[0-9]{1,6}", page) is None:
            raise ValueError(f"page {page[:_TEXT_LETTERS]!r} is not allowed; allowed: a whole number from 1 to 999999")
        text, frame = given.get("text", "").strip()[:_TEXT_LETTERS], given.get("timeframe", "")[:_TEXT_LETTERS]
        return cls(window, text, frame, "unready" in given, max(1, int(page)))

    def query(self, page: int) -> str:
        """Return the query for another page with the same filters."""
        told = {"window": self.window, "text": self.text, "timeframe": self.timeframe}
        flags = {"unready": "1"} if self.unready else {}
        return "?" + urlencode({name: value for name, value in {**told, **flags, "page": str(page)}.items() if value})

    def select(self, series: Mapping[str, SeriesCoverage]) -> list[str]:
        """Return the names of the series asked for, the worst first."""
        return [name for name, state in worst_first(series) if self._takes(name, state)]

    def _takes(self, name: str, state: SeriesCoverage) -> bool:
        symbol, _, frame = name.rpartition(":")
        is_named = self.text.lower() in symbol.lower() and self.timeframe in {"", frame}
        return is_named and (lacks(state) or not self.unready)

    def shown(self, names: Sequence[str]) -> tuple[int, Sequence[str]]:
        """Return the number of the page, at most that of the last one, and the names of the series on it."""
        page = min(self.page, max(1, -(-len(names) // PAGE_SERIES)))
        return page, names[(page - 1) * PAGE_SERIES : page * PAGE_SERIES]


class Strip(NamedTuple):
    """The slots of one series at this moment.

    Attributes:
        name: Name of the series, such as `BTC-USD:5m`.
        start: First slot of the first cell (ms UTC).
        stop: End of the last cell (ms UTC).
        cells: State of each cell, a key of `SIGNS`; None for a cell without a slot.
        why: Why the series is not ready, in words; empty if it is ready.
        since: Close of the oldest slot that is not ready (ms UTC); None if there is none.
    """

    name: str
    start: int
    stop: int
    cells: Sequence[str | None]
    why: str = ""
    since: int | None = None


class Picture(NamedTuple):
    """The strips of a page, and the requests of a pass that would fill and verify its series.

    Attributes:
        at: When the slots were read (ms UTC).
        strips: One strip for each series.
        missing: Number of missing slots.
        requests: Number of requests that would fill and verify the series.
        duration_ms: How long those requests take at the current budget.
        error: Why the slots could not be read; None if they were.
    """

    at: int = 0
    strips: Sequence[Strip] = ()
    missing: int = 0
    requests: int = 0
    duration_ms: int = 0
    error: str | None = None


_AS_ALWAYS, _NO_PICTURE = Asked(), Picture()


def coverage_page(
    report: Report | None,
    found: Sequence[ReadinessCheck],
    series: Mapping[str, SeriesCoverage] | None,
    error: str | None,
    asked: Asked = _AS_ALWAYS,
    picture: Picture = _NO_PICTURE,
) -> bytes:
    """Return the coverage page.

    Args:
        report: The supervisor's last report; None before the first.
        found: Checks of the engine's readiness.
        series: State of each series when a pass last looked, by `symbol:timeframe`; None if Redis could not be read.
        error: Error of Redis if `series` is None.
        asked: The reader's question.
        picture: Current slots of the series on this page.
    """
    engine = None if report is None else report.engine
    body: list[Child] = [banner(found)]
    if series is None:
        body.append(element("p", f"The state of the series could not be read from Redis: {error}", class_="bad"))
    elif not series:
        body.append(element("p", "No pass has ended yet."))
    else:
        names = asked.select(series)
        rate = None if engine is None or engine.budget is None else engine.budget.rate_per_s * engine.budget.share
        now = max(state.checked_at for state in series.values()) if engine is None else engine.written_at
        body += [_summary(series, rate), _filter(asked, series), *_strips(asked, names, picture)]
        body += _verification(series, now)
    return whole_page("coverage", engine, body)


def _summary(series: Mapping[str, SeriesCoverage], rate_per_s: float | None) -> Element:
    """Return a sentence: how many series were ready, and the least number of requests that would fill the others."""
    ready = element("strong", f"{sum(not lacks(state) for state in series.values()):,} of {len(series):,}")
    missing = [state.missing for state in series.values() if state.missing]
    if not missing:
        return element("p", ready, " series ready when a pass last looked; no slot missing.")
    requests = sum(-(-count // _PAGE_SLOTS) for count in missing)
    took = "" if not rate_per_s else f", {describe_span(round(requests * 1_000 / rate_per_s))} at the current budget"
    plan = (
        f"{in_number(f'{sum(missing):,}', 'slot')} missing in {len(missing):,} series: "
        f"at least {in_number(requests, 'request')}{took}."
    )
    return element("p", ready, " series ready when a pass last looked; ", plan)


def _filter(asked: Asked, series: Mapping[str, SeriesCoverage]) -> Element:
    frames = sorted({name.rpartition(":")[2] for name in series}, key=rank_of)

    def choice(name: str, label: str, options: Mapping[str, str], chosen: str) -> Element:
        choices = [element("option", text, value=value, selected=value == chosen) for value, text in options.items()]
        return element("label", label, element("select", choices, name=name))

    form = element(
        "form",
        choice("window", "window ", _WORDS, asked.window),
        element("label", "symbol ", element("input", name="text", type="search", value=asked.text, size=12)),
        choice("timeframe", "timeframe ", {"": "all", **{frame: frame for frame in frames}}, asked.timeframe),
        element(
            "label",
            element("input", name="unready", type="checkbox", value="1", checked=asked.unready),
            " only what is not ready",
        ),
        element("button", "show"),
        method="get",
        action="/coverage",
    )
    chosen = [_WORDS[asked.window], asked.text, asked.timeframe, "only what is not ready" if asked.unready else ""]
    told = ", ".join(text for text in chosen if text)
    return element("details", element("summary", f"shown: {told}; choose others"), form)


def _strips(asked: Asked, names: Sequence[str], picture: Picture) -> list[Element]:
    if picture.error is not None:
        return [element("p", f"The slots could not be read: {picture.error}", class_="bad")]
    if not names:
        return [element("p", "No series matches this choice.")]
    plan = (
        f"The {len(picture.strips)} series here, over {_WORDS[asked.window]}, at {iso(picture.at, 'seconds')}: "
        f"{in_number(f'{picture.missing:,}', 'slot')} missing; to fill and verify them "
        f"{in_number(picture.requests, 'request')}, {describe_span(picture.duration_ms)} at the current budget."
    )
    reach_ms = WINDOWS[asked.window]
    start = None if reach_ms is None else picture.at - reach_ms
    rows = [_row(one, picture.at, start) for one in picture.strips]
    begins = element("span", "the oldest" if start is None else iso(start))
    axis = element("div", begins, element("span", "now"), class_="axis", aria_hidden="true")
    signs = [element("li", mark(state), f" {state}") for state in SIGNS]
    return [
        element("p", plan),
        element("section", axis, element("ol", rows, class_="strips"), aria_label="series"),
        element("ul", signs, class_="legend", aria_label="signs"),
        *_pages(asked, names),
    ]


def mark(state: str) -> Element:
    """Return the sign of a state, hidden from screen readers."""
    return element("i", SIGNS[state], class_=f"cell {state}", aria_hidden="true")


def _row(one: Strip, now: int, start: int | None) -> Element:
    cells = [element("i", SIGNS.get(cell or "", ""), class_=f"cell {cell or 'none'}") for cell in one.cells]
    strip = element("div", cells, class_="strip", role="img", aria_label=_in_words(one))
    link = element("a", one.name, href=f"/series?{urlencode({'name': one.name})}")
    since = f"; since {ago(one.since, now)}" if one.since is not None else ""
    ready = element("span", "ready" if one.cells else "no closed slot", class_="good")
    why = element("span", f"{one.why}{since}", class_="bad") if one.why else ready
    is_other = start is None or abs(one.start - start) * COLUMNS > _ALIKE_CELLS * (one.stop - one.start)
    reach = element("span", f" from {iso(one.start)}", class_="soft") if is_other and one.cells else None
    return element("li", link, strip, element("span", why, reach, class_="why"))


def _in_words(one: Strip) -> str:
    """Return the strip in words: the stretches in a state other than present, newest first."""
    length = one.stop - one.start
    told, at = [], 0
    for cell, run in groupby(one.cells):
        count = len(list(run))
        if cell not in {None, "present"}:
            first = one.start + length * at // len(one.cells)
            last = one.start + length * (at + count) // len(one.cells)
            told.append(f"{cell} from {iso(first)} to {iso(last)}")
        at += count
    more = f"; and {len(told) - _TOLD} more stretches" if len(told) > _TOLD else ""
    return f"{one.name}: {'; '.join(told[::-1][:_TOLD]) or 'all present'}{more}"


def _pages(asked: Asked, names: Sequence[str]) -> list[Element]:
    page, _ = asked.shown(names)
    last = -(-len(names) // PAGE_SERIES)
    if last <= 1:
        return []
    links = [("first", 1), ("previous", page - 1), ("next", page + 1), ("last", last)]
    shown = [element("a", text, href=asked.query(to)) for text, to in links if 1 <= to <= last and to != page]
    return [element("nav", f"page {page} of {last} ", shown, class_="pages", aria_label="pages of series")]


def _verification(series: Mapping[str, SeriesCoverage], now: int) -> list[Element]:
    """Return a table of verified candles by timeframe, and a warning if candles are unverified for too long."""
    frames = count_verified(series)
    if not frames:
        return []
    rows = [
        (
            frame,
            f"{one.present:,}",
            f"{one.verified:,}",
            "-" if one.since is None else describe_span(max(0, now - one.since)),
            counted(one.overdue),
        )
        for frame, one in frames.items()
    ]
    heads = ("timeframe", "present", "verified", "oldest unverified", "for too long")
    late = element(
        "p",
        "Series with candles that are unverified for longer than max_unverified_ms are not ready. Where that lasts, "
        "`reconciler-engine doctor` says what to change.",
        class_="bad",
    )
    return [
        element("h2", "verified"),
        table(heads, rows),
        *([late] if any(one.overdue for one in frames.values()) else []),
    ]
