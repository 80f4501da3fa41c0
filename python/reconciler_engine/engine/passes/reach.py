"""Reach: how far back a series is whole, read from the cache and the evidence, not remembered from passes."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler_engine.engine.tasks.scan import SpanScan, scan
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.absent_slots import sort_absent
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.pages import shards
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead

_ALL_MEMBERS = 2**31


class Reach:
    """Walks back over the candles of series, from an instant to the first slot that is missing or in doubt.

    It ends at the oldest member: slots before it are not kept.
    """

    def __init__(self, store: CandleStore, keys: CandleKeys, evidence: EvidenceStore) -> None:
        self._store = store
        self._keys = keys
        self._evidence = evidence

    async def find(self, before: Mapping[Series, int]) -> dict[Series, int]:
        """Return from when on the slots before an instant (ms UTC, on the grid) are whole; the instant where none is.

        A slot is whole where it holds a candle that is not suspect, or is confirmed to have none.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        found = dict(before)
        oldest = await self._keys.oldest_of([*before], _ALL_MEMBERS)
        ends = {one: one.timeframe.floor(at) for one, at in zip(before, oldest, strict=True) if at is not None}
        left = [one for one, end in ends.items() if end < found[one]]
        while left:
            parts = [(one, _part(one, ends[one], found[one])) for one in left]
            left = []
            for shard in shards((part.size(one.timeframe.step_ms) for one, part in parts), PIPELINE_MEMBERS):
                asked = parts[shard.start : shard.stop]
                scans = await scan(self._store, asked, confirm_ms=0)
                reads = await self._evidence.read(asked)
                for (series, part), candles, read in zip(asked, scans, reads, strict=True):
                    found[series] = _whole_from(series, part, candles, read)
                    if ends[series] < found[series] == part.start:
                        left.append(series)
        return found


def _part(series: Series, oldest: int, stop: int) -> Interval:
    return Interval(max(oldest, stop - PIPELINE_MEMBERS * series.timeframe.step_ms), stop)


def _whole_from(series: Series, part: Interval, found: SpanScan, read: LedgerRead) -> int:
    """Return from when on all slots of a part are whole; its end where none is, or that cannot be read."""
    if found.error is not None or read.error is not None:
        return part.stop
    step = series.timeframe.step_ms
    absent = Intervals.of_gaps(found.gaps, step)
    broken = sort_absent(absent, read.ledger, 0).missing | (read.ledger.in_state(part, State.SUSPECT) - absent)
    broken |= Intervals.of_slots(found.malformed, step)
    return broken.hull.stop if broken else part.start
