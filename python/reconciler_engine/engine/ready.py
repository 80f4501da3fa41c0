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
    """An answer for each series, in the order asked; true where every one of them is."""

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
    (empty, halted, unlisted). Members that are not candles of the series make it not ready; evidence that cannot be
    read counts as none. A bar is verified if its candle is, to the letter, the one that an answer of the exchange
    confirmed or brought, or that somebody accepted. One script call reads Redis' clock, the members and the evidence in
    one instant; nothing is taken from the last pass. A bar is closed `grace_ms` after its end by Redis' clock; the
    forming bar is not asked about.

    The client decides how it is asked, and no misuse of one way for the other goes unnoticed:

    - with a synchronous redis-py client the call blocks for the round trip and returns a bool: `if is_ready(...)`;
    - with `TrioRedis`, or a client of `redis.asyncio`, it returns at once, and awaiting that sends the question:
      `if await is_ready(...)`. Without `await` it has no truth value but raises TypeError.

    Args:
        redis: `TrioRedis`, or a client of redis-py of any settings, of one server or of a cluster. It stays the
            caller's.
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
        ValueError: An argument is not allowed.
        TypeError: The client is none of these, or a pipeline.
        StoreError: Redis did not answer, or the key is not a sorted set. A redis-py client raises redis-py's own
            exceptions for that. There is no answer then, and so no readiness.
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
    """Ask `is_ready` about each series, in one round trip to each node; true as a whole where all are ready.

    A series is its symbol, timeframe and number of bars: `are_ready(redis, [("BTC-USD", "1m", 200), ...])`. Each is
    looked at in an instant of its own. More than 10,000 bars in all take a round trip for each 10,000.

    Options, ways to ask and errors are those of `is_ready`; one series that cannot be read is the error of all.
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
    """Wait until a series is ready, for `timeout` seconds at most; say whether it is.

    The question is asked again at each close of a bar plus its grace, on word of a repair, when a connection that was
    lost stands again, and after 15 s at the latest. Word comes over a connection of its own, which ends with the call;
    a user who may not listen waits for the clock. While Redis is away the wait goes on: its error is raised only where
    the time is over then.

    Options, ways to ask and errors are those of `is_ready`. A synchronous client blocks for the whole wait.
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
    """Answer as `is_ready` does, with the reason of a no, or the unverified bars of a yes.

    Arguments, ways to ask and errors are those of `is_ready`.
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
    """Return the series that are not ready, worst first: why, since when, and the cure; none where all are ready.

    Every pair of a symbol and a timeframe is a series. Round trips are those of `are_ready`; options, ways to ask and
    errors are those of `is_ready`.
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
    """Return the series that are not ready by the answers to questions, worst first.

    `why_absent` says of a product why it has no newer bars, where the exchange's list says so.
    """
    judged = (_unready(question, answer) for question, answer in zip(questions, answers, strict=True))
    found = [one.of_product(why_absent(one.symbol)) for one in judged if one is not None]
    return sorted(found, key=lambda one: -one.trouble)


def _unready(question: ReadyQuestion, answer: Readiness | Exception) -> Unready | None:
    """Return why a series is not ready; None where it is."""
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
    """Return since when the oldest slot in the way has been there (ms UTC)."""
    closed = answer.ready_until + question.series.timeframe.step_ms
    if answer.finding is not None and answer.ready_until == answer.suspect.first:
        return answer.finding.first
    if reason == Obstacle.UNVERIFIED:
        return closed + int(question.max_unverified_ms)
    return closed + question.grace_ms if answer.ready_until == answer.missing.first else None
