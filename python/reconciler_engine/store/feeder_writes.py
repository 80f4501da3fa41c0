"""The commands with which a feeder fills the cache: the real one's, in its order, each a round trip of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from reconciler_engine.market.series import Series
from reconciler_engine.store.scope import Layout, Scope

NUMBER_FIELD = "sequenceNum"


class Client(Protocol):
    """The part of a Redis client that a feeder needs."""

    async def execute_command(self, *args: str | float | bytes) -> Any:
        """Send one command and return its reply."""
        ...


class FeederWrites:
    """A feeder's view of the cache of one scope. The client is the caller's to close."""

    def __init__(self, client: Client, scope: Scope, *, max_candles: int, ttl_s: int) -> None:
        """Make the view. Each write trims its key to `max_candles` and sets its expiry to `ttl_s`; 0 means neither."""
        self._client = client
        self._scope = scope
        self._max_candles = max_candles
        self._ttl_s = ttl_s

    async def are_empty(self, series: Sequence[Series]) -> bool:
        """Tell whether none of these series has a candle.

        Raises:
            StoreError: Redis did not answer.
        """
        for one in series:
            if await self._client.execute_command("EXISTS", self._scope.candle_key(one)):
                return False
        return True

    async def write(self, series: Series, open_time: int, member: str) -> bool:
        """Write the candle of a slot; the slot is empty for a round trip. Return False where the candle is refused.

        Raises:
            StoreError: Redis failed or refused the command; earlier writes stay.
        """
        key = self._scope.candle_key(series)
        stored = await self._client.execute_command("ZRANGEBYSCORE", key, open_time, open_time)
        if is_refused(stored or (), member):
            return False
        await self._client.execute_command("ZREMRANGEBYSCORE", key, open_time, open_time)
        await self._add(key, {open_time: member})
        return True

    async def fill(self, series: Series, members: Mapping[int, str]) -> None:
        """Write candles, by open time, to a key that was just found empty, in one command.

        Raises:
            StoreError: Redis failed or refused the command; earlier writes stay.
        """
        key = self._scope.candle_key(series)
        if members:
            await self._client.execute_command("ZREMRANGEBYSCORE", key, min(members), max(members))
            await self._add(key, members)

    async def _add(self, key: str, members: Mapping[int, str]) -> None:
        await self._client.execute_command("ZADD", key, *(part for slot in members.items() for part in slot))
        if self._ttl_s:
            await self._client.execute_command("EXPIRE", key, self._ttl_s)
        if self._max_candles:
            await self._client.execute_command("ZREMRANGEBYRANK", key, 0, -1 - self._max_candles)

    async def announce_close(self, series: Series, member: str) -> None:
        """Publish a candle on the close channels of its series: that of the layout, and still the user's.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        users = replace(self._scope, layout=Layout.USER)
        for channel in dict.fromkeys((self._scope.close_channel(series), users.close_channel(series))):
            await self._client.execute_command("PUBLISH", channel, member)


def is_refused(stored: Iterable[bytes | str], member: str) -> bool:
    """Tell whether a candle gives way to the stored one: its number is not greater, or it has none beside one.

    Numbers of two connections are compared as if they were of one. This keeps a cut candle of an earlier connection.
    """
    number = next(_numbers([member]), None)
    return any(number is None or number <= kept for kept in _numbers(stored))


def _numbers(members: Iterable[bytes | str]) -> Iterator[int]:
    for member in members:
        number = cast("dict[str, Any]", json.loads(member)).get(NUMBER_FIELD)
        if isinstance(number, int):
            yield number
