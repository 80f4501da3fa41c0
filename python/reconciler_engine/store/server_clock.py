"""Redis' clock, and the exchange's offset from it as it was measured last."""

from __future__ import annotations

import logging

from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

_logger = logging.getLogger(__name__)


class ServerClock:
    """The clock that all processes of all nodes share. The client is the caller's to close."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._skew_key = scope.key("clock:skew_ms")

    async def now(self) -> int:
        """Return Redis' clock (ms UTC).

        Raises:
            StoreError: Redis did not answer.
        """
        seconds, microseconds = await self._client.execute_command("TIME")
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    async def skew_ms(self) -> int | None:
        """Return the exchange's clock less Redis' (ms), or None where nobody measured it lately.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        text = await self._client.execute_command("GET", self._skew_key)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            _logger.error("the exchange clock's offset in Redis is no number; it is not used")
            return None

    async def keep_skew(self, skew_ms: int, life_s: int) -> None:
        """Keep the exchange's offset (ms) for `life_s`.

        Raises:
            StoreError: Redis did not do it.
        """
        await self._client.execute_command("SET", self._skew_key, skew_ms, "EX", life_s)
