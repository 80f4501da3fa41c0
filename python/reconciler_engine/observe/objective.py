"""The objective: the share of closed bars complete and verified in time, its error budget, and how fast that burns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from reconciler_engine.observe.series_state import rank_of
from reconciler_engine.observe.words import describe_span

COMPLETE_MS: Final = 1_200_000
"""How long after its close a bar must be complete (ms)."""

ALL: Final = "all"
"""Name of the total over all timeframes."""


class Window(NamedTuple):
    """A stretch of time up to now over which bars are counted, and the length of the parts that it is divided into."""

    name: str
    length_ms: int
    part_ms: int


WINDOWS: Final = (
    Window("1h", 3_600_000, 300_000),
    Window("24h", 86_400_000, 3_600_000),
    Window("30d", 30 * 86_400_000, 86_400_000),
)
_BURNING: Final = {"1h": 14.4, "24h": 3.0}
"""Burn that raises an alert, by window: a fiftieth of the 30-day error budget in an hour, or a tenth in a day."""


class BarCounts(NamedTuple):
    """Numbers of closed bars by outcome.

    Attributes:
        bars: Bars whose time to be complete is over, without the waiting ones.
        late: Bars among `bars` that were not complete in time.
        unverified: Bars among `bars` that were complete in time but not verified in time.
        waiting: Bars without a candle that waited for a second sighting; not part of `bars`.
    """

    bars: int = 0
    late: int = 0
    unverified: int = 0
    waiting: int = 0

    @classmethod
    def total(cls, counts: Iterable[BarCounts]) -> BarCounts:
        """Return the sum of several counts."""
        return cls(*map(sum, zip(cls(), *counts, strict=True)))

    @property
    def failed(self) -> int:
        """Number of bars that were not complete and verified in time."""
        return min(self.late + self.unverified, self.bars)


class Objective(NamedTuple):
    """The objective and its counts.

    Attributes:
        target: Share of bars that is to be complete and verified in time.
        max_unverified_ms: How long after its close a bar must be verified.
        counts: Bars by timeframe and window name; timeframes without counted bars are left out.
    """

    target: float
    max_unverified_ms: int
    counts: Mapping[str, Mapping[str, BarCounts]]

    @property
    def frames(self) -> list[str]:
        """Names of the timeframes, shortest first, followed by `ALL` if there are several."""
        named = sorted(self.counts, key=rank_of)
        return [*named, ALL] if len(named) > 1 else named

    def of(self, frame: str, window: str) -> BarCounts:
        """Return the counts of a timeframe, or of `ALL`, in a window."""
        frames = self.counts.values() if frame == ALL else [self.counts.get(frame, {})]
        return BarCounts.total(each.get(window, BarCounts()) for each in frames)

    def share(self, frame: str, window: str) -> float | None:
        """Return the share of bars that were complete and verified in time; None if no bar was counted."""
        counts = self.of(frame, window)
        return (counts.bars - counts.failed) / counts.bars if counts.bars else None

    def burn(self, frame: str, window: str) -> float:
        """Return how fast the error budget is used; a burn of 1 uses it up exactly by the end of the window."""
        share = self.share(frame, window)
        return 0.0 if share is None else (1 - share) / (1 - self.target)

    def budget_left(self, frame: str) -> float:
        """Return the part of the 30-day error budget that is left; negative if more was used."""
        return 1 - self.burn(frame, WINDOWS[-1].name)

    def burning(self) -> list[str]:
        """Return the timeframes whose error budget is used so fast that the operator is to be alerted."""
        return [
            frame
            for frame in sorted(self.counts, key=rank_of)
            if any(self.burn(frame, window) >= limit for window, limit in _BURNING.items())
        ]

    def in_words(self) -> str:
        """Return the objective in words."""
        return (
            f"{self.target:.6%}".rstrip("0%").rstrip(".") + f" % of closed bars complete within "
            f"{describe_span(COMPLETE_MS)} of their close and verified within {describe_span(self.max_unverified_ms)}"
        )


def share_in_words(share: float | None) -> str:
    """Return a share as `99.95 %`, truncated so that only a full share reads 100 %; `-` for None."""
    return "-" if share is None else f"{int(share * 10_000) / 100:g} %"
