"""The page of one series: its newest slots, its changes, and the requests of the next pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from reconciler_engine.observe.readiness import ReadinessCheck
from reconciler_engine.observe.status import Report
from reconciler_engine.observe.web.coverage_page import mark
from reconciler_engine.observe.web.html import Child, Element, element
from reconciler_engine.observe.web.page import banner, table, whole_page
from reconciler_engine.observe.words import ago, iso, quoted
from reconciler_engine.observe.words import counted as in_number

SLOTS: Final = 1_000
"""Number of newest slots that the page shows."""

_GOOD: Final = frozenset({"present", "unverified", "empty", "halted", "unlisted"})


class Slots(NamedTuple):
    """Consecutive slots with the same state.

    Attributes:
        first: Open time of the first slot (ms UTC).
        last: Open time of the last slot (ms UTC).
        number: Number of slots.
        state: Name of the state, a key of `coverage_page.SIGNS`.
        reason: Reason of the state; empty if unknown.
        sightings: Number of answers that agree; None without a finding.
        verified: When the exchange was asked (ms UTC); None if the slots are not verified.
    """

    first: int
    last: int
    number: int
    state: str
    reason: str = ""
    sightings: int | None = None
    verified: int | None = None


class Changed(NamedTuple):
    """An entry of the journal: instant (ms UTC), slots, reason and author of a change, and its old and new member."""

    at: int
    slots: str
    why: str
    by: str
    old: str
    new: str


class SeriesView(NamedTuple):
    """Content of the page of one series.

    Attributes:
        name: Name of the series, such as `BTC-USD:5m`.
        at: When the series was read (ms UTC).
        slots: Newest slots, newest first.
        changes: Entries of the journal, newest first.
        due: Slots that the next pass asks for, in words; empty if it asks for none.
        requests: Number of requests for those slots.
        beyond: Number of missing slots on the page that are older than the window of passes.
        error: Why the series could not be read; None if it was.
    """

    name: str
    at: int = 0
    slots: Sequence[Slots] = ()
    changes: Sequence[Changed] = ()
    due: Sequence[str] = ()
    requests: int = 0
    beyond: int = 0
    error: str | None = None


def series_page(report: Report | None, found: Sequence[ReadinessCheck], view: SeriesView) -> bytes:
    """Return the page of a series."""
    engine = None if report is None else report.engine
    body: list[Child] = [banner(found), element("h2", view.name, class_="name")]
    if view.error is not None:
        body.append(element("p", f"This series could not be read: {view.error}", class_="bad"))
    else:
        body += [_next(view), *_slots(view), *_journal(view)]
    return whole_page("series", engine, body)


def _next(view: SeriesView) -> Element:
    told = "The next pass requests nothing for this series."
    if view.due:
        told = f"The next pass requests {', '.join(view.due)}: {in_number(view.requests, 'request')}."
    if view.beyond:
        told += f" {in_number(view.beyond, 'slot')} missing further back than passes look: `backfill` fills them."
    return element("p", told)


def _slots(view: SeriesView) -> list[Element]:
    rows: list[Sequence[Child]] = [
        (
            iso(one.first),
            one.number,
            _state(one),
            "-" if one.verified is None else ago(one.verified, view.at),
            "-" if one.sightings is None else one.sightings,
            iso(one.last),
        )
        for one in view.slots
    ]
    count = sum(one.number for one in view.slots)
    heads = ("first slot", "slots", "state", "verified", "sightings", "last slot")
    return [element("h2", f"the newest {in_number(count, 'slot')}"), table(heads, rows)]


def _state(one: Slots) -> Element:
    reason = element("span", f": {one.reason}", class_=None if one.state in _GOOD else "bad") if one.reason else None
    return element("td", mark(one.state), one.state, reason, class_="state")


def _journal(view: SeriesView) -> list[Element]:
    if not view.changes:
        return [element("h2", "journal"), element("p", "No stored candle was changed.")]
    rows = [
        (iso(one.at, "seconds"), one.slots, one.why, one.by, quoted(one.old), quoted(one.new)) for one in view.changes
    ]
    return [element("h2", "journal"), table(("when", "slots", "why", "by", "was", "is"), rows, words=True)]
