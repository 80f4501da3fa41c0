"""Requests for one page: up to four attempts, each with a permit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING

import trio

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.engine.tasks.drain import Drain
from reconciler_engine.errors import IdentityStopped, NotAuthorized, PermitRefused, RequestRefused, SourceError
from reconciler_engine.limiting.permit_steps import Permit
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.backoff import Backoff
from reconciler_engine.planning.window import with_forming

if TYPE_CHECKING:
    # HTTP is loaded where the exchange is asked.
    from reconciler_engine.coinbase.client import CoinbaseClient

ATTEMPTS = 4
"""Most requests for one page; after that it is left to the next pass."""

_LONGEST_PAUSE_S = 5.0
_SECOND_MS = 1_000
_RETRY = Backoff(base_ms=500, cap_ms=5_000)


@dataclass(frozen=True, slots=True)
class PageReply:
    """The exchange's page, asked for at `at` (ms UTC), or the `error` that explains why it did not come.

    `refused` says that the exchange will never serve this series, `unanswered` that a later request may succeed.
    `references` is the number of requests for references before the page.
    """

    requests: int = 0
    at: int = 0
    page: CandlePage | None = None
    error: str | None = None
    refused: bool = False
    unanswered: bool = False
    references: int = 0


class PageRequester:
    """Asks the exchange for pages. Every request waits for a permit of the bucket that all workers share."""

    def __init__(
        self, source: CoinbaseClient, bucket: TokenBucket, clock: SharedClock, random: Random, drain: Drain
    ) -> None:
        self._source = source
        self._bucket = bucket
        self._clock = clock
        self._random = random
        self._drain = drain

    async def ask(
        self, series: Series, slots: Interval, keep: Callable[[], Awaitable[None]], under_way: trio.Event
    ) -> PageReply:
        """Ask for a page until it comes, `ATTEMPTS` requests have failed, or a further request would be useless.

        Args:
            series: Series of the page.
            slots: Interval asked for.
            keep: Renews the page's claim before each wait for a permit; raises if the page is no longer wanted.
            under_way: Set with the first permit.

        Raises:
            Drained: The request was waiting for a permit or between attempts.
            StoreError: Redis went away before there was an answer, or `keep` raised it.
        """
        requests = 0
        try:
            while True:
                permit = await self._wait_permit(keep, failed=requests > 0)
                under_way.set()
                requests += 1
                try:
                    at, page = await send(self._bucket, permit, self._fetch, series, slots, draw=self._random.random)
                except SourceError as refusal:
                    if requests == ATTEMPTS or not refusal.retryable:
                        raise
                else:
                    return PageReply(requests, at, page)
                await self._drain.sleep(_RETRY.delay_ms(requests, self._random.random()) / 1_000)
        except SourceError as refusal:
            unanswered = refusal.retryable or isinstance(refusal, IdentityStopped)
            return PageReply(requests, error=str(refusal), refused=_is_hopeless(refusal), unanswered=unanswered)

    async def _wait_permit(self, keep: Callable[[], Awaitable[None]], *, failed: bool) -> Permit:
        """Wait for a permit without a time limit, since the exchange may demand a pause of minutes.

        Use the permit at once.

        Raises:
            SourceError: The breaker forbids requests at present.
        """
        while True:
            await keep()
            try:
                with self._drain.waiting():
                    return await self._bucket.wait_permit(failed=failed)
            except PermitRefused as refused:
                await self._drain.sleep(min(refused.wait_ms / 1_000, _LONGEST_PAUSE_S))

    async def _fetch(self, series: Series, slots: Interval) -> tuple[int, CandlePage]:
        """Return the instant of the request (ms UTC), by the clock that is behind, and its answer.

        A page up to the newest closed slot also asks for the forming bar: its row proves that the row before is whole.
        """
        at = await self._clock.now()
        page = await self._source.fetch_candles(series, with_forming(slots, at, series.timeframe))
        await self._clock.check(max(page.served_at or 0, page.newest or 0), at)
        # Redis' clock may have jumped ahead since the comparison; future bars must not count as bars without trades.
        return at if page.served_at is None else min(at, page.served_at + _SECOND_MS), page


def _is_hopeless(refusal: SourceError) -> bool:
    """Whether the product does not exist at the exchange, or may not be read."""
    return isinstance(refusal, NotAuthorized) or (
        isinstance(refusal, RequestRefused) and refusal.status == HTTPStatus.NOT_FOUND
    )
