"""Redis' clock, and the last measured offset of the exchange's clock from it."""

from __future__ import annotations

import logging

from reconciler_engine.store.client.reply_shapes import MOST_MS, understanding, whole
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

LARGEST_SKEW_MS = 10 * 365 * 86_400_000
"""Largest accepted offset, ten years: a simulated exchange may run in another year."""

_logger = logging.getLogger(__name__)


class ServerClock:
    """The clock that all processes on all nodes share. The caller closes the client."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._skew_key = scope.key("clock:skew_ms")
        self._turn_key = scope.key("clock:turn")

    async def redis_now(self) -> int:
        """Return Redis' clock (ms UTC).

        Raises:
            StoreError: Redis did not answer.
        """
        reply = await self._client.execute_command("TIME", keys=[self._skew_key])
        with understanding("the time"):
            seconds, microseconds = reply
            return whole(seconds, most=MOST_MS // 1_000) * 1_000 + whole(microseconds) // 1_000

    async def skew_ms(self) -> int | None:
        """Return the exchange's clock minus Redis' clock (ms), or None without a recent measurement.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        found = await self._client.execute_command("GET", self._skew_key)
        if found is None:
            return None
        try:
            return whole(found, -LARGEST_SKEW_MS, LARGEST_SKEW_MS)
        except ValueError as error:
            _logger.error("the exchange clock's offset in Redis is none and dropped", extra={"error": str(error)})
        # With both keys gone, the next look measures the offset again.
        await self._client.execute_command("DEL", self._skew_key, self._turn_key)
        return None

    async def keep_skew(self, skew_ms: int, life_s: int) -> None:
        """Store the offset of the exchange's clock (ms) for `life_s`.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("SET", self._skew_key, skew_ms, "EX", life_s)
