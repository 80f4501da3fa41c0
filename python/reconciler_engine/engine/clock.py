"""What time it is for a pass: the earlier of Redis' clock and the exchange's."""

from __future__ import annotations

import logging

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.errors import PermitRefused, SourceError
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

MEASURE_EVERY_S = 3_600
"""The exchange's clock is compared with Redis' at start and then hourly, by one process of all."""

_KEPT_S = 2 * MEASURE_EVERY_S
_RETRY_S = 60
_logger = logging.getLogger(__name__)


class SharedClock:
    """Redis' clock and the exchange's offset from it, kept in Redis for every process of every node."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._skew_key = scope.key("clock:skew_ms")
        self._turn_key = scope.key("clock:turn")

    async def now(self) -> int:
        """Return the instant of a pass (ms UTC): neither clock has passed it."""
        return await self.redis_now() + min(0, await self.skew_ms() or 0)

    async def redis_now(self) -> int:
        """Return Redis' clock (ms UTC)."""
        seconds, microseconds = await self._client.execute_command("TIME")
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    async def skew_ms(self) -> int | None:
        """Return the exchange's clock less Redis' (ms), or None where nobody measured it lately."""
        text = await self._client.execute_command("GET", self._skew_key)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            _logger.error("the exchange clock's offset in Redis is no number; it is not used")
            return None

    async def measure_when_due(self, source: CoinbaseClient, bucket: TokenBucket) -> None:
        """Measure the exchange's offset if nobody did within the hour; one process of all does it.

        An exchange that does not answer, or has sent everybody back for long, is logged and asked again a minute
        later; passes use Redis' clock alone until then. The request waits for a permit like any other, and a refusal
        for rate holds for everybody.
        """
        if not await self._client.execute_command("SET", self._turn_key, "1", "NX", "EX", _RETRY_S):
            return
        try:
            permit = await bucket.wait_permit()
            before = await self.redis_now()
            theirs = await send(bucket, permit, source.fetch_time, signed=False)
        except (SourceError, PermitRefused) as error:
            _logger.warning("the exchange's clock could not be read", extra={"error": str(error)})
            return
        skew = theirs - (before + await self.redis_now()) // 2
        await self._client.pipe(
            [
                ("SET", self._skew_key, skew, "EX", _KEPT_S),
                ("SET", self._turn_key, "1", "EX", MEASURE_EVERY_S),
            ]
        )
        _logger.info("exchange clock measured", extra={"skew_ms": skew})
