"""The question whether the last bars of a series are complete, as Redis is asked it, and what its answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from reconciler_engine.detection import detect_gaps
from reconciler_engine.detection.members import check_members
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.accepted import is_accepted
from reconciler_engine.planning.ledger import Knowledge, Ledger, State
from reconciler_engine.planning.states import obstacle_of
from reconciler_engine.store.client.reply_shapes import understanding
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence_fields import ACCEPTED, decode_fields
from reconciler_engine.store.findings import days_of
from reconciler_engine.store.ready_script import READY_TEXT
from reconciler_engine.store.scope import Layout, Scope

MAX_BARS: Final = 10_000
"""Bars one question may be about: the server reads them in some 3 ms, in which it serves nobody else."""


class SyncRedis(Protocol):
    """A synchronous redis-py client: `redis.Redis`, `redis.RedisCluster`."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; with the option NEVER_DECODE as bytes, whatever the settings."""


class FirstDoubt(NamedTuple):
    """A slot that stands in the way of readiness.

    Attributes:
        open_time: Its open time (ms UTC).
        state: `MISSING` or `SUSPECT`.
        reason: The reason as far as the evidence tells; None where it says nothing.
    """

    open_time: int
    state: State
    reason: Obstacle | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """How the last closed bars of a series stand, at one instant.

    Attributes:
        window: The bars' slots, half-open (ms UTC).
        missing: Maximal runs of slots without a candle that nobody proved not to exist, ascending.
        suspect: Maximal runs of slots whose candle the exchange disagrees with, ascending.
        confirmed: Number of slots without a candle that are proved not to exist.
        first_doubt: The oldest slot that is missing or suspect, with the reason; None where there is none.
    """

    window: Interval
    missing: tuple[Gap, ...]
    suspect: tuple[Gap, ...]
    confirmed: int
    first_doubt: FirstDoubt | None = None

    @property
    def is_ready(self) -> bool:
        """Whether every bar has its candle, undoubted, or is proved not to exist."""
        return not self.missing and not self.suspect


class ReadyQuestion:
    """A question about the newest closed bars of one series."""

    def __init__(
        self,
        symbol: str,
        timeframe: str | Timeframe,
        bars: int,
        user_id: int,
        exchange_id: int,
        grace_ms: int,
        layout: str = Layout.USER,
    ) -> None:
        if isinstance(bars, bool) or not isinstance(bars, int) or not 1 <= bars <= MAX_BARS:
            raise ValueError(f"bars {bars!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
        if isinstance(grace_ms, bool) or not isinstance(grace_ms, int) or grace_ms < 0:
            raise ValueError(f"grace_ms {grace_ms!r} is not allowed; allowed: a whole number of ms from 0")
        if layout not in [*Layout]:
            raise ValueError(f"layout {layout!r} is not allowed; allowed: {', '.join(Layout)}")
        self._series = Series(symbol, timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe))
        self._bars = bars
        scope = Scope(user_id, exchange_id, "", Layout(layout))
        keys = (scope.candle_key(self._series), scope.evidence_key(self._series))
        self._command = ("EVAL", READY_TEXT, len(keys), *keys, bars, grace_ms, "read")

    async def ask(self, client: TrioRedis) -> Readiness:
        """Ask a client of our own.

        Raises:
            StoreError: Redis did not answer, or the key is no sorted set.
        """
        answer = await client.execute_command(*self._command)
        with understanding(f"the bars of {self._series}"):
            return self._judge(answer)

    def ask_sync(self, client: SyncRedis) -> Readiness:
        """Ask a synchronous redis-py client, which raises its own exceptions.

        Raises:
            TypeError: It queues commands instead of sending them.
        """
        return self._judge(client.execute_command(*self._command, NEVER_DECODE=True))

    def _judge(self, answer: Any) -> Readiness:
        """Say how the bars stand by what the script read.

        Raises:
            TypeError: It read nothing: the client queues commands instead of sending them.
        """
        if not isinstance(answer, list):
            raise TypeError(
                f"redis answered {type(answer).__name__}; allowed: a client that sends at once, no pipeline"
            )
        stop, members, bodies, accepted = answer
        step = self._series.timeframe.step_ms
        window = Interval(stop - self._bars * step, stop)
        found = check_members(members, self._series.symbol, self._series.timeframe.value, step)
        gaps = detect_gaps(found.timestamps, window.grid(step))
        days = zip(days_of(window), bodies, strict=True) if bodies else ()
        read = {str(day): body or b"" for day, body in days}
        known = decode_fields(self._series, {**read, ACCEPTED: accepted})
        ledger = known.ledger
        absent = Intervals.of_gaps(gaps, step) | Intervals.of_slots(found.fillers, step)
        missing = absent - ledger.confirmed(window)
        suspect = ledger.in_state(window, State.SUSPECT) - absent - _accepted_slots(known, members, step)
        return Readiness(
            window,
            missing.gaps(step),
            suspect.gaps(step),
            confirmed=(absent - missing).size(step),
            first_doubt=_first_doubt(missing, suspect, ledger),
        )


def _accepted_slots(known: Knowledge, members: Sequence[bytes], step: int) -> Intervals:
    """Return the slots with an accepted member, of members that alternate with their scores."""
    if not known.accepted:
        return NOTHING
    pairs = ((float(score), member) for member, score in zip(members[::2], members[1::2], strict=True))
    return Intervals.of_slots(
        sorted({int(score) for score, member in pairs if is_accepted(known, int(score), member)}), step
    )


def _first_doubt(missing: Intervals, suspect: Intervals, ledger: Ledger) -> FirstDoubt | None:
    firsts = [(slots[0].start, state) for slots, state in ((missing, State.MISSING), (suspect, State.SUSPECT)) if slots]
    if not firsts:
        return None
    open_time, state = min(firsts)
    reason = obstacle_of(ledger.at(open_time))
    return FirstDoubt(open_time, state, reason if reason is not None and reason.state == state.value else None)
