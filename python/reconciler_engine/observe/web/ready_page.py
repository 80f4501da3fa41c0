"""The page of series that are not ready at this moment, and of the feeder, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciler_engine.observe.live_candles import Feed, FeederState
from reconciler_engine.observe.obstacles import Unready
from reconciler_engine.observe.readiness import ReadinessCheck
from reconciler_engine.observe.status import Report
from reconciler_engine.observe.web.html import Child, Element, element
from reconciler_engine.observe.web.page import banner, table, whole_page
from reconciler_engine.observe.words import ago, describe_span

BARS = 100
"""Number of newest closed bars of each series that the page examines."""

ASKED = 600
"""Largest number of series that the page examines: the worst ones when a pass last looked."""

_SHOWN = 300


class Trouble(NamedTuple):
    """The series that are not ready, and the feeder's state, at an instant.

    Attributes:
        at: The instant (ms UTC).
        asked: Number of series that the ready gate was asked about.
        unready: Series that are not ready, worst first; None if Redis could not be read.
        feeder: State of the feeder; None likewise.
        error: Error of Redis; None if it could be read.
    """

    at: int = 0
    asked: int = 0
    unready: Sequence[Unready] | None = None
    feeder: FeederState | None = None
    error: str | None = None


def ready_page(
    report: Report | None, found: Sequence[ReadinessCheck], trouble: Trouble, *, live: bool = False
) -> bytes:
    """Return the page of the series that are not ready (why, since when, the cure), and of the feeder's state."""
    engine = None if report is None else report.engine
    if trouble.unready is None or trouble.feeder is None:
        body = [
            banner(found),
            element("p", f"Redis could not be read, so no readiness is known: {trouble.error}", class_="bad"),
        ]
    else:
        body = [banner(found), *_unready(trouble.unready, trouble.asked, trouble.at), *_feeder(trouble.feeder)]
    return whole_page("ready", engine, body, live=live)


def _unready(unready: Sequence[Unready], asked: int, now: int) -> list[Element]:
    ready = element("strong", f"{asked - len(unready)} of {asked}")
    told = element("p", ready, f" series ready over the newest {BARS} closed bars, as the cache is now.")
    if not unready:
        return [told]
    rows = [
        (one.series, element("td", one.why(), class_="words bad"), ago(one.since, now), one.remedy())
        for one in unready[:_SHOWN]
    ]
    hidden = len(unready) - len(rows)
    more = [element("p", f"and {hidden:,} more", class_="soft")] if hidden else []
    return [told, table(("series", "why", "since", "cure"), rows, words=True), *more]


def _feeder(feeder: FeederState) -> list[Element]:
    age = "none seen" if feeder.age_ms is None else f"seen {describe_span(feeder.age_ms)} ago"
    rows: list[tuple[Child, Child]] = [("newest live candle", age)]
    rows += [(f"of {frame}", f"{describe_span(each)} ago") for frame, each in feeder.ages_ms.items()]
    rows += [
        (f"series {feed}", element("td", str(count), class_="bad" if count and feed is Feed.STOPPED else None))
        for feed, count in feeder.series.items()
    ]
    stopped = [element("p", f"stopped: {', '.join(feeder.stopped[:_SHOWN])}", class_="bad")] if feeder.stopped else []
    return [element("h2", "feeder"), table(("feeder", "judged by its candles"), rows), *stopped]
