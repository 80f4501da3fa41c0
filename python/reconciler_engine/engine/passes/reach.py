"""Reach: how far back a series is complete, without suspect candles, read from the cache and the evidence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.tasks.scan import SpanScan, scan
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.pages import shards
from reconciler_engine.planning.states import sort_absent
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.evidence import LedgerRead

_ALL_MEMBERS = 2**31


class Reach:
    """Walks back over series from an instant to the first slot that is not whole, or to the oldest member.

    A slot is whole if it holds a candle that is not suspect, or is confirmed to have none.
    """

    def __init__(self, parts: BaseParts) -> None:
        self._parts = parts

    async def find(self, before: Mapping[Series, int]) -> dict[Series, int]:
        """Return the start of the whole slots before an instant (ms UTC, on the grid), by series.

        If the slot just before the instant is not whole, the start is the instant itself.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        found = dict(before)
        ends = await self._ends(before)
        left = [one for one, end in ends.items() if end < found[one]]
        while left:
            parts = [(one, _part(one, ends[one], found[one])) for one in left]
            left = []
            async for series, part, whole in self._read(parts):
                found[series] = whole[-1].start if whole and whole[-1].stop == part.stop else part.stop
                if ends[series] < found[series] == part.start:
                    left.append(series)
        return found

    async def newest(self, before: Mapping[Series, int]) -> dict[Series, Interval]:
        """Return the newest interval of whole slots before an instant (ms UTC, on the grid), by series.

        Its end must lie in the last `PIPELINE_MEMBERS` slots before the instant; otherwise the series is left out.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        ends = await self._ends(before)
        parts = [(one, _part(one, end, before[one])) for one, end in ends.items() if end < before[one]]
        runs = {series: whole[-1] async for series, _, whole in self._read(parts) if whole}
        starts = await self.find({series: run.start for series, run in runs.items()})
        return {series: Interval(starts[series], run.stop) for series, run in runs.items()}

    async def _ends(self, series: Iterable[Series]) -> dict[Series, int]:
        """Return the open time of the oldest kept slot, for series that have members."""
        known = list(series)
        oldest = await self._parts.keys.oldest_of(known, _ALL_MEMBERS)
        return {one: one.timeframe.floor(at) for one, at in zip(known, oldest, strict=True) if at is not None}

    async def _read(
        self, parts: Sequence[tuple[Series, Interval]]
    ) -> AsyncIterator[tuple[Series, Interval, Intervals]]:
        """Yield each part with its whole slots; an unreadable part has none."""
        for shard in shards((part.size(one.timeframe.step_ms) for one, part in parts), PIPELINE_MEMBERS):
            asked = parts[shard.start : shard.stop]
            scans = await scan(self._parts.store, asked, confirm_ms=0)
            reads = await self._parts.evidence.read(asked)
            for (series, part), candles, read in zip(asked, scans, reads, strict=True):
                yield series, part, _whole(series, part, candles, read)


def _part(series: Series, oldest: int, stop: int) -> Interval:
    return Interval(max(oldest, stop - PIPELINE_MEMBERS * series.timeframe.step_ms), stop)


def _whole(series: Series, part: Interval, found: SpanScan, read: LedgerRead) -> Intervals:
    """Return the whole slots of a part; an empty set if it cannot be read."""
    if found.error is not None or read.error is not None:
        return NOTHING
    step = series.timeframe.step_ms
    absent = Intervals.of_gaps(found.gaps, step)
    broken = sort_absent(absent, read.ledger, 0).missing | (read.ledger.in_state(part, State.SUSPECT) - absent)
    return Intervals([part]) - broken - Intervals.of_slots(found.malformed, step)
