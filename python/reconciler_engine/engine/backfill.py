"""Backfill: one page from the exchange into the cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.messages import PageOutcome, PageTask, gaps_of, page_outcome
from reconciler_engine.engine.scan import scan
from reconciler_engine.errors import PermitRefused, RateLimited, SourceError, StoreError, StoreUnavailable
from reconciler_engine.limiting.shared import Permit, TokenBucket
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.backoff import Backoff, push_back_ms
from reconciler_engine.store.candles import CandleStore

ATTEMPTS = 4
"""Requests sent for one page before it is left for the next pass."""

_LONGEST_PAUSE_S = 5.0
_RETRY = Backoff(base_ms=500, cap_ms=5_000)


class Backfill:
    """Fetches and merges pages. Every request waits for a permit of the bucket that all workers share.

    Killed or cancelled at any point, the cache holds either the state before a merge or the state after it.
    """

    def __init__(
        self,
        store: CandleStore,
        source: CoinbaseClient,
        bucket: TokenBucket,
        is_open: Callable[[str], Awaitable[bool]],
        random: Random,
    ) -> None:
        """Make a backfill; `is_open` tells whether a run, by its id, still wants its pages."""
        self._store = store
        self._source = source
        self._bucket = bucket
        self._is_open = is_open
        self._random = random

    async def admit(self, task: PageTask) -> tuple[tuple[Gap, ...], Permit | None]:
        """Return what the cache lacks of a page at this moment, and a permit to ask for it if that is anything.

        Raises:
            StoreError: The cache could not be read, or no permit could be had.
        """
        series = task.span.series
        step = series.timeframe.step_ms
        spans = [(series, Interval(gap.start, gap.end + step)) for gap in gaps_of(task.gaps, step)]
        scans = await scan(self._store, spans, confirm_ms=0)
        for found in scans:
            if found.error is not None:
                raise found.error
        missing = tuple(gap for found in scans for gap in found.gaps)
        return missing, await self._wait_permit() if missing else None

    async def fill(self, task: PageTask, missing: tuple[Gap, ...], permit: Permit) -> PageOutcome:
        """Ask for an admitted page and merge what was missing; retries wait for permits of their own.

        An error that is the series' own, such as a key of another type, ends in the outcome.

        Raises:
            StoreError: Redis went away or refuses to write; whether a merge took effect is unknown.
        """
        step = task.span.timeframe.step_ms
        asked = Interval(missing[0].start, missing[-1].end + step)
        requests = 0
        candles: tuple[Candle, ...] = ()
        error: str | None = None
        while True:
            # A permit that lay too long is void: requests would bunch.
            while not permit.is_valid():
                permit = await self._wait_permit()
            requests += 1
            try:
                candles = (await self._source.fetch_candles(task.span.series, asked)).candles
            except SourceError as refusal:
                error = str(refusal)
                if isinstance(refusal, RateLimited):
                    await self._bucket.push_back(push_back_ms(refusal, requests, self._random.random()))
                if not refusal.retryable or requests == ATTEMPTS:
                    break
                await trio.sleep(_RETRY.delay_ms(requests, self._random.random()) / 1_000)
                if not await self._is_open(task.run):
                    break
                permit = await self._wait_permit()
            else:
                error = None
                break
        if candles and not await self._is_open(task.run):
            return page_outcome(task, missing, requests=requests, error="the run ended before the merge")
        return await self._merge(task, missing, candles, requests, error)

    async def _wait_permit(self) -> Permit:
        """Wait as long as it takes: the exchange may have sent everybody back for minutes."""
        while True:
            try:
                return await self._bucket.wait_permit()
            except PermitRefused as refused:
                await trio.sleep(min(refused.wait_ms / 1_000, _LONGEST_PAUSE_S))

    async def _merge(
        self, task: PageTask, missing: tuple[Gap, ...], candles: tuple[Candle, ...], requests: int, error: str | None
    ) -> PageOutcome:
        """Merge the candles of missing slots, and only those; say what is missing still."""
        step = task.span.timeframe.step_ms
        asked = {open_time for gap in missing for open_time in range(gap.start, gap.end + 1, step)}
        useful = [candle for candle in candles if candle.timestamp in asked]
        if not useful:
            return page_outcome(task, missing, requests=requests, error=error)
        retention = task.keeping.retention
        try:
            merged = await self._store.merge(task.span.series, useful, retention)
        except StoreUnavailable:
            raise
        except StoreError as refused:
            return page_outcome(task, missing, requests=requests, error=str(refused))
        if merged.refused:
            error = (
                f"{len(merged.refused)} candles not written: the cache keeps the newest {retention.max_candles} "
                "members and would have dropped them again"
            )
        there = sorted({*merged.present, *merged.differing})
        unread = await self._find_unread(task.span.series, there)
        if unread:
            error = f"{len(unread)} slots hold a member that Redis takes for a candle and readers may not"
        held = {*merged.inserted, *there} - unread
        unresolved = _runs(sorted(asked - held), step)
        return page_outcome(task, unresolved, requests=requests, mismatched=len(merged.differing), error=error)

    async def _find_unread(self, series: Series, open_times: list[int]) -> set[int]:
        """Return those slots in which the scan sees no candle, though the merge found one.

        Nearly always the feeder wrote it in between. Redis' own JSON parser, however, takes what others do not
        (`0x10`, bytes that are no UTF-8): such a slot is no more complete than it was.
        """
        if not open_times:
            return set()
        step = series.timeframe.step_ms
        scans = await scan(self._store, [(series, Interval(at, at + step)) for at in open_times], confirm_ms=0)
        return {at for at, found in zip(open_times, scans, strict=True) if found.gaps or found.error}


def _runs(open_times: list[int], step: int) -> tuple[Gap, ...]:
    """Return the maximal runs of ascending open times on one grid."""
    gaps: list[Gap] = []
    for open_time in open_times:
        if gaps and open_time == gaps[-1].end + step:
            gaps[-1] = Gap(gaps[-1].start, open_time, gaps[-1].count + 1)
        else:
            gaps.append(Gap(open_time, open_time, 1))
    return tuple(gaps)
