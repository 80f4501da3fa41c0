"""The commands by which a feeder fills the cache: the real one's, in its order, each a round trip of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from reconciler_engine.market.series import Series
from reconciler_engine.store.scope import Scope


class Client(Protocol):
    """The part of a Redis client that a feeder needs."""

    async def execute_command(self, *args: str | float | bytes) -> Any:
        """Send one command and return its reply."""
        ...


class FeederWrites:
    """A feeder's view of the cache of one scope. The client is the caller's to close."""

    def __init__(self, client: Client, scope: Scope, *, max_candles: int, ttl_s: int) -> None:
        """Make the view; each write cuts its key to `max_candles` and gives it `ttl_s` of life, 0 for neither."""
        self._client = client
        self._scope = scope
        self._max_candles = max_candles
        self._ttl_s = ttl_s

    async def write_snapshot(self, series: Series, members: Sequence[tuple[int, str]]) -> None:
        """Write many candles of a series, each an open time (ms UTC) and its member: all removals, then one addition.

        Raises:
            StoreError: Redis did not do it; what was written so far stays.
        """
        key = self._scope.candle_key(series)
        for open_time, _ in members:
            await self._client.execute_command("ZREMRANGEBYSCORE", key, open_time, open_time)
        if members:
            await self._client.execute_command("ZADD", key, *(text for pair in members for text in pair))
            await self._cut(key)

    async def write(self, series: Series, open_time: int, member: str, *, closed: bool) -> None:
        """Write one candle and publish it, on the channel of closes too if its bar is closed.

        Raises:
            StoreError: Redis did not do it; what was written so far stays.
        """
        key = self._scope.candle_key(series)
        await self._client.execute_command("ZREMRANGEBYSCORE", key, open_time, open_time)
        await self._client.execute_command("ZADD", key, open_time, member)
        await self._cut(key)
        owner = f"{self._scope.user_id}:{self._scope.exchange_id}:{series.symbol}:{series.timeframe.value}"
        await self._client.execute_command("PUBLISH", f"channel:candle:{owner}", member)
        if closed:
            await self._client.execute_command("PUBLISH", f"channel:candle:close:{owner}", member)

    async def _cut(self, key: str) -> None:
        if self._ttl_s:
            await self._client.execute_command("EXPIRE", key, self._ttl_s)
        if self._max_candles:
            await self._client.execute_command("ZREMRANGEBYRANK", key, 0, -1 - self._max_candles)
