"""The ready gate: may a reader trust the last bars of a series at this moment?"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, overload

from reconciler_engine.detection import detect_gaps
from reconciler_engine.detection.members import check_members
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.intervals import gaps_in, spans_of, without
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import ledger_of
from reconciler_engine.store.findings import days_of
from reconciler_engine.store.ready_script import READY_TEXT
from reconciler_engine.store.scope import Scope

MAX_BARS = 10_000
"""Bars one question may be about: the server reads them in some 3 ms, in which it serves nobody else."""


class SyncRedis(Protocol):
    """A synchronous redis-py client: `redis.Redis`, `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; with the option NEVER_DECODE as bytes, whatever the settings."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the last closed bars of a series stand, at one instant.

    Attributes:
        window: The bars' slots, half-open (ms UTC).
        missing: Maximal runs of slots without a candle that nobody proved not to exist, ascending.
        suspect: Maximal runs of slots whose candle the exchange disagrees with, ascending.
        confirmed: Number of slots without a candle that are proved not to exist.
    """

    window: Interval
    missing: tuple[Gap, ...]
    suspect: tuple[Gap, ...]
    confirmed: int

    @property
    def is_ready(self) -> bool:
        """Whether every bar has its candle, undoubted, or is proved not to exist."""
        return not self.missing and not self.suspect


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
        return self._question.judge(await self._client.execute_command(*self._question.command)).is_ready


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

    Raises:
        ValueError: An argument is not what it must be.
        TypeError: The client is neither of the two.
        StoreError: From a trio client: Redis did not answer, or the key is no sorted set. A redis-py client raises
            redis-py's own exceptions. There is no answer then, and so no readiness.
    """
    question = _Question(symbol, timeframe, bars, user_id, exchange_id, grace_ms)
    if isinstance(redis, TrioRedis):
        return PendingAnswer(redis, question)
    send = getattr(redis, "execute_command", None)
    if send is None or inspect.iscoroutinefunction(send):
        raise TypeError(
            f"redis is {type(redis).__module__}.{type(redis).__qualname__}; "
            "allowed: reconciler_engine's TrioRedis or a synchronous redis-py client"
        )
    return question.judge(send(*question.command, NEVER_DECODE=True)).is_ready


async def examine(
    redis: TrioRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    *,
    user_id: int = 1,
    exchange_id: int = 1,
    grace_ms: int = DEFAULT_GRACE_MS,
) -> Readiness:
    """Return what `is_ready` judges by, with which slots stand in the way; arguments and errors are its own."""
    question = _Question(symbol, timeframe, bars, user_id, exchange_id, grace_ms)
    return question.judge(await redis.execute_command(*question.command))


class _Question:
    """What is asked, and what an answer means."""

    def __init__(
        self, symbol: str, timeframe: str | Timeframe, bars: int, user_id: int, exchange_id: int, grace_ms: int
    ) -> None:
        if isinstance(bars, bool) or not isinstance(bars, int) or not 1 <= bars <= MAX_BARS:
            raise ValueError(f"bars {bars!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
        if isinstance(grace_ms, bool) or not isinstance(grace_ms, int) or grace_ms < 0:
            raise ValueError(f"grace_ms {grace_ms!r} is not allowed; allowed: a whole number of ms from 0")
        self._series = Series(symbol, timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe))
        self._bars = bars
        scope = Scope(user_id, exchange_id, "")
        keys = (scope.candle_key(self._series), scope.evidence_key(self._series))
        self.command = ("EVAL", READY_TEXT, len(keys), *keys, bars, grace_ms, "read")

    def judge(self, answer: Any) -> Readiness:
        """Say how the bars stand by what the script read.

        Raises:
            TypeError: It read nothing: the client queues commands instead of sending them.
        """
        if not isinstance(answer, list):
            raise TypeError(
                f"redis answered {type(answer).__name__}; allowed: a client that sends at once, no pipeline"
            )
        stop, members, bodies = answer
        step = self._series.timeframe.step_ms
        window = Interval(stop - self._bars * step, stop)
        found = check_members(members, self._series.symbol, self._series.timeframe.value)
        gaps = detect_gaps(found.timestamps, window.grid(step))
        days = zip(days_of(window), bodies, strict=True) if bodies else ()
        ledger = ledger_of(self._series, {day: body or b"" for day, body in days})
        absent = spans_of(gaps, step)
        missing = gaps_in(without(absent, ledger.confirmed(window)), step)
        suspect = ledger.where(window, lambda finding: finding.state is State.SUSPECT)
        return Readiness(
            window,
            missing,
            gaps_in(without(suspect, absent), step),
            confirmed=gaps.missing - sum(gap.count for gap in missing),
        )
