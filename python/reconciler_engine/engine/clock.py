"""The clock of a pass: the earlier of Redis' clock and the exchange's."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

import trio

from reconciler_engine.engine.permitted_request import send
from reconciler_engine.errors import PermitRefused, SourceError
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.observe.words import SKEW_TOLD_MS, describe_skew, describe_span
from reconciler_engine.store.budget_use import asking_for
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.server_clock import ServerClock
from reconciler_engine.store.turns import Turn

if TYPE_CHECKING:
    # HTTP is loaded where the exchange is asked.
    from reconciler_engine.coinbase.client import CoinbaseClient

MEASURE_EVERY_S = 3_600
"""Interval of the comparison of the exchange's clock with Redis'; it is also made at each start and when in doubt."""

_KEPT_S = 2 * MEASURE_EVERY_S
_RETRY_S = 60
_TOLERATED_MS = 2_000
_logger = logging.getLogger(__name__)


class SharedClock(ServerClock):
    """Redis' clock and the exchange's offset from it, kept in Redis for every process of every node."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        super().__init__(client, scope)
        self._turn = Turn(client, scope, "clock")
        self._source = scope.source
        self._seen: tuple[float, int] | None = None
        self._doubted_at = -inf

    async def now(self) -> int:
        """Return the present instant (ms UTC) by the clock that is behind: Redis' or the exchange's."""
        return await self.redis_now() + min(0, await self.skew_ms() or 0)

    async def doubt(self) -> None:
        """Have the exchange's offset measured at the next check of any process.

        Called at a start, after a jump of a clock, and for rows that are newer than now.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        if trio.current_time() - self._doubted_at >= _RETRY_S / 2:
            self._doubted_at = trio.current_time()
            await self._turn.end()

    async def check(self, latest: int, at: int) -> None:
        """Doubt the offset if an answer's latest instant lies more than 2 s after the exchange's present time.

        Args:
            latest: Latest instant in an answer of the exchange (ms UTC).
            at: Instant of the pass that asked (ms UTC). If `latest` is at most 2 s after it, the clocks are not read.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        if latest - at <= _TOLERATED_MS:
            return
        theirs = await self.redis_now() + (await self.skew_ms() or 0)
        if latest - theirs > _TOLERATED_MS:
            await self.doubt()

    async def _has_jumped(self) -> bool:
        """Whether Redis' clock jumped since the last call, by the monotonic clock; if so, the offset is in doubt."""
        before, self._seen = self._seen, (trio.current_time(), await self.redis_now())
        if before is None:
            return False
        jump_ms = (self._seen[1] - before[1]) - round((self._seen[0] - before[0]) * 1_000)
        if abs(jump_ms) <= _TOLERATED_MS:
            return False
        _logger.info("the server's clock jumped", extra={"by": describe_span(abs(jump_ms)), "ahead": jump_ms > 0})
        await self.doubt()
        return True

    async def measure_when_due(self, source: CoinbaseClient, bucket: TokenBucket) -> None:
        """Measure the exchange's offset if it is over an hour old or in doubt; only one process of all does so.

        If the exchange does not answer, or the budget gives no permit, that is logged and tried again a minute later.
        The request waits for a permit like any other, and a rate limit in its answer holds for all processes.
        """
        is_mine = await self._turn.take(_RETRY_S)
        if await self._has_jumped() and not is_mine:
            is_mine = await self._turn.take(_RETRY_S)
        if not is_mine:
            return
        try:
            permit = await bucket.wait_permit()
            before = await self.redis_now()
            with asking_for("clock"):
                theirs = await send(bucket, permit, source.fetch_time, signed=False)
        except (SourceError, PermitRefused) as error:
            _logger.info("the exchange's clock could not be read", extra={"error": str(error)})
            return
        known, skew = await self.skew_ms(), theirs - (before + await self.redis_now()) // 2
        await self.keep_skew(skew, _KEPT_S)
        await self._turn.extend(MEASURE_EVERY_S)
        told = describe_skew(skew, self._source)
        if told is None:
            _logger.info("exchange clock measured", extra={"skew_ms": skew})
        else:
            is_new = known is None or abs(skew - known) > SKEW_TOLD_MS
            extra = {"skew_ms": skew, "consequence": told, "summary": told}
            _logger.log(logging.WARNING if is_new else logging.INFO, "clocks differ", extra=extra)
