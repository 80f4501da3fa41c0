"""Decide which slots are run or missed, from the last decision and one reading of the clock.

Pure: the scheduler reads the clock and acts. A backlog is counted by arithmetic (`CronExpression.count`), and its
newest slot is found by bisection. After a gap of a year, even a job of every second takes only a few hundred steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from enum import Enum

from reconciler_engine.scheduling.cron import CronExpression, NoNextSlot

# Bound of Vixie cron: a clock set back by less was corrected, one set back by more shows a new time.
REBASE_MS = 3 * 3_600_000
# A clock set back by less counts as standing still, so that a small correction does not repeat a slot.
HOLD_MS = 60_000
_FOREVER = 1 << 62


class TickReason(Enum):
    """Why a tick was made."""

    SLOT = "slot"
    COALESCED = "coalesced"
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True)
class Tick:
    """An occasion to run a job.

    Attributes:
        job: Name of the job.
        slot: Scheduled instant (ms UTC), even if the run is late or delayed by jitter.
        reason: Why the tick exists.
        era: Number of times that the job's clock was set back before. (job, slot, era) is unique.
    """

    job: str
    slot: int
    reason: TickReason = TickReason.SLOT
    era: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job fires.

    `misfire_grace` is how late (ms) a slot may still be run; a later one is missed. None allows it until the next slot.
    """

    expression: CronExpression
    tz: tzinfo = UTC
    misfire_grace: int | None = None

    def next_after(self, instant: int) -> int | None:
        """Return the first slot after `instant` (ms UTC), or None if no slot follows."""
        try:
            return self.expression.next_after(instant, self.tz)
        except NoNextSlot:
            return None

    def interval_at(self, instant: int) -> int | None:
        """Return the distance (ms) between the first two slots at or after `instant`; None if there are fewer."""
        following = self.next_after(instant)
        if following is None:
            return None
        if self.next_after(instant - 1) == instant:
            return following - instant
        after = self.next_after(following)
        return None if after is None else after - following


@dataclass(frozen=True, slots=True)
class Position:
    """Progress of a job: its slots up to `decided` (ms UTC, inclusive) of this `era` are running or have ended."""

    decided: int
    era: int = 0


@dataclass(frozen=True, slots=True)
class Missed:
    """Slots that were not run in time: `count` of them, from `first` to `last` (ms UTC, both inclusive)."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision about a job at one clock reading.

    Attributes:
        position: How far the job is decided now.
        run: Tick to start, or None. It is skipped if the overlap guard is held.
        missed: Slots missed, or None.
        next_slot: First undecided slot (ms UTC), or None if there is no more.
    """

    position: Position
    run: Tick | None
    missed: Missed | None
    next_slot: int | None


def decide(job: str, schedule: Schedule, position: Position, last_reading: int, now: int) -> Decision:
    """Decide every slot of a job up to `now` (ms UTC).

    If several slots are due, the newest is run unless it is later than the grace, and all others are missed. Missed
    slots are never run afterwards.

    If the clock was set back by 3 h or more, a new era begins at `now`. If it was set back by less, a job with fixed
    times does not run the same slots again. A job that follows the wall clock begins a new era if the clock is a minute
    or more behind its last decision: its minutes are shown again, and it must not pause for hours.
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
    """Return the newest slot in `(after, until]`; `first` is the oldest one."""

    def slot_after(instant: int) -> int:
        found = schedule.next_after(instant)
        return _FOREVER if found is None else found

    if slot_after(first) > until:
        return first
    reach = 1_000
    while until - reach > after and slot_after(until - reach) > until:
        reach *= 2
    # The newest slot lies in [low, high]: `low` is a slot, and no slot lies in (high, until].
    low, high = slot_after(max(until - reach, after)), max(until - reach // 2, after)
    while low < high and slot_after(low) <= until:
        middle = (low + high) // 2
        found = slot_after(middle)
        if found <= until:
            low = found
        else:
            high = middle
    return low
