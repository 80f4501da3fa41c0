"""Decide when cached candles are compared with the exchange's. Pure.

A bar may stay unverified for a while after its close, so that many bars share a request. Their page goes out shortly
before that time ends, or earlier if too many pages are due together for the budget.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final, NamedTuple

from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.answers import closed_slots

DEFAULT_SETTLE_MS: Final = 600_000
"""How long after its close the exchange's bar is final."""

DEFAULT_MAX_UNVERIFIED_MS: Final = 1_800_000
"""How long after its close a bar may be unverified and still count as ready."""

SPARE_MS: Final = 300_000
"""A page is due this long before its oldest bar has been unverified for too long."""

LAST_MS: Final = 60_000
"""A page goes out at least this long before its oldest bar has been unverified for too long, else its answer may come
too late."""

_MINUTE_MS: Final = 60_000


class Verify(StrEnum):
    """Cached candles that a pass compares with the exchange's. `share` is the part of the budget for verification.

    Attributes:
        NONE: Only candles that happen to lie in pages for missing slots.
        SUSPECTS: Also suspect candles that are due.
        DUE: Also all settled candles of a series once one of them is due for verification, within the share.
        ALL: Also all unverified candles, without regard to the share.
        AGAIN: All settled candles, verified ones included, within the share.
    """

    NONE = "none"
    SUSPECTS = "suspects"
    DUE = "due"
    ALL = "all"
    AGAIN = "again"

    @property
    def looks_at_digests(self) -> bool:
        """Whether the pass reads which candles are verified."""
        return self in {Verify.DUE, Verify.ALL, Verify.AGAIN}

    @property
    def is_shared(self) -> bool:
        """Whether pages wait for verification's share of the budget."""
        return self in {Verify.DUE, Verify.AGAIN}


@dataclass(frozen=True, slots=True)
class VerifyRules:
    """The times of verification.

    Attributes:
        settle_ms: How long after its close the exchange's bar is final.
        max_unverified_ms: How long after its close a bar may be unverified.
    """

    settle_ms: int = DEFAULT_SETTLE_MS
    max_unverified_ms: int = DEFAULT_MAX_UNVERIFIED_MS

    def settled(self, slots: Intervals, now: int, step: int) -> Intervals:
        """Return the slots whose bars are final at `now` (ms UTC)."""
        return slots & closed_slots(now, self.settle_ms, step)

    def due_at(self, open_time: int, step: int) -> int:
        """Return when the page for an unverified bar is due (ms UTC), if nothing makes it urgent before."""
        return open_time + step + self.max_unverified_ms - SPARE_MS


class Look(NamedTuple):
    """Slots of a series that requests could verify or settle, as a pass found them.

    Attributes:
        unverified: Slots of unverified candles, without those that rest.
        changed: Unverified slots whose member changed after it was verified.
        urgent: Slots that are worth a request at once: suspects that are due, and missing slots.
        again_at: Earliest time when a slot that waits for another answer is worth a request (ms UTC); None if no slot
            waits.
        stop: End of the closed slots that were examined (ms UTC).
    """

    unverified: Intervals = NOTHING
    changed: Intervals = NOTHING
    urgent: Intervals = NOTHING
    again_at: int | None = None
    stop: int = 0


class Standing(NamedTuple):
    """Times of the next request for a series (ms UTC). The smallest standing is the most urgent one.

    Attributes:
        latest: Last moment for the request: later, a bar would be unverified for too long.
        due: Normal time of the request.
        ready: Earliest moment at which an answer could verify a candle.
    """

    latest: int
    due: int
    ready: int


def to_verify(look: Look, now: int, step: int, rules: VerifyRules, *, horizon_ms: int = 0) -> Intervals:
    """Return the candles to ask for at `now` (ms UTC): all settled unverified ones if any is due, else none.

    Args:
        look: State of the series.
        now: The instant.
        step: The grid's step (ms).
        rules: The times of verification.
        horizon_ms: Time until the next look: slots that become due within it count as due.
    """
    settled = rules.settled(look.unverified, now, step)
    is_due = settled and rules.due_at(settled[0].start, step) <= now + horizon_ms
    return settled if is_due or look.urgent or settled & look.changed else NOTHING


def standing_of(look: Look, now: int, step: int, rules: VerifyRules) -> Standing:
    """Return the times of the next request for a series, from its state at `now` (ms UTC)."""
    if look.urgent or rules.settled(look.changed, now, step):
        return Standing(now, now, now)
    oldest = look.unverified[0].start if look.unverified else look.stop
    latest = oldest + step + rules.max_unverified_ms - LAST_MS
    due, ready = rules.due_at(oldest, step), oldest + step + rules.settle_ms
    if look.again_at is not None:
        due, ready = min(due, look.again_at), min(ready, look.again_at)
    return Standing(latest, due, ready)


def choose_due(
    standings: Mapping[Series, Standing], now: int, per_minute: float, *, free: Container[Series] = ()
) -> list[Series]:
    """Return the series to ask for at `now` (ms UTC), the most urgent first.

    These are the series that are due, and those that must go early because otherwise a less urgent series, queued
    behind them, would miss its last moment.

    Args:
        standings: Times of the next request for each series.
        now: The instant.
        per_minute: How many requests may go out a minute.
        free: Series whose bars will probably equal their sums: they take no request, and do not go early.
    """
    order = sorted(standings, key=standings.__getitem__)
    ms_each = _MINUTE_MS / per_minute
    ends = enumerate((now + count * ms_each for count in count_requests(order, free)), 1)
    early = max((place for place, end in ends if end > standings[order[place - 1]].latest), default=0)
    return [
        series
        for place, series in enumerate(order)
        if standings[series].due <= now or (place < early and standings[series].ready <= now and series not in free)
    ]


def count_requests(order: Iterable[Series], free: Container[Series]) -> Iterator[int]:
    """Yield the running total of requests after each series of the order; a free series adds none."""
    return accumulate(series not in free for series in order)
