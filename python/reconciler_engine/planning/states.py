"""The state of each slot of a series, all seven of them, and the reasons why slots are not ready. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.ledger import CONFIRMED, Finding, Ledger, Reason, State
from reconciler_engine.planning.proof import awaits_reference


class StateInterval(NamedTuple):
    """Slots `start <= t < stop` (ms UTC) in one state."""

    start: int
    stop: int
    state: State


def slots_in(states: Iterable[StateInterval], *wanted: State) -> Intervals:
    """Return the slots in one of some states."""
    return Intervals(Interval(one.start, one.stop) for one in states if one.state in wanted)


def states_of(
    asked: Interval, examined: Interval, absent: Intervals, ledger: Ledger, unverified: Intervals = NOTHING
) -> list[StateInterval]:
    """Return the maximal intervals of one state that cover `asked`, ascending; slots not examined are unknown.

    A candle that is there is present against any earlier proof, unless it is suspect or not verified; one that is
    gone is missing even if it was.

    Args:
        asked: The slots asked about.
        examined: Those of them that were read, both on the grid.
        absent: Those of them that hold no candle.
        ledger: Findings on them.
        unverified: Those of them that hold a candle which is not verified.
    """
    doubted = ledger.in_state(examined, State.SUSPECT) - absent
    unverified = unverified & examined - absent - doubted
    states = {
        State.UNKNOWN: asked - examined,
        State.PRESENT: examined - absent - doubted - unverified,
        State.UNVERIFIED: unverified,
        State.SUSPECT: doubted,
        State.MISSING: absent - ledger.confirmed(examined),
    }
    for state in CONFIRMED:
        states[state] = absent & ledger.in_state(examined, state) & ledger.confirmed(examined)
    return sorted(StateInterval(one.start, one.stop, state) for state, slots in states.items() for one in slots)


def find_obstacles(
    missing: Intervals, slots: Interval | Intervals, ledger: Ledger, *, is_delisted: bool = False
) -> dict[Obstacle, Intervals]:
    """Return the slots that are not ready by their reason.

    Args:
        missing: The slots without a candle that nothing proves empty.
        slots: The slots to look at, on the grid, the missing ones among them.
        ledger: The findings about them.
        is_delisted: Whether the product trades no more: that is why slots are missing.
    """
    found: defaultdict[Obstacle, list[Interval]] = defaultdict(list)
    for part in (slots,) if isinstance(slots, Interval) else slots:
        for start, stop, finding in ledger.within(part):
            obstacle = obstacle_of(finding)
            if obstacle is not None:
                found[obstacle].append(Interval(start, stop))
    known = {obstacle: Intervals(intervals) for obstacle, intervals in found.items()}
    sorted_out = {one: where & missing if one.state == "missing" else where - missing for one, where in known.items()}
    if is_delisted:
        sorted_out = {one: where for one, where in sorted_out.items() if one.state != "missing"}
        sorted_out[Obstacle.DELISTED] = missing
    of_missing = (part for one, where in sorted_out.items() if one.state == "missing" for part in where)
    sorted_out[Obstacle.NOT_ASKED] = missing - Intervals(of_missing)
    return {obstacle: where for obstacle, where in sorted_out.items() if where}


_OBSTACLES = {
    Reason.ABSENT_ONCE: Obstacle.SECOND_SIGHTING,
    Reason.AMONG_WITNESSES_ONCE: Obstacle.SECOND_SIGHTING,
    Reason.ROW_UNUSABLE: Obstacle.UNUSABLE,
    Reason.WITHDRAWN: Obstacle.WITHDRAWN,
    Reason.VALUES_DIFFER: Obstacle.VALUES_DIFFER,
    Reason.SECOND_ANSWER: Obstacle.SECOND_ANSWER,
    Reason.LACKED_ONCE: Obstacle.LACKED,
    Reason.NOT_AT_EXCHANGE: Obstacle.NOT_AT_EXCHANGE,
    Reason.CONTESTED: Obstacle.CONTESTED,
}


def obstacle_of(finding: Finding | None) -> Obstacle | None:
    """Return why a finding makes a slot not ready; None where it does not say."""
    if finding is None or finding.state not in {State.MISSING, State.SUSPECT}:
        return None
    if awaits_reference(finding):
        return Obstacle.REFERENCE
    obstacle = _OBSTACLES.get(finding.reason)
    plain = Obstacle.NOT_ASKED if finding.state is State.MISSING else Obstacle.DOUBTED
    return plain if obstacle is None or obstacle.state != finding.state.value else obstacle


class AbsentSlots(NamedTuple):
    """Slots without a candle, by how they stand.

    Attributes:
        missing: Those of which a candle may exist.
        confirmed: Those of which none exists, as far as anybody can know now. With `missing` they are all the slots.
        due: Those of both that are worth a request now: nobody has asked yet, or another answer could prove more.
    """

    missing: Intervals
    confirmed: Intervals
    due: Intervals


def sort_absent(absent: Intervals, ledger: Ledger, now: int) -> AbsentSlots:
    """Sort slots by their state at `now` (ms UTC), from their findings.

    Args:
        absent: The slots that hold no candle, on the grid.
        ledger: Findings, on these slots at least.
        now: The instant of the question.
    """
    if not absent or not ledger.findings:
        return AbsentSlots(absent, NOTHING, absent)
    confirmed = absent & ledger.confirmed(absent.hull)
    return AbsentSlots(absent - confirmed, confirmed, absent - ledger.resting(absent.hull, now))
