"""The objective: the share of closed bars that were complete and verified in time, its error budget and its burn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from reconciler_engine.observe.series_state import rank_of
from reconciler_engine.observe.words import describe_span

COMPLETE_MS: Final = 1_200_000
"""How long after its close a bar may take to be complete."""

ALL: Final = "all"
"""Name under which the bars of all timeframes are told together."""


class Window(NamedTuple):
    """A stretch of time up to now over which bars are counted, and the parts that it is counted in (ms)."""

    name: str
    length_ms: int
    part_ms: int


WINDOWS: Final = (
    Window("1h", 3_600_000, 300_000),
    Window("24h", 86_400_000, 3_600_000),
    Window("30d", 30 * 86_400_000, 86_400_000),
)
_BURNING: Final = {"1h": 14.4, "24h": 3.0}
"""Burn at which people are told: a fiftieth of the budget of 30 days within an hour, or a tenth within a day."""


class BarCounts(NamedTuple):
    """Closed bars, each counted once.

    Attributes:
        bars: Bars of which the time for being complete is over, those left out that wait.
        late: Those of them that were not complete by then.
        unverified: Those of them that were, and were not verified in time.
        waiting: Bars beside them without a candle, that waited for a second sighting.
    """

    bars: int = 0
    late: int = 0
    unverified: int = 0
    waiting: int = 0

    @classmethod
    def total(cls, counts: Iterable[BarCounts]) -> BarCounts:
        """Return the sum of counts."""
        return cls(*map(sum, zip(cls(), *counts, strict=True)))

    @property
    def failed(self) -> int:
        """Number of bars that were not complete and verified in time."""
        return min(self.late + self.unverified, self.bars)


class Objective(NamedTuple):
    """The objective and its counts.

    Attributes:
        target: Share of the bars that are to be complete and verified in time.
        max_unverified_ms: How long after its close a bar may be unverified.
        counts: Bars by timeframe and by the window's name; without a timeframe of which none was counted.
    """

    target: float
    max_unverified_ms: int
    counts: Mapping[str, Mapping[str, BarCounts]]

    @property
    def frames(self) -> list[str]:
        """The timeframes, the shortest first, and after several of them their total."""
        named = sorted(self.counts, key=rank_of)
        return [*named, ALL] if len(named) > 1 else named

    def of(self, frame: str, window: str) -> BarCounts:
        """Return the counts of a timeframe, or of all, in a window."""
        frames = self.counts.values() if frame == ALL else [self.counts.get(frame, {})]
        return BarCounts.total(each.get(window, BarCounts()) for each in frames)

    def share(self, frame: str, window: str) -> float | None:
        """Return the share of bars that were complete and verified in time; None where none was counted."""
        counts = self.of(frame, window)
        return (counts.bars - counts.failed) / counts.bars if counts.bars else None

    def burn(self, frame: str, window: str) -> float:
        """Return how many times as fast as it may the error budget is used; at 1 it is used up as its window ends."""
        share = self.share(frame, window)
        return 0.0 if share is None else (1 - share) / (1 - self.target)

    def budget_left(self, frame: str) -> float:
        """Return the part of the error budget of 30 days that is left; below 0 where more was used."""
        return 1 - self.burn(frame, WINDOWS[-1].name)

    def burning(self) -> list[str]:
        """Return the timeframes whose budget is used so fast that people must know."""
        return [
            frame
            for frame in sorted(self.counts, key=rank_of)
            if any(self.burn(frame, window) >= limit for window, limit in _BURNING.items())
        ]

    def in_words(self) -> str:
        """Return the promise in words."""
        return (
            f"{self.target:.6%}".rstrip("0%").rstrip(".") + f" % of closed bars complete within "
            f"{describe_span(COMPLETE_MS)} of their close and verified within {describe_span(self.max_unverified_ms)}"
        )


def share_in_words(share: float | None) -> str:
    """Return a share such as `99.95 %`, cut and not rounded so that only all is 100 %; `-` where there is none."""
    return "-" if share is None else f"{int(share * 10_000) / 100:g} %"
