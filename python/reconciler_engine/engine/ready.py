"""The ready gate: may a reader trust the last bars of a series at this moment?"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any, NoReturn, Protocol, overload

from reconciler_engine.detection import Gaps, detect_gaps
from reconciler_engine.detection.members import check_members
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store.ready_script import READY_TEXT
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.transport import TrioRedis

MAX_BARS = 10_000
"""Bars one question may be about: the server reads them in some 3 ms, in which it serves nobody else."""


class SyncRedis(Protocol):
    """A synchronous redis-py client: `redis.Redis`, `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""


class PendingAnswer:
    """The answer of a trio client, to be awaited once. It has no truth of its own: `if is_ready(...)` raises."""

    def __init__(self, client: TrioRedis, question: _Question) -> None:
        self._client = client
        self._question = question

    def __await__(self) -> Generator[Any, Any, bool]:
        return self._ask().__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError("is_ready of a trio client is to be awaited: `if await is_ready(...)`")

    async def _ask(self) -> bool:
        return self._question.judge(await self._client.execute_command(*self._question.command))


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
) -> PendingAnswer | bool:
    """Say whether each of the last `bars` closed bars of a series has its candle in the cache, right now.

    One script call reads Redis' clock and the members in one instant; nothing is taken from earlier passes. Members
    that are no candle of the series count as absent. A bar is closed `grace_ms` after its end by Redis' clock; the
    forming bar is not asked about.

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

    Raises:
        ValueError: An argument is not what it must be.
        TypeError: The client is neither of the two.
        StoreError: From a trio client: Redis did not answer, or the key is no sorted set. A redis-py client raises
            redis-py's own exceptions. There is no answer then, and so no readiness.
    """
    series = Series(symbol, timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe))
    question = _Question(series, bars, Scope(user_id, exchange_id, "").candle_key(series), grace_ms)
    if isinstance(redis, TrioRedis):
        return PendingAnswer(redis, question)
    send = getattr(redis, "execute_command", None)
    if send is None or inspect.iscoroutinefunction(send):
        raise TypeError(
            f"redis is {type(redis).__module__}.{type(redis).__qualname__}; "
            "allowed: reconciler_engine's TrioRedis or a synchronous redis-py client"
        )
    return question.judge(send(*question.command))


class _Question:
    """What is asked, and what an answer means."""

    def __init__(self, series: Series, bars: int, key: str, grace_ms: int) -> None:
        if isinstance(bars, bool) or not isinstance(bars, int) or not 1 <= bars <= MAX_BARS:
            raise ValueError(f"bars {bars!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
        if isinstance(grace_ms, bool) or not isinstance(grace_ms, int) or grace_ms < 0:
            raise ValueError(f"grace_ms {grace_ms!r} is not allowed; allowed: a whole number of ms from 0")
        self._series = series
        self._bars = bars
        step = series.timeframe.step_ms
        self.command = ("EVAL", READY_TEXT, 1, key, step, bars, grace_ms)

    def judge(self, answer: Any) -> bool:
        """Say whether an answer leaves no slot open.

        Raises:
            TypeError: It is none: the client queues commands instead of sending them.
        """
        if not isinstance(answer, list):
            raise TypeError(
                f"redis answered {type(answer).__name__}; allowed: a client that sends at once, no pipeline"
            )
        stop, members = answer
        step = self._series.timeframe.step_ms
        grid = range(int(stop) - self._bars * step, int(stop), step)
        return not self._unsettled(self._missing(members, grid))

    def _missing(self, members: list[Any], grid: range) -> Gaps:
        """Return what the live members leave open of a grid."""
        raw = [text.encode() if isinstance(text, str) else text for text in members]
        found = check_members(raw, self._series.symbol, self._series.timeframe.value)
        return detect_gaps(found.timestamps, grid)

    def _unsettled(self, missing: Gaps) -> int:
        """Return how many missing slots nothing is proved about: all of them, as long as no evidence is kept."""
        return missing.missing
