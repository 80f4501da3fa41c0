"""Finds unverified bars that are older than the newest ones of a series, by their digests, a few at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.pages import PAGE_SLOTS, cover
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.marks import Cursor

LOOKS = 64
"""Most reads of Redis in one run: one for each series, and one for each part of it."""

PART_PAGES = 12
"""Length of a part in pages: sixty blocks of digests."""

_ALL_MEMBERS = 2**31


class OlderBars:
    """Walks over the older bars of all series, from new to old within each; the cursor is kept in Redis."""

    def __init__(self, keys: CandleKeys, evidence: EvidenceStore, cursor: Cursor) -> None:
        self._keys = keys
        self._evidence = evidence
        self._cursor = cursor

    async def find(self, series: Sequence[Series], now: int, newest: int, pages: int) -> dict[Series, Interval]:
        """Return the next intervals with slots to verify, by series.

        Args:
            series: All series.
            now: The instant (ms UTC).
            newest: Number of the newest bars of each series to leave out, since the verify run examines them.
            pages: Approximate number of pages to return.

        Raises:
            StoreError: Redis did not answer.
        """
        found: dict[Series, Interval] = {}
        looks, after = LOOKS, await self._cursor.load()
        order = _from(series, after)[:LOOKS]
        for one, oldest in zip(order, await self._keys.oldest_of(order, _ALL_MEMBERS), strict=True):
            looks -= 1
            step = one.timeframe.step_ms
            stop = closed_before(now, one.timeframe) - newest * step
            if after is not None and after[0] == str(one):
                stop = min(stop, one.timeframe.floor(after[1]))
            start = stop if oldest is None else one.timeframe.floor(oldest)
            try:
                while looks > 0 and pages > 0 and one not in found and stop > start:
                    looks -= 1
                    part = Interval(max(start, stop - min(PART_PAGES, pages) * PAGE_SLOTS * step), stop)
                    stop = part.start
                    if unknown := await self._unknown(one, part):
                        found[one] = unknown.hull
                        pages -= len(cover(unknown, step))
            except StoreError as error:
                # The key is of another type, or its node is away. Passes report that; here the series is left out.
                own_fault(error, waits=False)
                stop = start
            if stop > start or looks <= 0:
                await self._cursor.save(str(one), stop)
                return found
        await self._cursor.save("", 0)
        return found

    async def _unknown(self, series: Series, slots: Interval) -> Intervals:
        """Return the slots to verify: those without a proof of being empty and without a verified, trusted candle."""
        step = series.timeframe.step_ms
        noted = await self._evidence.verified(series, slots)
        (read,) = await self._evidence.read([(series, slots)])
        if read.error is not None:
            raise read.error
        verified = Intervals.of_slots(sorted(noted), step) - read.ledger.in_state(slots, State.SUSPECT)
        return slots - verified - read.ledger.confirmed(slots)


def _from(series: Sequence[Series], after: tuple[str, int] | None) -> list[Series]:
    """Return all series, beginning with that of the cursor; if that is no longer kept, with the one after it.

    The finest timeframe of each symbol comes first, since sums of its candles can verify longer ones.
    """
    order = sorted(series, key=_place)
    last = None if after is None else Series.named(after[0])
    first = 0 if last is None else bisect_left(order, _place(last), key=_place)
    return order[first:] + order[:first]


def _place(series: Series) -> tuple[str, int]:
    return series.symbol, series.timeframe.step_ms
