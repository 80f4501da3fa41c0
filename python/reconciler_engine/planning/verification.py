"""When a candle that is there is compared with the exchange's. Pure.

A bar may be without verification for a while after its close, so that many bars share a request. Its page goes out as
late as that allows, or earlier where all that is due at that time could not go out in time.
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
"""How long after its close a bar may be without verification and still count as ready."""

SPARE_MS: Final = 300_000
"""A page goes out so long before its oldest bar has been without verification for too long."""

LAST_MS: Final = 60_000
"""A page that goes out later than so long before that time may be answered too late."""

_MINUTE_MS: Final = 60_000


class Verify(StrEnum):
    """Candles in the cache that a pass asks for.

    Attributes:
        NONE: Those that a page asked for because of missing ones happens to hold.
        SUSPECTS: Suspect ones that are due, too.
        DUE: Unverified ones that have been so for as long as is allowed, too, within the share of the budget.
        ALL: All unverified ones, too, without regard to that share.
        AGAIN: All that are settled, verified ones too, within that share.
    """

    NONE = "none"
    SUSPECTS = "suspects"
    DUE = "due"
    ALL = "all"
    AGAIN = "again"

    @property
    def looks_at_digests(self) -> bool:
        """Whether candles are looked at for being verified."""
        return self in {Verify.DUE, Verify.ALL, Verify.AGAIN}

    @property
    def is_shared(self) -> bool:
        """Whether pages wait for the share of the budget that verification may take."""
        return self in {Verify.DUE, Verify.AGAIN}


@dataclass(frozen=True, slots=True)
class VerifyRules:
    """The times of verification.

    Attributes:
        settle_ms: How long after its close the exchange's bar is final.
        max_unverified_ms: How long after its close a bar may be without verification.
    """

    settle_ms: int = DEFAULT_SETTLE_MS
    max_unverified_ms: int = DEFAULT_MAX_UNVERIFIED_MS

    def settled(self, slots: Intervals, now: int, step: int) -> Intervals:
        """Return the slots whose bars are final at `now` (ms UTC)."""
        return slots & closed_slots(now, self.settle_ms, step)

    def due_at(self, open_time: int, step: int) -> int:
        """Return when a page for an unverified bar is to go out, if nothing else urges (ms UTC)."""
        return open_time + step + self.max_unverified_ms - SPARE_MS


class Look(NamedTuple):
    """How the candles of a series stand, as far as a request may change it.

    Attributes:
        unverified: Slots of candles that are not verified, those left out that rest.
        changed: Those of them whose member was another when it was verified.
        urgent: Slots for which a request is worth while at once: suspects that are due, missing ones.
        again_at: When slots that wait for another answer are worth a request again (ms UTC); None where none waits.
        stop: End of the closed slots that were looked at (ms UTC).
    """

    unverified: Intervals = NOTHING
    changed: Intervals = NOTHING
    urgent: Intervals = NOTHING
    again_at: int | None = None
    stop: int = 0


class Standing(NamedTuple):
    """When a series is to be asked for next (ms UTC), in the order of urgency.

    Attributes:
        latest: From then on a bar of it has been without verification for too long.
        due: From then on it is asked for.
        ready: From then on an answer could verify something.
    """

    latest: int
    due: int
    ready: int


def to_verify(look: Look, now: int, step: int, rules: VerifyRules, *, horizon_ms: int = 0) -> Intervals:
    """Return the candles to ask for at `now` (ms UTC): all that are settled, once one of them is due; else none.

    Args:
        look: How the series stands.
        now: The instant.
        step: The grid's step (ms).
        rules: The times of verification.
        horizon_ms: How far ahead to look for slots that become due: the time until the next look.
    """
    settled = rules.settled(look.unverified, now, step)
    is_due = settled and rules.due_at(settled[0].start, step) <= now + horizon_ms
    return settled if is_due or look.urgent or settled & look.changed else NOTHING


def standing_of(look: Look, now: int, step: int, rules: VerifyRules) -> Standing:
    """Return when a series is to be asked for next, by how it stands at `now` (ms UTC)."""
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

    Those that are due, and those that must go early: were each series asked for when it is due, in the order of
    urgency, one after them would be too late.

    Args:
        standings: When each series is to be asked for.
        now: The instant.
        per_minute: How many requests may go out a minute.
        free: Series whose bars are expected to follow from finer ones: they take no request, and do not go early.
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
    """Return how many requests each series takes together with those before it."""
    return accumulate(series not in free for series in order)
