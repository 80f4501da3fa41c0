"""Backfill: one page from the exchange into the cache."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from random import Random

import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.messages import PageOutcome, PageTask, gaps_of, page_outcome, runs_of
from reconciler_engine.engine.requests import send
from reconciler_engine.engine.scan import scan
from reconciler_engine.errors import (
    NotAuthorized,
    PermitRefused,
    RequestRefused,
    RunClosed,
    SourceError,
    StoreError,
    StoreUnavailable,
)
from reconciler_engine.limiting.shared import Permit, TokenBucket
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.backoff import Backoff
from reconciler_engine.planning.runs import gaps_in, spans_in
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.claims import Claimed, Claims, Held

ATTEMPTS = 4
"""Requests sent for one page before it is left for the next pass."""

_LONGEST_PAUSE_S = 5.0
_logger = logging.getLogger(__name__)
_RETRY = Backoff(base_ms=500, cap_ms=5_000)


@dataclass(frozen=True, slots=True)
class Admission:
    """What is to be asked for of a claimed page.

    Attributes:
        missing: Runs of slots to ask for, ascending.
        vain: Runs that are missing although another job was answered about them just now.
        permit: To ask with; None where nothing is to be asked.
    """

    missing: tuple[Gap, ...]
    vain: tuple[Gap, ...]
    permit: Permit | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of asking for a page; `error` says why there is no answer."""

    requests: int
    candles: tuple[Candle, ...] = ()
    error: str | None = None
    refused: bool = False


class Backfill:
    """Fetches and merges pages. Every request waits for a permit of the bucket that all workers share.

    Killed or cancelled at any point, the cache holds either the state before a merge or the state after it.
    """

    def __init__(
        self,
        store: CandleStore,
        source: CoinbaseClient,
        bucket: TokenBucket,
        claims: Claims,
        is_open: Callable[[str], Awaitable[bool]],
        random: Random,
    ) -> None:
        """Make a backfill; `is_open` tells whether a run, by its id, still wants its pages."""
        self._store = store
        self._source = source
        self._bucket = bucket
        self._claims = claims
        self._is_open = is_open
        self._random = random

    async def admit(self, task: PageTask) -> Admission | Held:
        """Claim a page, and return what the cache lacks of it at this moment and a permit to ask for that.

        The claim comes first, so that what is missing under it is missing because nobody has asked. It is released by
        `fill`, or here where there is nothing to ask. `Held` says that another job asks for some of these slots.
        What others were answered about is left out; where it lies between other missing slots, however, one request
        spans it, as it spans slots that are there: a second request would cost a permit.

        Raises:
            StoreError: The cache could not be read, or Redis gave no permit.
            SourceError: Nothing may be asked at present; the claim is released.
        """
        claimed = await self._claim(task)
        if isinstance(claimed, Held):
            return claimed
        try:
            missing = await self._missing(task)
        except StoreUnavailable:
            raise
        except StoreError:
            await self._settle(task, in_vain=False)
            raise
        wanted, vain = _without(missing, claimed.asked, task.span.timeframe.step_ms)
        if wanted:
            try:
                return Admission(wanted, vain, await self._wait_permit(task))
            except SourceError:
                await self._settle(task, in_vain=False)
                raise
        await self._settle(task, in_vain=False)
        return Admission((), vain, None)

    async def _missing(self, task: PageTask) -> tuple[Gap, ...]:
        series = task.span.series
        step = series.timeframe.step_ms
        spans = [(series, Interval(gap.start, gap.end + step)) for gap in gaps_of(task.gaps, step)]
        scans = await scan(self._store, spans, confirm_ms=0)
        for found in scans:
            if found.error is not None:
                raise found.error
        return tuple(gap for found in scans for gap in found.gaps)

    async def fill(self, task: PageTask, admission: Admission) -> PageOutcome:
        """Ask for an admitted page, merge what was missing and release the claim.

        Retries wait for permits of their own. Nothing is asked without a permit in the admission.

        An error that is the series' own, such as a key of another type, ends in the outcome.

        Raises:
            StoreError: Redis went away or refuses to write; whether a merge took effect is unknown.
        """
        missing = admission.missing
        if admission.permit is None:
            return page_outcome(task, admission.vain)
        step = task.span.timeframe.step_ms
        answer = await self._ask(task, Interval(missing[0].start, missing[-1].end + step), admission.permit)
        requests, error = answer.requests, answer.error
        if answer.candles and not await self._is_open(task.run):
            outcome = page_outcome(task, missing, requests=requests, error="the run ended before the merge")
        elif answer.refused:
            outcome = page_outcome(task, missing, requests=requests, refused=True, error=error)
        else:
            outcome = await self._merge(task, missing, answer.candles, requests, error)
        await self._settle(task, in_vain=bool(outcome.unresolved) and outcome.error is None)
        return _with_vain(outcome, admission.vain, step)

    async def _ask(self, task: PageTask, asked: Interval, permit: Permit) -> _Answer:
        """Ask until there is an answer, or no hope of one."""
        requests = 0
        unused: Permit | None = permit
        while True:
            sent = requests
            try:
                # A permit that lay too long is void: requests would bunch.
                while unused is None or not unused.is_valid():
                    unused = await self._wait_permit(task, renew=True, failed=requests > 0)
                permit, unused = unused, None
                requests += 1
                fetch = self._source.fetch_candles
                page = await send(self._bucket, permit, fetch, task.span.series, asked, draw=self._random.random)
            except SourceError as refusal:
                given_up = _Answer(requests, error=str(refusal), refused=_is_hopeless(refusal))
                # Nothing was sent where no permit is to be had.
                if requests in {sent, ATTEMPTS} or not refusal.retryable:
                    return given_up
                await trio.sleep(_RETRY.delay_ms(requests, self._random.random()) / 1_000)
                if not await self._is_open(task.run):
                    return given_up
            else:
                return _Answer(requests, page.candles)

    async def _claim(self, task: PageTask) -> Claimed | Held:
        """Claim a page; claims of runs that are no more hold nobody up."""
        where = (task.span.series, task.span.interval, task.token)
        claimed = await self._claims.take(*where, since=task.since)
        if isinstance(claimed, Held) and not await self._is_open(claimed.token.rpartition("/")[0]):
            return await self._claims.take(*where, since=task.since, void=claimed.token)
        return claimed

    async def _settle(self, task: PageTask, *, in_vain: bool) -> None:
        """Release the claim; one that cannot be released ends by itself."""
        try:
            await self._claims.settle(task.span.series, task.span.interval, task.token, in_vain=in_vain)
        except StoreError as error:
            _logger.warning("claim not released", extra={"task": task.id, "error": str(error)})

    async def _wait_permit(self, task: PageTask, *, renew: bool = False, failed: bool = False) -> Permit:
        """Wait as long as it takes: the exchange may have sent everybody back for minutes. The claim is kept alive.

        Raises:
            RunClosed: Nobody wants the page any more.
            SourceError: Nothing may be asked at present.
        """
        while True:
            if not await self._is_open(task.run):
                raise RunClosed(task.run)
            if renew:
                await self._claim(task)
            try:
                return await self._bucket.wait_permit(failed=failed)
            except PermitRefused as refused:
                await trio.sleep(min(refused.wait_ms / 1_000, _LONGEST_PAUSE_S))
                renew = True

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
            merged = await self._store.merge(task.span.series, useful, retention, by=task.run)
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
        unresolved = gaps_in(spans_in(sorted(asked - held), step), step)
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


def _without(gaps: tuple[Gap, ...], asked: Sequence[Interval], step: int) -> tuple[tuple[Gap, ...], tuple[Gap, ...]]:
    """Return what of some gaps lies outside these intervals, and what inside."""
    if not asked:
        return gaps, ()
    slots = [at for gap in gaps for at in range(gap.start, gap.end + 1, step)]
    inside = [at for at in slots if any(at in interval for interval in asked)]
    known = set(inside)
    outside = [at for at in slots if at not in known]
    return gaps_in(spans_in(outside, step), step), gaps_in(spans_in(inside, step), step)


def _with_vain(outcome: PageOutcome, vain: tuple[Gap, ...], step: int) -> PageOutcome:
    """Return an outcome in which slots that others asked for in vain are unresolved, not filled."""
    if not vain:
        return outcome
    unresolved = runs_of(sorted((*gaps_of(outcome.unresolved, step), *vain)))
    filled = outcome.filled - sum(gap.count for gap in vain)
    return outcome.model_copy(update={"unresolved": unresolved, "filled": filled})


def _is_hopeless(refusal: SourceError) -> bool:
    """Whether no page of this series will ever be served: no such product, or no permission."""
    return isinstance(refusal, NotAuthorized) or (
        isinstance(refusal, RequestRefused) and refusal.status == HTTPStatus.NOT_FOUND
    )
