"""Decide which slots are due, missed or left alone, from the last decision and one reading of the clock.

Pure: the scheduler reads the clock and acts. A backlog is counted by arithmetic (`CronExpression.count`) and its newest
slot found by bisection, so a jump of a year costs a job of every second no more than some hundred steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from enum import Enum

from reconciler_engine.scheduling.cron import CronExpression, NoNextSlot

# Vixie cron's bound between a corrected clock and a new one.
REBASE_MS = 3 * 3_600_000
# A clock that is slewed or corrected by less stands still for us: a slot must not repeat for a few milliseconds.
HOLD_MS = 60_000
_FOREVER = 1 << 62


class TickReason(Enum):
    """Why a tick exists."""

    SLOT = "slot"
    COALESCED = "coalesced"
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True)
class Tick:
    """One occasion to run a job.

    `slot` is its name (ms UTC) and stays so however late or jittered the run is. `era` counts how often the job's clock
    was set back before this tick: (job, slot, era) never comes twice.
    """

    job: str
    slot: int
    reason: TickReason = TickReason.SLOT
    era: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job fires.

    `misfire_grace`: a slot found due later than this (ms) is missed instead of run; None allows the job's interval.
    """

    expression: CronExpression
    tz: tzinfo = UTC
    misfire_grace: int | None = None

    def next_after(self, instant: int) -> int | None:
        """Return the first slot after `instant` (ms UTC), or None when there is no more."""
        try:
            return self.expression.next_after(instant, self.tz)
        except NoNextSlot:
            return None

    def interval_at(self, instant: int) -> int | None:
        """Return the distance (ms) between the two slots around `instant`, which may be the earlier one.

        Between slots the distance to the next is not an interval, so there the next two count. None when the slots end.
        """
        following = self.next_after(instant)
        if following is None:
            return None
        if self.next_after(instant - 1) == instant:
            return following - instant
        after = self.next_after(following)
        return None if after is None else after - following


@dataclass(frozen=True, slots=True)
class Position:
    """How far a job is decided: every slot at or before `decided` (ms UTC) of this `era` has ended or is running."""

    decided: int
    era: int = 0


@dataclass(frozen=True, slots=True)
class Missed:
    """Slots that nobody was there for: `count` of them, from `first` to `last` (ms UTC, both inclusive)."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision on one job now, and its state afterwards.

    `run` is the tick to start, if any; the guard may still turn it into a skip. `next_slot` is the first undecided one.
    """

    position: Position
    run: Tick | None
    missed: Missed | None
    next_slot: int | None


def decide(job: str, schedule: Schedule, position: Position, last_reading: int, now: int) -> Decision:
    """Decide every slot of a job up to `now` (ms UTC).

    Of several slots that are due the newest is run, if it is no later than the grace, and the others are missed;
    none is ever replayed. A clock set back by 3 h or more begins a new era at `now`. Set back by less, a fixed time
    stays decided, while a job that follows the wall clock begins a new era once it is a minute behind: its minutes
    do pass again, and it must not fall silent for hours.
    """
    rebase = last_reading - now >= REBASE_MS
    behind = position.decided - now
    if rebase or (schedule.expression.follows_wall_clock and behind >= HOLD_MS):
        position = Position(decided=now, era=position.era + 1)
    first = schedule.next_after(position.decided)
    if now < position.decided or first is None or first > now:
        return Decision(_moved(position, now), None, None, first)
    newest = _newest(schedule, position.decided, now, first)
    following = schedule.next_after(newest)
    grace = schedule.misfire_grace
    in_time = grace is None or now - newest <= grace
    count = schedule.expression.count(position.decided, now, schedule.tz) if newest != first else 1
    missed = None
    if not in_time:
        missed = Missed(first, newest, count)
    elif count > 1:
        missed = Missed(first, _newest(schedule, position.decided, newest - 1, first), count - 1)
    reason = TickReason.SLOT if missed is None else TickReason.COALESCED
    run = Tick(job, newest, reason, position.era) if in_time else None
    return Decision(_moved(position, now), run, missed, following)


def _moved(position: Position, now: int) -> Position:
    return replace(position, decided=max(position.decided, now))


def _newest(schedule: Schedule, after: int, until: int, first: int) -> int:
    """Return the newest slot in `(after, until]`, of which `first` is the oldest."""

    def slot_after(instant: int) -> int:
        found = schedule.next_after(instant)
        return _FOREVER if found is None else found

    if slot_after(first) > until:
        return first
    reach = 1_000
    while until - reach > after and slot_after(until - reach) > until:
        reach *= 2
    # The newest lies in [low, high]: `low` is a slot, and there is none in (high, until].
    low, high = slot_after(max(until - reach, after)), max(until - reach // 2, after)
    while low < high and slot_after(low) <= until:
        middle = (low + high) // 2
        found = slot_after(middle)
        if found <= until:
            low = found
        else:
            high = middle
    return low
