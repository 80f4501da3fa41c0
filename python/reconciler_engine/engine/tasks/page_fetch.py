"""Fetch one page from the exchange into the cache, with what it proves."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any, TypeVar

import trio

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.engine.tasks.drain import Drain, Drained
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, intervals_of, page_outcome
from reconciler_engine.engine.tasks.scan import scan
from reconciler_engine.errors import (
    NotAuthorized,
    PermitRefused,
    RequestRefused,
    RunClosed,
    SourceError,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from reconciler_engine.limiting.redis_bucket import Permit, TokenBucket
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.absent_slots import AbsentSlots, sort_absent
from reconciler_engine.planning.audit import AuditRules, Copy, find_doubts
from reconciler_engine.planning.backoff import Backoff
from reconciler_engine.planning.proof import Answer
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.claims import Claims, OtherClaim
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead

ATTEMPTS = 4
"""Requests sent for one page before it is left for the next pass."""

_LONGEST_PAUSE_S = 5.0
_SECOND_MS = 1_000
_logger = logging.getLogger(__name__)
_RETRY = Backoff(base_ms=500, cap_ms=5_000)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Admission:
    """What was found under the claim of a page.

    Attributes:
        standing: How the slots of its span without a candle stand.
        known: What is known of them.
        copies: The candles in what it asks for, by open time.
        permit: To ask with; None where nothing is to be asked.
    """

    standing: AbsentSlots
    known: LedgerRead
    copies: Mapping[int, Copy]
    permit: Permit | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of asking for a page at `at` (ms UTC); `error` says why there is no `page`."""

    requests: int
    at: int = 0
    page: CandlePage | None = None
    error: str | None = None
    refused: bool = False


class PageFetcher:
    """Fetches and merges pages. Every request waits for a permit of the bucket that all workers share.

    Killed or cancelled at any point, the cache and its evidence hold either the state before a merge or the state
    after it.
    """

    def __init__(
        self,
        store: CandleStore,
        evidence: EvidenceStore,
        source: CoinbaseClient,
        bucket: TokenBucket,
        claims: Claims,
        clock: SharedClock,
        is_open: Callable[[str], Awaitable[bool]],
        random: Random,
        *,
        grace_ms: int,
        audit_rules: AuditRules,
    ) -> None:
        """Make a backfill; `is_open` tells whether a run, by its id, still wants its pages."""
        self._store = store
        self._evidence = evidence
        self._source = source
        self._bucket = bucket
        self._claims = claims
        self._clock = clock
        self._is_open = is_open
        self._random = random
        self._grace_ms = grace_ms
        self._audit_rules = audit_rules
        self._drain = Drain()

    def drain(self) -> None:
        """Wait for nothing any more: answers that are on their way are taken, pages that wait raise `Drained`."""
        self._drain.begin()

    async def admit(self, task: PageTask) -> Admission | OtherClaim:
        """Claim a page, and return what the cache lacks of it at this moment and a permit to ask for that.

        The claim comes first, so that what is due under it is due because nobody has asked: what another job was
        answered is in the ledger. It is released by `store`, or here where there is nothing to ask.
        `OtherClaim` says that another job asks for some of these slots.

        Raises:
            Drained: It waited for its permit; the claim is released.
            StoreError: The cache could not be read, or Redis gave no permit.
            SourceError: Nothing may be asked at present; the claim is released.
        """
        other = await self._claim(task)
        if other is not None:
            return other
        try:
            standing, known = await self._look(task)
            worth_asking = standing.missing if task.bridge else standing.due
            due = worth_asking & intervals_of(task.gaps, task.span.timeframe.step_ms)
            copies = await self._store.copies(task.span.series, Interval(*task.asked)) if due or task.held else {}
        except StoreUnavailable:
            raise
        except StoreError:
            await self._release(task)
            raise
        if due or task.held:
            try:
                return Admission(standing, known, copies, await self._wait_permit(task))
            except SourceError:
                await self._release(task)
                raise
        await self._release(task)
        return Admission(standing, known, copies, None)

    async def _look(self, task: PageTask) -> tuple[AbsentSlots, LedgerRead]:
        """Return how the slots of a page's span stand, and what is known of them."""
        series, span = task.span.series, task.span.interval
        (found,) = await scan(self._store, [(series, span)], confirm_ms=0)
        (known,) = await self._evidence.read([(series, span)])
        for error in (found.error, known.error):
            if error is not None:
                raise error
        absent = Intervals.of_gaps(found.gaps, series.timeframe.step_ms)
        return sort_absent(absent, known.ledger, await self._clock.now()), known

    async def ask(self, task: PageTask, admission: Admission) -> Answered:
        """Ask for an admitted page; retries wait for permits of their own.

        Nothing is asked without a permit in the admission.

        Raises:
            Drained: It waited for another try; the claim is released.
            StoreError: Redis went away before there was an answer.
        """
        return Answered(0) if admission.permit is None else await self._ask(task, admission.permit)

    async def store(self, task: PageTask, admission: Admission, answer: Answered) -> PageOutcome:
        """Merge what a page's span lacks with what the answer proves, and release the claim; repeating it is harmless.

        An error that is the series' own, such as a key of another type, ends in the outcome.

        Raises:
            StoreError: Redis went away or takes no writes; whether a merge took effect is unknown.
        """
        if admission.permit is None:
            return page_outcome(task, admission.standing)
        if answer.page is None:
            outcome = page_outcome(
                task, admission.standing, requests=answer.requests, refused=answer.refused, error=answer.error
            )
        elif not await self._is_open(task.run):
            outcome = page_outcome(
                task, admission.standing, requests=answer.requests, error="the run ended before the merge"
            )
        else:
            outcome = await self._merge(task, admission, answer.page, answer.at, answer.requests)
        await self._release(task)
        return outcome

    async def _ask(self, task: PageTask, permit: Permit) -> Answered:
        """Ask until there is an answer, or no hope of one."""
        requests = 0
        unused: Permit | None = permit
        while True:
            sent = requests
            try:
                # A permit that lay too long is void: requests would bunch.
                while unused is None or not unused.is_valid():
                    if unused is not None:
                        await self._bucket.give_back(unused)
                    unused = await self._wait_permit(task, renew=True, failed=requests > 0)
                permit, unused = unused, None
                requests += 1
                at, page = await send(self._bucket, permit, self._fetch, task, draw=self._random.random)
            except SourceError as refusal:
                given_up = Answered(requests, error=str(refusal), refused=_is_hopeless(refusal))
                # Nothing was sent where no permit is to be had.
                if requests in {sent, ATTEMPTS} or not refusal.retryable:
                    return given_up
                await self._wait(task, trio.sleep, _RETRY.delay_ms(requests, self._random.random()) / 1_000)
                if not await self._is_open(task.run):
                    return given_up
            else:
                return Answered(requests, at, page)

    async def _fetch(self, task: PageTask) -> tuple[int, CandlePage]:
        """Return the instant of the request (ms UTC), which neither clock has passed, and its answer."""
        at = await self._clock.now()
        page = await self._source.fetch_candles(task.span.series, Interval(*task.asked))
        # Redis' clock may have been set since the two were compared: bars to come are no bars without trades.
        return at if page.served_at is None else min(at, page.served_at + _SECOND_MS), page

    async def _claim(self, task: PageTask) -> OtherClaim | None:
        """Claim a page; claims of runs that are no more hold nobody up."""
        where = (task.span.series, task.hull, task.token)
        other = await self._claims.take(*where)
        if other is not None and not await self._is_open(other.token.rpartition("/")[0]):
            return await self._claims.take(*where, void=other.token)
        return other

    async def _release(self, task: PageTask) -> None:
        """Release the claim; one that Redis refuses to release ends by itself.

        Raises:
            StoreUnavailable: Redis is away; others wait for the claim until it is released after all, or ends.
        """
        try:
            await self._claims.release(task.span.series, task.hull, task.token)
        except StoreUnavailable:
            raise
        except StoreError as error:
            self._tell_unreleased(task, error)

    def _tell_unreleased(self, task: PageTask, error: StoreError) -> None:
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
                return await self._wait(task, partial(self._bucket.wait_permit, failed=failed))
            except PermitRefused as refused:
                await self._wait(task, trio.sleep, min(refused.wait_ms / 1_000, _LONGEST_PAUSE_S))
                renew = True

    async def _wait(self, task: PageTask, wait: Callable[..., Awaitable[_T]], *args: Any) -> _T:
        """Wait unless drained; then the page's claim is released, for whoever gets it next."""
        try:
            with self._drain.waiting():
                return await wait(*args)
        except Drained:
            try:
                await self._release(task)
            except StoreUnavailable as error:
                # Whoever gets the page has the same token.
                self._tell_unreleased(task, error)
            raise

    async def _merge(
        self, task: PageTask, admission: Admission, page: CandlePage, at: int, requests: int
    ) -> PageOutcome:
        """Merge candles of absent slots and of doubted ones that are due, with what the answer proves.

        Returns how the slots stand now.
        """
        series, step = task.span.series, task.span.timeframe.step_ms
        standing = admission.standing
        absent = standing.missing | standing.confirmed
        closed = closed_before(at, series.timeframe, self._grace_ms)
        useful = [one for one in page.candles if one.timestamp < closed and absent.holds(one.timestamp)]
        others = (one for one in page.candles if not absent.holds(one.timestamp))
        doubts = find_doubts(admission.copies, others, at, step, self._audit_rules, grace_ms=self._grace_ms)
        try:
            proven = await self._store.merge_answer(
                series,
                useful,
                task.keeping,
                # Rows of slots that another page looks after are candles beside this one's, no more.
                replace(answer_of(page, at), asked=task.span.interval),
                absent,
                known=admission.known,
                doubts=doubts,
                grace_ms=self._grace_ms,
                by=task.run,
            )
        except (StoreUnavailable, StoreFull):
            raise
        except StoreError as refused:
            return page_outcome(task, standing, requests=requests, error=str(refused))
        merged, error = proven.outcome, None
        if merged.unannounced:
            error = f"repaired, and not announced on channel:candle:repaired: {merged.unannounced}"
        if merged.refused:
            error = (
                f"{len(merged.refused)} candles not written: the cache keeps the newest {task.keeping.max_candles} "
                "members and would have dropped them again"
            )
        there = sorted({*merged.present, *merged.differing})
        unread = await self._find_unread(series, there)
        if unread:
            error = f"{len(unread)} slots hold a member that Redis takes for a candle and readers may not"
        if proven.verdict.late:
            _logger.info("late candles", extra={"series": str(series), "slots": proven.verdict.late})
        if proven.doubted:
            facts = {"series": str(series), "slots": proven.doubted, "repaired": len(merged.changed)}
            _logger.info("candles unlike the exchange's", extra=facts)
        held = Intervals.of_slots(sorted({*merged.inserted, *there} - unread), step)
        return page_outcome(
            task,
            sort_absent(absent - held, proven.verdict.ledger, at),
            requests=requests,
            mismatched=len(merged.differing) + proven.doubted,
            repaired=len(merged.changed),
            error=error,
        )

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


def answer_of(page: CandlePage, at: int) -> Answer:
    """Return a page that was asked for at `at` (ms UTC) as evidence: its rows, and the one beyond each of its ends."""
    rows = [candle.timestamp for candle in page.candles]
    if page.oldest is not None and page.oldest < page.interval.start:
        rows.insert(0, page.oldest)
    if page.newest is not None and page.newest >= page.interval.stop:
        rows.append(page.newest)
    return Answer(page.interval, at, rows, page.covering)


def _is_hopeless(refusal: SourceError) -> bool:
    """Whether no page of this series will ever be served: no such product, or no permission."""
    return isinstance(refusal, NotAuthorized) or (
        isinstance(refusal, RequestRefused) and refusal.status == HTTPStatus.NOT_FOUND
    )
