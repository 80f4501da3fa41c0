"""The feeder, as its candles show it: alive, silent or stopped, series by series and as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import describe_span

LATE_MS: Final = 180_000
"""How long after it is due a live candle may come."""


_NAMED = 3


class Feed(StrEnum):
    """How the feeder of a series does.

    Attributes:
        LIVE: Its newest candle is not late.
        SILENT: It is late, and so is the exchange as far as the cache shows: nobody traded, or nobody could ask.
        STOPPED: It is late, and the engine had to fill newer bars itself.
        NONE: No candle of a feeder has been seen since an engine looks.
    """

    LIVE = "live"
    SILENT = "silent"
    STOPPED = "stopped"
    NONE = "none seen"


class Sighting(NamedTuple):
    """Last sighting of the feeder of a series.

    Attributes:
        newest: Open time of the newest member when it was last looked at (ms UTC); None where there was none.
        live: Open time of the newest candle that the engine did not write; None where none was seen.
        seen_at: When that one was first seen (ms UTC).
    """

    newest: int | None = None
    live: int | None = None
    seen_at: int | None = None

    def feed(self, timeframe: Timeframe, now: int) -> Feed:
        """Return how the feeder does at `now` (ms UTC)."""
        if self.live is None:
            return Feed.NONE
        # A feeder writes a bar from its open on, or once, when it has closed.
        if now < self.live + 2 * timeframe.step_ms + LATE_MS:
            return Feed.LIVE
        return Feed.STOPPED if self.newest is not None and self.newest > self.live else Feed.SILENT

    def age_ms(self, now: int) -> int | None:
        """Return how long ago the newest live candle was first seen; None where none was."""
        return None if self.seen_at is None else max(0, now - self.seen_at)


class FeederState(NamedTuple):
    """The feeder over all series.

    Attributes:
        age_ms: How long ago the newest live candle of all was first seen; None where none was.
        ages_ms: The same by timeframe, the shortest first, of those in which one was seen.
        series: Number of series by how their feeder does.
        stopped: Names of the series whose feeder stopped.
    """

    age_ms: int | None
    ages_ms: Mapping[str, int]
    series: Mapping[Feed, int]
    stopped: tuple[str, ...]


def sum_up(sightings: Mapping[str, Sighting], now: int) -> FeederState:
    """Return how the feeder does at `now` (ms UTC), by sightings of series by their names; other names are left out."""
    ages: dict[str, int] = {}
    feeds: dict[str, Feed] = {}
    frames = {frame.value: frame for frame in Timeframe}
    for name, sighting in sorted(sightings.items()):
        frame = frames.get(name.rpartition(":")[2])
        if frame is None:
            continue
        feeds[name] = sighting.feed(frame, now)
        age = sighting.age_ms(now)
        if age is not None:
            ages[frame.value] = min(age, ages.get(frame.value, age))
    counts = Counter(feeds.values())
    return FeederState(
        min(ages.values(), default=None),
        {name: ages[name] for name in frames if name in ages},
        {feed: counts[feed] for feed in Feed},
        tuple(name for name, feed in feeds.items() if feed is Feed.STOPPED),
    )


def feeder_in_words(state: FeederState) -> str:
    """Say in a line how the feeder does; with series whose feeder stopped, which."""
    if state.age_ms is None:
        return "feeder: none seen"
    more = len(state.stopped) - _NAMED
    named = f" ({', '.join(state.stopped[:_NAMED])}{f' and {more} more' if more > 0 else ''})" if state.stopped else ""
    counts = ", ".join(
        f"{count} {feed}{named if feed == Feed.STOPPED else ''}" for feed, count in state.series.items() if count
    )
    return f"feeder: newest live candle seen {describe_span(state.age_ms)} ago; series: {counts}"
