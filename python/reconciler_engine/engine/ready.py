"""The ready gate: may a reader trust the last bars of a series at this moment?"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any, NoReturn, overload

from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.ready_question import Readiness, ReadyQuestion, SyncRedis
from reconciler_engine.store.scope import Layout


class PendingAnswer:
    """The answer of a trio client, to be awaited once. It has no truth of its own: `if is_ready(...)` raises."""

    def __init__(self, client: TrioRedis, question: ReadyQuestion) -> None:
        self._client = client
        self._question = question

    def __await__(self) -> Generator[Any, Any, bool]:
        return self._ask().__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError("is_ready of a trio client is to be awaited: `if await is_ready(...)`")

    async def _ask(self) -> bool:
        return (await self._question.ask(self._client)).is_ready


@overload
def is_ready(
    redis: TrioRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    *,
    user_id: int = 1,
    exchange_id: int = 1,
    grace_ms: int = DEFAULT_GRACE_MS,
    layout: str = Layout.USER,
) -> PendingAnswer: ...


@overload
def is_ready(
    redis: SyncRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    *,
    user_id: int = 1,
    exchange_id: int = 1,
    grace_ms: int = DEFAULT_GRACE_MS,
    layout: str = Layout.USER,
) -> bool: ...


def is_ready(
    redis: TrioRedis | SyncRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    *,
    user_id: int = 1,
    exchange_id: int = 1,
    grace_ms: int = DEFAULT_GRACE_MS,
    layout: str = Layout.USER,
) -> PendingAnswer | bool:
    """Say whether each of the last `bars` closed bars of a series is complete, right now.

    A bar is complete if its candle is in the cache and not suspect, or if the evidence proves that there is none
    (empty, halted, unlisted). One script call reads Redis' clock, the members and the evidence in one instant; nothing
    is taken from the last pass. Members that are no candle of the series count as absent, evidence that cannot be read
    as none. A bar is closed `grace_ms` after its end by Redis' clock; the forming bar is not asked about.

    The client decides how it is asked, and no misuse of one way for the other goes unnoticed:

    - with a synchronous redis-py client the call blocks for the round trip and returns a bool: `if is_ready(...)`;
    - with our trio client it returns at once, and awaiting that sends the question: `if await is_ready(...)`.
      Without `await` it has no truth value but raises TypeError.

    Args:
        redis: `TrioRedis`, or a synchronous redis-py client of any settings. It stays the caller's.
        symbol: Product id, such as `BTC-USD`.
        timeframe: Such as `5m`.
        bars: How many of the newest closed bars, 1 to 10,000. More than the cache keeps are never ready.
        user_id: As in the cache's keys.
        exchange_id: As in the cache's keys.
        grace_ms: How late a closed bar may come (ms).
        layout: The feeder's layout of keys: `user`, `exchange` or `overflow`.

    Raises:
        ValueError: An argument is not what it must be.
        TypeError: The client is neither of the two.
        StoreError: From a trio client: Redis did not answer, or the key is no sorted set. A redis-py client raises
            redis-py's own exceptions. There is no answer then, and so no readiness.
    """
    question = ReadyQuestion(symbol, timeframe, bars, user_id, exchange_id, grace_ms, layout)
    if isinstance(redis, TrioRedis):
        return PendingAnswer(redis, question)
    send = getattr(redis, "execute_command", None)
    if send is None or inspect.iscoroutinefunction(send):
        raise TypeError(
            f"redis is {type(redis).__module__}.{type(redis).__qualname__}; "
            "allowed: reconciler_engine's TrioRedis or a synchronous redis-py client"
        )
    return question.ask_sync(redis).is_ready


async def examine(
    redis: TrioRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    *,
    user_id: int = 1,
    exchange_id: int = 1,
    grace_ms: int = DEFAULT_GRACE_MS,
    layout: str = Layout.USER,
) -> Readiness:
    """Return what `is_ready` judges by, with which slots stand in the way; arguments and errors are its own."""
    question = ReadyQuestion(symbol, timeframe, bars, user_id, exchange_id, grace_ms, layout)
    return await question.ask(redis)
