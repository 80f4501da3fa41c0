"""One page's trip: claim its slots, look at the cache, ask the exchange, merge the answer, release the claim."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import trio

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.tasks.drain import Drain, Drained
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, page_outcome
from reconciler_engine.engine.tasks.page_cache import PageCache, PageLook, answer_of
from reconciler_engine.engine.tasks.page_request import PageReply, PageRequester
from reconciler_engine.engine.tasks.redis_retry import RedisRetry
from reconciler_engine.engine.tasks.references import Reached, References
from reconciler_engine.errors import RunClosed, StoreError, own_fault
from reconciler_engine.market.interval import NOTHING, Interval
from reconciler_engine.observe.metrics import CONTRADICTED
from reconciler_engine.planning.answers import Venue
from reconciler_engine.planning.proof import Verdict
from reconciler_engine.planning.sightings import TRUSTED_WITNESSES
from reconciler_engine.store.claims import Claims, OtherClaim
from reconciler_engine.store.venue import VenueStore

if TYPE_CHECKING:
    # HTTP is loaded where the exchange is asked.
    from reconciler_engine.coinbase.client import CoinbaseClient

_CLAIM_LOOK_S = 0.1
_WITHHELD = "not asked: an answer just before lacked candles of this series that the cache knows"
_logger = logging.getLogger(__name__)


class PageFetcher:
    """Fetches pages into the cache, any number at a time.

    If it is killed or cancelled, cache and evidence hold either the state before a merge or the state after it.
    """

    def __init__(self, parts: BaseParts, source: CoinbaseClient, redis: RedisRetry) -> None:
        """Make a fetcher that asks `source`."""
        self._drain = Drain()
        self._claims = Claims(parts.client, parts.scope)
        self._cache = PageCache(parts.store, parts.evidence, parts.clock)
        self._requester = PageRequester(source, parts.bucket, parts.clock, Random(), self._drain)
        self._venue = VenueStore(parts.client, parts.scope)
        self._references = References(self._venue, parts.products, self._cache, self._requester, parts.clock)
        self._is_open = parts.queue.is_open
        self._redis = redis

    def drain(self) -> None:
        """Finish requests that were sent, and end all waits: pages that wait raise `Drained`."""
        self._drain.begin()

    async def fetch(self, task: PageTask, under_way: trio.Event) -> PageOutcome:
        """Fetch a page into the cache; keep an answer and try to merge it for as long as Redis is away.

        `under_way` is set as soon as the worker may take another page: when this one has its permit, or waits for the
        claim of another task.

        Raises:
            Drained: The page was waiting; its claim is released.
        """
        retry = self._redis.retry_while_redis_is_away
        try:
            look, reply = await retry(partial(self._claim_look_ask, task, under_way), self._drain.sleep)
        except Drained:
            await self._try_release(task)
            raise
        outcome = await retry(partial(self._merge, task, look, reply))
        await retry(partial(self._release, task))
        return outcome

    async def _claim_look_ask(self, task: PageTask, under_way: trio.Event) -> tuple[PageLook | None, PageReply]:
        """Return the cache's state and the exchange's reply; the state is None if an error of the series came first.

        The claim is taken before the look. So the ledger already has the answers to other jobs, and a slot that is
        still due has not been asked for.
        """
        look = None
        series, keep = task.span.series, partial(self._keep, task)
        try:
            await self._claim(task, under_way)
            look = await self._cache.look(task)
            if not look.is_wanted:
                return look, PageReply()
            if task.pauses and await self._venue.is_withheld(series, task.run):
                return look, PageReply(error=_WITHHELD)
            before = Reached(None)
            if look.awaits_reference:
                before = await self._references.obtain(task, look.asked, keep)
                venue = before.facts(Venue(), look.asked)
                if not (venue.has_reference or venue.is_hopeless):
                    return look, PageReply(references=before.requests)
            reply = await self._requester.ask(series, look.asked, keep, under_way)
            return look, replace(reply, references=before.requests)
        except StoreError as error:
            return look, PageReply(error=str(own_fault(error)))

    async def _claim(self, task: PageTask, under_way: trio.Event) -> None:
        """Claim a page; if another task has claimed slots of it, wait for that task.

        The claim of a finished task or run is ignored: a failover can bring released claims back.
        """
        void = ""
        while (other := await self._take(task, void)) is not None:
            if not await self._is_open(other.run, other.task):
                void = other.token
                continue
            under_way.set()
            await self._drain.sleep(min(_CLAIM_LOOK_S, other.left_ms / 1_000))
            await self._check_open(task)

    async def _keep(self, task: PageTask) -> None:
        """Renew a page's claim; if it expired and another task took the slots, leave that task's claim alone.

        Raises:
            RunClosed: The run of the page has ended.
        """
        await self._check_open(task)
        await self._take(task)

    async def _take(self, task: PageTask, void: str = "") -> OtherClaim | None:
        return await self._claims.take(task.span.series, task.hull, task.token, void=void)

    async def _check_open(self, task: PageTask) -> None:
        if not await self._is_open(task.run):
            raise RunClosed(task.run)

    async def _merge(self, task: PageTask, look: PageLook | None, reply: PageReply) -> PageOutcome:
        error = reply.error
        if look is not None and reply.page is not None:
            if await self._is_open(task.run):
                venue, references = await self._see_venue(task, look, reply, reply.page)
                outcome = await self._cache.merge(task, look, reply, reply.page, venue)
                return outcome.model_copy(update={"references": reply.references + references})
            error = "the run ended before the merge"
        return page_outcome(
            task,
            None if look is None else look.slots,
            requests=reply.requests,
            references=reply.references,
            refused=reply.refused,
            unanswered=reply.unanswered,
            error=error,
            verified=NOTHING if look is None else look.fresh_in(task.span.interval),
        )

    async def _see_venue(self, task: PageTask, look: PageLook, reply: PageReply, page: CandlePage) -> tuple[Venue, int]:
        """Return the facts about the exchange at the time of a page, and the number of requests for a reference.

        A reference is obtained if the verdict says that it would prove more slots.
        """
        series, step = task.span.series, task.span.timeframe.step_ms
        answer = answer_of(page, look.asked, reply.at, step)
        venue = await self._venue.note_newest(series.timeframe, answer.newest(step), reply.at)
        verdict = self._cache.judge(task, look, answer, venue)
        await self._note_trust(task, verdict)
        if verdict.wants_reference is None:
            return venue, 0
        wanted = Interval(look.asked.start, verdict.wants_reference)
        try:
            reached = await self._references.obtain(task, wanted, partial(self._keep, task))
        except RunClosed:
            return venue, 0
        except StoreError as error:
            _logger.info("no reference", extra={"task": task.id, "error": str(own_fault(error))})
            return venue, 0
        return reached.facts(venue, wanted), reached.requests

    async def _note_trust(self, task: PageTask, verdict: Verdict) -> None:
        """Pause the series of a contradicted answer; end all pauses after a complete answer with enough witnesses."""
        series, step = task.span.series, task.span.timeframe.step_ms
        if verdict.is_contradicted:
            CONTRADICTED.add(1)
            if await self._venue.note_withheld(series, task.run):
                facts = {"series": str(series), "lacking": verdict.lacking.size(step)}
                _logger.warning("the exchange withholds candles", extra=facts)
        elif verdict.is_whole and verdict.witnesses.size(step) >= TRUSTED_WITNESSES:
            await self._venue.end_withheld()

    async def _release(self, task: PageTask) -> None:
        """Release the claim; if Redis refuses that, log it, and the claim expires.

        Raises:
            StoreUnavailable: Redis is away. Other tasks wait until the claim is released or expires.
        """
        try:
            await self._claims.release(task.span.series, task.hull, task.token)
        except StoreError as error:
            _log_unreleased(task, own_fault(error))

    async def _try_release(self, task: PageTask) -> None:
        """Try once to release the claim; a claim that stays does not stop the next worker, which has the same token."""
        try:
            await self._release(task)
        except StoreError as error:
            _log_unreleased(task, error)


def _log_unreleased(task: PageTask, error: StoreError) -> None:
    _logger.info("claim not released", extra={"task": task.id, "error": str(error)})
