"""Size, oldest member and expiry of candle keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reconciler_engine.detection.members import check_members
from reconciler_engine.errors import StoreError, StoreUnavailable, own_fault
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.steps import Command
from reconciler_engine.store.client.reply_shapes import MOST_MS, understanding
from reconciler_engine.store.client.trio_redis import each_apart
from reconciler_engine.store.scoped import Scoped

_NEWEST: Final = 10
"""Members that are examined to tell whether a key is the series' own."""


class CandleKeys(Scoped):
    """Candle keys of one scope.

    A key of another type counts as empty here; the error comes when its candles are read.
    """

    async def sizes(self, series: Sequence[Series]) -> list[int]:
        """Return the number of members of each series; keys of another type are left out.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        sizes = await self._pipe([("ZCARD", self._scope.candle_key(one)) for one in series])
        return [size for size in sizes if isinstance(size, int)]

    async def oldest_of(self, series: Sequence[Series], members: int) -> list[int | None]:
        """Return the open time (ms UTC) of the oldest of each series' newest `members`; None where it has none.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        keys = [self._scope.candle_key(one) for one in series]
        commands = [("ZRANGE", key, at, at, "WITHSCORES") for at in (-members, 0) for key in keys]
        replies = await self._pipe(commands)
        lasts, firsts = replies[: len(keys)], replies[len(keys) :]
        # Where one node of several has served, reading the candles tells which did not.
        if firsts and all(isinstance(reply, StoreUnavailable) for reply in firsts):
            own_fault(firsts[0], waits=False)
        return [_time_of(last or first) for last, first in zip(lasts, firsts, strict=True)]

    async def next_member(self, series: Series, start: int) -> int | None:
        """Return the time (ms UTC) of a series' first member from `start` on; None where it has none.

        Raises:
            StoreError: The key is not a sorted set.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        key = self._scope.candle_key(series)
        command = ("ZRANGEBYSCORE", key, start, "+inf", "WITHSCORES", "LIMIT", 0, 1)
        return _time_of(await self._client.execute_command(*command))

    async def prolong(self, series: Sequence[Series], ttl_s: int) -> None:
        """Set the expiry of each expiring key to `ttl_s` again, if its newest members are candles of its series.

        Nobody writes while a market is closed, and its bars are wanted when it opens.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        keys = [self._scope.candle_key(one) for one in series]
        lives = await self._pipe([("PTTL", key) for key in keys])
        ending = [index for index, left in enumerate(lives) if isinstance(left, int) and 0 <= left < ttl_s * 1_000]
        found = await self._pipe([("ZRANGE", keys[index], -_NEWEST, -1, "WITHSCORES") for index in ending])
        due = [index for index, members in zip(ending, found, strict=True) if _has_candle(members, series[index])]
        await self._pipe([("PEXPIRE", keys[index], ttl_s * 1_000) for index in due])

    async def by_node(self, windows: Sequence[tuple[Series, Interval]]) -> Sequence[tuple[Series, Interval]]:
        """Sort windows of series by cluster node, so that each node is read in one conversation.

        Raises:
            StoreError: The cluster did not say which keys are where.
        """
        if not self._client.is_cluster:
            return windows
        parts = await self._client.split([self._scope.candle_key(series) for series, _ in windows])
        return [windows[index] for part in parts for index in part]

    async def _pipe(self, commands: Sequence[Command]) -> list[Any]:
        return await each_apart(self._client.pipe(commands), len(commands))


def _check_own(error: StoreError) -> None:
    """Raise the error if it concerns the whole server; ignore that a node is away."""
    if not isinstance(error, StoreUnavailable):
        own_fault(error)


def _time_of(reply: Any) -> int | None:
    """Return the open time of the one member in a reply; None for an empty reply or a node that is away."""
    if isinstance(reply, StoreError):
        _check_own(reply)
        return None
    with understanding("a member's open time"):
        score = float(reply[1]) if reply else -1.0
    return int(score) if 0 <= score <= MOST_MS else None


def _has_candle(reply: Any, series: Series) -> bool:
    if isinstance(reply, StoreError):
        _check_own(reply)
        return False
    with understanding("candles"):
        found = check_members(reply, series.symbol, series.timeframe.value, series.timeframe.step_ms)
    return len(found.timestamps) > 0
