"""What time it is for a pass: the earlier of Redis' clock and the exchange's."""

from __future__ import annotations

import logging

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.errors import PermitRefused, SourceError
from reconciler_engine.limiting.purpose import asking_for
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.server_clock import ServerClock
from reconciler_engine.store.turns import Turn

MEASURE_EVERY_S = 3_600
"""The exchange's clock is compared with Redis' at start and then hourly, by one process of all."""

_KEPT_S = 2 * MEASURE_EVERY_S
_RETRY_S = 60
_logger = logging.getLogger(__name__)


class SharedClock:
    """Redis' clock and the exchange's offset from it, kept in Redis for every process of every node."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._clock = ServerClock(client, scope)
        self._turn = Turn(client, scope, "clock")

    async def now(self) -> int:
        """Return the instant of a pass (ms UTC): neither clock has passed it."""
        return await self.redis_now() + min(0, await self.skew_ms() or 0)

    async def redis_now(self) -> int:
        """Return Redis' clock (ms UTC)."""
        return await self._clock.now()

    async def skew_ms(self) -> int | None:
        """Return the exchange's clock less Redis' (ms), or None where nobody measured it lately."""
        return await self._clock.skew_ms()

    async def measure_when_due(self, source: CoinbaseClient, bucket: TokenBucket) -> None:
        """Measure the exchange's offset if nobody did within the hour; one process of all does it.

        An exchange that does not answer, or has sent everybody back for long, is logged and asked again a minute
        later; passes use Redis' clock alone until then. The request waits for a permit like any other, and a refusal
        for rate holds for everybody.
        """
        if not await self._turn.take(_RETRY_S):
            return
        try:
            permit = await bucket.wait_permit()
            before = await self.redis_now()
            with asking_for("clock"):
                theirs = await send(bucket, permit, source.fetch_time, signed=False)
        except (SourceError, PermitRefused) as error:
            _logger.warning("the exchange's clock could not be read", extra={"error": str(error)})
            return
        skew = theirs - (before + await self.redis_now()) // 2
        await self._clock.keep_skew(skew, _KEPT_S)
        await self._turn.extend(MEASURE_EVERY_S)
        _logger.info("exchange clock measured", extra={"skew_ms": skew})
