"""The ready gate: may a reader trust the last bars of a series at this moment?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, Unpack, overload

from reconciler_engine.errors import NodeUnavailable
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import NEWER, Obstacle, Unready, cure_of
from reconciler_engine.steps import Steps
from reconciler_engine.store import ready_steps
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.drivers.choice import PendingAnswer, ask
from reconciler_engine.store.drivers.redis_py_clients import AwaitedRedis, SyncRedis
from reconciler_engine.store.ready_question import Readiness, ReadyOptions, ReadyQuestion

A = TypeVar("A")
T = TypeVar("T")


class ReadyAnswers(tuple[bool, ...]):
    """An answer for each series, in the order asked; true if all series are ready."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return all(self)


@overload
def is_ready(
    redis: AwaitedRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> PendingAnswer[bool]: ...


@overload
def is_ready(
    redis: SyncRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> bool: ...


def is_ready(
    redis: AwaitedRedis | SyncRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> PendingAnswer[bool] | bool:
    """Say whether each of the last `bars` closed bars of a series is complete and verified, right now.

    A bar is complete if its candle is in the cache and not suspect, or if the evidence proves that there is none
    (empty, halted, unlisted). Members that are not candles of the series make it not ready; unreadable evidence is
    ignored, so it proves nothing. A bar is verified if its member is, byte for byte, the one that an answer of the
    exchange confirmed or brought, or that an operator accepted. One script call reads Redis' clock, the members and
    the evidence at one instant, independent of the last pass. A bar is closed `grace_ms` after its end by Redis'
    clock; the forming bar is not examined.

    The kind of client decides how the call is made:

    - with a synchronous redis-py client the call blocks for the round trip and returns a bool: `if is_ready(...)`;
    - with `TrioRedis`, or a client of `redis.asyncio`, it returns at once, and awaiting that sends the question:
      `if await is_ready(...)`. Used as a bool without `await`, its result raises TypeError.

    Args:
        redis: `TrioRedis`, or a client of redis-py with any settings, of one server or of a cluster. The caller
            closes it.
        symbol: Product id, such as `BTC-USD`.
        timeframe: Such as `5m`.
        bars: Number of newest closed bars, 1 to 10,000. More bars than the cache keeps are never ready.
        **options: Keyword arguments, defaults in brackets:
            user_id, exchange_id: As in the cache's keys (1 each).
            layout: The feeder's layout of keys: `user` (the default), `exchange` or `overflow`.
            grace_ms: How late a closed bar may come (ms; 15,000).
            max_unverified_ms: Longest time that a bar may stay unverified after its close (ms; 1,800,000), or `any`.
            young_ms: Time after its close for which a missing slot is tolerated (ms; 0), unless the exchange has
                shown a bar for it. The newest empty slots of a thin product are proved only by a second look.
            members: Whether to examine the newest `bars` members, as a reader takes them, and every slot from the
                oldest of these on, instead of the newest `bars` slots (False). Members are searched in at most
                ten times `bars` slots; if fewer are found, the series is not ready.

    Raises:
        ValueError: An argument is not allowed.
        TypeError: The client is of another kind, or a pipeline.
        StoreError: Redis did not answer, or the key is not a sorted set. A redis-py client raises redis-py's own
            exceptions for that. Treat the series as not ready.
    """
    questions = [ReadyQuestion(symbol, timeframe, bars, **options)]
    return ask(redis, "is_ready", lambda: _read(ready_steps.ask(questions), lambda answers: answers[0]))


@overload
def are_ready(
    redis: AwaitedRedis, series: Iterable[tuple[str, str | Timeframe, int]], **options: Unpack[ReadyOptions]
) -> PendingAnswer[ReadyAnswers]: ...


@overload
def are_ready(
    redis: SyncRedis, series: Iterable[tuple[str, str | Timeframe, int]], **options: Unpack[ReadyOptions]
) -> ReadyAnswers: ...


def are_ready(
    redis: AwaitedRedis | SyncRedis, series: Iterable[tuple[str, str | Timeframe, int]], **options: Unpack[ReadyOptions]
) -> PendingAnswer[ReadyAnswers] | ReadyAnswers:
    """Ask `is_ready` about each series, in one round trip to each node; the result is true if all are ready.

    A series is its symbol, timeframe and number of bars: `are_ready(redis, [("BTC-USD", "1m", 200), ...])`. The series
    are examined one after another, not at one instant. Each 10,000 bars take a round trip.

    Options, kinds of client and errors are those of `is_ready`; one unreadable series makes the whole call fail.
    """
    questions = [ReadyQuestion(symbol, timeframe, bars, **options) for symbol, timeframe, bars in series]
    if not questions:
        raise ValueError("series is empty; allowed: one symbol, timeframe and number of bars, or more")
    return ask(redis, "are_ready", lambda: _read(ready_steps.ask(questions), ReadyAnswers))


@overload
def wait_ready(
    redis: AwaitedRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    timeout: float,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[bool]: ...


@overload
def wait_ready(
    redis: SyncRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    timeout: float,
    **options: Unpack[ReadyOptions],
) -> bool: ...


def wait_ready(
    redis: AwaitedRedis | SyncRedis,
    symbol: str,
    timeframe: str | Timeframe,
    bars: int,
    timeout: float,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[bool] | bool:
    """Wait until a series is ready, for `timeout` seconds at most; return whether it is.

    The series is examined again `grace_ms` after each close of a bar, when an engine publishes a repair, after a
    reconnect, and at least every 15 s. Repairs are heard over an extra connection, closed at the end of the call; a
    Redis user without the right to subscribe relies on the other occasions. The wait goes on while Redis is away; the
    error is raised only if Redis is still away when the time is over.

    Options, kinds of client and errors are those of `is_ready`. A synchronous client blocks for the whole wait.
    """
    if not 0 <= timeout < float("inf"):
        raise ValueError(f"timeout {timeout!r} is not allowed; allowed: a finite number of seconds from 0")
    question = ReadyQuestion(symbol, timeframe, bars, **options)
    return ask(redis, "wait_ready", lambda: ready_steps.wait(question, timeout))


@overload
def examine(
    redis: AwaitedRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> PendingAnswer[Readiness]: ...


@overload
def examine(
    redis: SyncRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> Readiness: ...


def examine(
    redis: AwaitedRedis | SyncRedis, symbol: str, timeframe: str | Timeframe, bars: int, **options: Unpack[ReadyOptions]
) -> PendingAnswer[Readiness] | Readiness:
    """Answer like `is_ready`, with details: why the series is not ready, or which bars are still unverified.

    Arguments, kinds of client and errors are those of `is_ready`.
    """
    questions = [ReadyQuestion(symbol, timeframe, bars, **options)]
    return ask(redis, "examine", lambda: _read(ready_steps.examine(questions), lambda answers: answers[0]))


@overload
def why_not_ready(
    redis: AwaitedRedis,
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
    redis: AwaitedRedis | SyncRedis,
    symbols: Sequence[str],
    timeframes: Sequence[str | Timeframe],
    bars: int,
    **options: Unpack[ReadyOptions],
) -> PendingAnswer[list[Unready]] | list[Unready]:
    """Return the series that are not ready, worst first, each with the reason, its beginning and the cure.

    Every pair of a symbol and a timeframe is a series. Round trips are those of `are_ready`; options, kinds of client
    and errors are those of `is_ready`.
    """
    questions = [ReadyQuestion(symbol, timeframe, bars, **options) for symbol in symbols for timeframe in timeframes]
    return ask(redis, "why_not_ready", lambda: _unready_of(questions))


def _unready_of(questions: Sequence[ReadyQuestion]) -> Steps[list[Unready]]:
    answers = yield from ready_steps.examine_apart(questions)
    all_served(answer for answer in answers if not isinstance(answer, NodeUnavailable))
    return sort_out(questions, answers)


def _read(steps: Steps[A], reading: Callable[[A], T]) -> Steps[T]:
    return reading((yield from steps))


def sort_out(
    questions: Sequence[ReadyQuestion],
    answers: Sequence[Readiness | Exception],
    why_absent: Callable[[str], str | None] = lambda _: None,
) -> list[Unready]:
    """Return the series that are not ready by the answers to `questions`, worst first.

    `why_absent` returns why a product has no newer bars by the exchange's product list; None if the list has no reason.
    """
    judged = (_unready(question, answer) for question, answer in zip(questions, answers, strict=True))
    found = [one.of_product(why_absent(one.symbol)) for one in judged if one is not None]
    return sorted(found, key=lambda one: -one.trouble)


def _unready(question: ReadyQuestion, answer: Readiness | Exception) -> Unready | None:
    """Return why a series is not ready; None if it is ready."""
    symbol, timeframe = question.series.symbol, question.series.timeframe
    if isinstance(answer, Exception):
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
        cure_of(answer.reason) if answer.ready_until < answer.window.stop else NEWER,
    )


def _since(question: ReadyQuestion, answer: Readiness, reason: str) -> int | None:
    """Return since when the oldest obstacle has made the series unready (ms UTC); None if that is unknown."""
    closed = answer.ready_until + question.series.timeframe.step_ms
    if answer.finding is not None and answer.ready_until == answer.suspect.first:
        return answer.finding.first
    if reason == Obstacle.UNVERIFIED:
        return closed + int(question.max_unverified_ms)
    return closed + question.grace_ms if answer.ready_until == answer.missing.first else None
