"""The ready gate: may a reader trust the last bars of a series at this moment?"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Generic, NoReturn, TypeVar, Unpack, overload

from reconciler_engine.errors import NodeUnavailable, StoreError
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.unready import Unready, cure_of
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.ready_question import Readiness, ReadyOptions, ReadyQuestion, SyncRedis, examine_all

T = TypeVar("T")


class PendingAnswer(Generic[T]):
    """The answer of a trio client, to be awaited once. It has no truth of its own: `if is_ready(...)` raises."""

    def __init__(self, client: TrioRedis, ask: Callable[[TrioRedis], Awaitable[T]]) -> None:
        self._client = client
        self._ask = ask

    def __await__(self) -> Generator[Any, Any, T]:
        return self._ask(self._client).__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError("the answer of a trio client is to be awaited: `if await is_ready(...)`")


@overload
def is_ready(
    redis: TrioRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> PendingAnswer[bool]: ...


@overload
def is_ready(
    redis: SyncRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> bool: ...


def is_ready(
    redis: TrioRedis | SyncRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[bool] | bool:
    """Say whether each of the last `bars` closed bars of a series is complete and verified, right now.

    A bar is complete if its candle is in the cache and not suspect, or if the evidence proves that there is none
    (empty, halted, unlisted). Members that are not candles of the series make it not ready; evidence that cannot be
    read counts as none. A bar is verified if its candle is, to the letter, the one that an answer of the exchange
    confirmed or brought, or that somebody accepted. One script call reads Redis' clock, the members and the evidence in
    one instant; nothing is taken from the last pass. A bar is closed `grace_ms` after its end by Redis' clock; the
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
        **options: All by name:
            user_id, exchange_id: As in the cache's keys (1 each).
            layout: The feeder's layout of keys: `user` (the default), `exchange` or `overflow`.
            grace_ms: How late a closed bar may come (ms; 15,000).
            max_unverified_ms: How long ago a bar may have closed that is not verified (ms; 1,800,000), or `any`.
            young_ms: How long ago a slot may have closed that is neither present nor proved empty (ms; 0), unless the
                exchange has shown a bar: the newest slots of a thin product wait for a second look.
            members: Whether to ask about the newest `bars` members of the cache, as a reader takes them, and every slot
                from the oldest of them on, instead of the newest `bars` slots (False). They are looked for in at most
                ten times as many slots; fewer are not ready.

    Raises:
        ValueError: An argument is not what it must be.
        TypeError: The client is neither of the two.
        StoreError: From a trio client: Redis did not answer, or the key is no sorted set. A redis-py client raises
            redis-py's own exceptions. There is no answer then, and so no readiness.
    """
    question = ReadyQuestion(symbol, timeframe, bars, **options)
    return _send(redis, question.ask, question.ask_sync)


@overload
def examine(
    redis: TrioRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> PendingAnswer[Readiness]: ...


@overload
def examine(
    redis: SyncRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> Readiness: ...


def examine(
    redis: TrioRedis | SyncRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[Readiness] | Readiness:
    """Say what `is_ready` says, with why not, or how many bars a yes takes unverified.

    Arguments, ways to ask and errors are those of `is_ready`.
    """
    question = ReadyQuestion(symbol, timeframe, bars, **options)
    return _send(redis, question.examine, question.examine_sync)


@overload
def why_not_ready(
    redis: TrioRedis,
    symbols: Sequence[str],
    timeframes: Sequence[str | Timeframe],
    bars: int,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[list[Unready]]: ...


@overload
def why_not_ready(
    redis: SyncRedis,
    symbols: Sequence[str],
    timeframes: Sequence[str | Timeframe],
    bars: int,
    **options: Unpack[ReadyOptions],
) -> list[Unready]: ...


def why_not_ready(
    redis: TrioRedis | SyncRedis,
    symbols: Sequence[str],
    timeframes: Sequence[str | Timeframe],
    bars: int,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[list[Unready]] | list[Unready]:
    """Return the series that are not ready, worst first: why, since when, and the cure; none where all are ready.

    Every pair of a symbol and a timeframe is a series. Options, ways to ask and errors are those of `is_ready`; each
    series is looked at in an instant of its own.
    """
    questions = [ReadyQuestion(symbol, timeframe, bars, **options) for symbol in symbols for timeframe in timeframes]

    async def ask(client: TrioRedis) -> list[Unready]:
        answers = await examine_all(client, questions)
        all_served(answer for answer in answers if not isinstance(answer, NodeUnavailable))
        return sort_out(questions, answers)

    def ask_sync(client: SyncRedis) -> list[Unready]:
        return sort_out(questions, [question.examine_sync(client) for question in questions])

    return _send(redis, ask, ask_sync)


def sort_out(questions: Sequence[ReadyQuestion], answers: Sequence[Readiness | StoreError]) -> list[Unready]:
    """Return the series that are not ready by the answers to questions, worst first."""
    judged = (_unready(question, answer) for question, answer in zip(questions, answers, strict=True))
    found = [one for one in judged if one is not None]
    return sorted(found, key=lambda one: -one.trouble)


def _unready(question: ReadyQuestion, answer: Readiness | StoreError) -> Unready | None:
    """Return why a series is not ready; None where it is."""
    symbol, timeframe = question.series.symbol, question.series.timeframe
    if isinstance(answer, StoreError):
        return Unready(symbol, timeframe.value, str(answer), {}, None, None, None, cure_of(""))
    if answer.is_ready or answer.reason is None:
        return None
    slots = {
        "missing": answer.missing.slots,
        "suspect": answer.suspect.slots,
        "not a candle": answer.malformed.slots,
        "unverified": answer.overdue.slots,
        "fewer members": answer.lacking,
    }
    return Unready(
        symbol,
        timeframe.value,
        answer.reason,
        {kind: count for kind, count in slots.items() if count},
        answer.ready_until,
        _since(question, answer, answer.reason),
        None if answer.finding is None else answer.finding.next_check,
        cure_of(answer.reason),
    )


def _since(question: ReadyQuestion, answer: Readiness, reason: str) -> int | None:
    """Return since when the oldest slot in the way has been there (ms UTC)."""
    closed = answer.ready_until + question.series.timeframe.step_ms
    if answer.finding is not None and answer.ready_until == answer.suspect.first:
        return answer.finding.first
    if reason == Obstacle.UNVERIFIED:
        return closed + int(question.max_unverified_ms)
    return closed + question.grace_ms if answer.ready_until == answer.missing.first else None


def _send(
    redis: TrioRedis | SyncRedis, ask: Callable[[TrioRedis], Awaitable[T]], ask_sync: Callable[[SyncRedis], T]
) -> PendingAnswer[T] | T:
    """Ask as the client wants to be asked.

    Raises:
        TypeError: It is neither of the two.
    """
    if isinstance(redis, TrioRedis):
        return PendingAnswer(redis, ask)
    send = getattr(redis, "execute_command", None)
    if send is None or inspect.iscoroutinefunction(send):
        raise TypeError(
            f"redis is {type(redis).__module__}.{type(redis).__qualname__}; "
            "allowed: reconciler_engine's TrioRedis or a synchronous redis-py client"
        )
    return ask_sync(redis)
