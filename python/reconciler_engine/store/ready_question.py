"""The question whether the last bars of a series are complete and verified, as Redis is asked it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol, TypedDict

from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.ledger import Finding
from reconciler_engine.planning.pages import shards
from reconciler_engine.planning.states import obstacle_of
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store.client.reply_shapes import understanding
from reconciler_engine.store.client.scripts import ScriptCall, run_batch
from reconciler_engine.store.client.trio_redis import TrioRedis, each_apart
from reconciler_engine.store.findings import decode_finding
from reconciler_engine.store.ready_script import READY, READY_TEXT
from reconciler_engine.store.scope import Layout, Scope

MAX_BARS: Final = 10_000
"""Bars one question may be about: the server looks at them in 40 to 80 ms, in which it serves nobody else."""

_BATCH_BARS: Final = 2_000
"""Bars of one pipeline: the server looks at them in some 4 ms."""

Unverified = int | Literal["any"]
"""How long ago a bar may have closed that is not verified (ms); `any` takes them however old."""


class ReadyOptions(TypedDict, total=False):
    """Options of a question; `is_ready` says what each means."""

    user_id: int
    exchange_id: int
    layout: str
    grace_ms: int
    max_unverified_ms: Unverified
    young_ms: int
    members: bool


class SyncRedis(Protocol):
    """A synchronous redis-py client: `redis.Redis`, `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; with the option NEVER_DECODE as bytes, whatever the settings."""


class SlotCount(NamedTuple):
    """Slots that stand in the way of readiness for one reason.

    Attributes:
        slots: Number of slots.
        first: Open time of the oldest (ms UTC); None where there is none.
    """

    slots: int
    first: int | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the last closed bars of a series stand, at one instant. Each slot in the way counts once.

    Attributes:
        is_ready: Whether nothing stands in the way.
        window: The bars' slots, half-open (ms UTC); of the `members` form from the oldest member on.
        ready_until: End of the slots, from the first on, of which a yes could be given (ms UTC).
        reason: Why the oldest slot in the way is there; None where there is none.
        confirmed: Slots without a candle that are proved not to have one.
        unverified: Slots with an undoubted candle that is not verified, those of `overdue` among them.
        lacking: Members fewer than asked for.
        missing: Slots without a candle that nobody proved not to exist.
        suspect: Slots whose candle the exchange disagrees with.
        malformed: Slots that hold a member that is not a candle.
        overdue: Slots whose candle closed too long ago to be unverified.
        complete_from: From then on each slot holds a candle that is not suspect, or is proved not to have one (ms UTC).
        ready_from: From then on nothing stands in the way (ms UTC).
        finding: What the evidence says of the oldest slot in the way; None where it says nothing.
    """

    is_ready: bool
    window: Interval
    ready_until: int
    reason: str | None
    confirmed: int
    unverified: int
    lacking: int
    missing: SlotCount
    suspect: SlotCount
    malformed: SlotCount
    overdue: SlotCount
    complete_from: int
    ready_from: int
    finding: Finding | None = field(default=None, compare=False)

    @property
    def in_the_way(self) -> int:
        """Number of slots in the way, and of members that lack."""
        counts = (self.missing, self.suspect, self.malformed, self.overdue)
        return self.lacking + sum(count.slots for count in counts)


class ReadyQuestion:
    """A question about the newest closed bars of one series."""

    def __init__(
        self,
        symbol: str,
        timeframe: str | Timeframe,
        bars: int,
        *,
        user_id: int = 1,
        exchange_id: int = 1,
        layout: str = Layout.USER,
        grace_ms: int = DEFAULT_GRACE_MS,
        max_unverified_ms: Unverified = DEFAULT_MAX_UNVERIFIED_MS,
        young_ms: int = 0,
        members: bool = False,
    ) -> None:
        if not _is_whole(bars) or not 1 <= bars <= MAX_BARS:
            raise ValueError(f"bars {bars!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
        durations = {"grace_ms": grace_ms, "max_unverified_ms": max_unverified_ms, "young_ms": young_ms}
        for name, value in durations.items():
            can_be_any = name == "max_unverified_ms"
            if not (_is_whole(value) and int(value) >= 0) and not (can_be_any and value == "any"):
                allowed = f"a whole number of ms from 0{', or any' if can_be_any else ''}"
                raise ValueError(f"{name} {value!r} is not allowed; allowed: {allowed}")
        if layout not in [*Layout]:
            raise ValueError(f"layout {layout!r} is not allowed; allowed: {', '.join(Layout)}")
        self._series = Series(symbol, timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe))
        scope = Scope(user_id, exchange_id, "", Layout(layout))
        keys = (scope.candle_key(self._series), scope.evidence_key(self._series))
        self.bars = bars
        self.grace_ms, self.max_unverified_ms = grace_ms, max_unverified_ms
        self._keys = keys
        self._args = (bars, *durations.values(), "members" if members else "slots")
        self._command = ("EVAL", READY_TEXT, len(keys), *keys, *self._args)

    @property
    def series(self) -> Series:
        """The series asked about."""
        return self._series

    async def ask(self, client: TrioRedis) -> bool:
        """Ask a client of our own.

        Raises:
            StoreError: Redis did not answer, or the key is no sorted set.
        """
        answer = await client.execute_command(*self._command)
        with understanding(f"the bars of {self._series}"):
            return _is_yes(answer)

    async def examine(self, client: TrioRedis) -> Readiness:
        """Ask a client of our own how the bars stand; errors are those of `ask`."""
        answer = await client.execute_command(*self._command, "detail")
        with understanding(f"the bars of {self._series}"):
            return _readiness(answer)

    def call(self) -> ScriptCall:
        """Return the question of `examine` as one of a batch."""
        return READY.call(self._keys, (*self._args, "detail"))

    def ask_sync(self, client: SyncRedis) -> bool:
        """Ask a synchronous redis-py client, which raises its own exceptions.

        Raises:
            TypeError: It queues commands instead of sending them.
        """
        return _is_yes(client.execute_command(*self._command))

    def examine_sync(self, client: SyncRedis) -> Readiness:
        """Ask a synchronous redis-py client how the bars stand; errors are those of `ask_sync`."""
        return _readiness(client.execute_command(*self._command, "detail", NEVER_DECODE=True))


async def examine_all(client: TrioRedis, questions: Sequence[ReadyQuestion]) -> list[Readiness | StoreError]:
    """Ask a client of our own many questions, pipeline by pipeline; return the answers in the order asked.

    In place of the answer about a series that cannot be read there is the error.

    Raises:
        StoreUnavailable: Redis cannot be reached or did not answer in time.
    """
    answers: list[Readiness | StoreError] = []
    for part in shards((one.bars for one in questions), _BATCH_BARS):
        asked = questions[part.start : part.stop]
        replies = await each_apart(run_batch(client, [each.call() for each in asked]), len(asked))
        for one, reply in zip(asked, replies, strict=True):
            if isinstance(reply, StoreError):
                answers.append(reply)
                continue
            with understanding(f"the bars of {one.series}"):
                answers.append(_readiness(reply))
    return answers


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_yes(answer: Any) -> bool:
    if not isinstance(answer, int):
        raise _no_answer(answer)
    return answer == 1


def _readiness(answer: Any) -> Readiness:
    """Read the script's list."""
    if not isinstance(answer, list):
        raise _no_answer(answer)
    yes, start, stop, ready_until, kind, confirmed, unverified, lacking, *counts = answer[:-3]
    finding, complete_from, ready_from = answer[-3:]
    missing, suspect, malformed, overdue = (
        SlotCount(slots, None if first < 0 else first) for slots, first in zip(counts[::2], counts[1::2], strict=True)
    )
    found = decode_finding(finding) if finding else None
    return Readiness(
        yes == 1,
        Interval(start, stop),
        ready_until,
        _reason(kind.decode(), found),
        confirmed,
        unverified,
        lacking,
        missing,
        suspect,
        malformed,
        overdue,
        complete_from,
        ready_from,
        found,
    )


def _reason(kind: str, finding: Finding | None) -> str | None:
    """Return the words for the slot in the way: those of its finding, where that says why it is missing or suspect."""
    plain = {"missing": Obstacle.NOT_ASKED, "suspect": Obstacle.DOUBTED}
    if kind not in plain:
        return kind or None
    obstacle = obstacle_of(finding)
    return obstacle if obstacle is not None and obstacle.state == kind else plain[kind]


def _no_answer(answer: Any) -> TypeError:
    return TypeError(f"redis answered {type(answer).__name__}; allowed: a client that sends at once, no pipeline")
