"""Derive the state of each slot of a series, and the reasons why slots are not ready. Pure."""

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
    """Return the slots in any of the wanted states."""
    return Intervals(Interval(one.start, one.stop) for one in states if one.state in wanted)


def states_of(
    asked: Interval, examined: Interval, absent: Intervals, ledger: Ledger, unverified: Intervals = NOTHING
) -> list[StateInterval]:
    """Return the states of all slots in `asked` as maximal intervals, ascending. Unexamined slots are unknown.

    A slot with a candle is present, unverified or suspect, even if it was proved empty before. A slot without a candle
    is missing unless it is confirmed to have none, even if its candle was suspect.

    Args:
        asked: The slots asked about, on the grid.
        examined: The asked slots that were read, on the grid.
        absent: The examined slots without a candle.
        ledger: Findings on the examined slots.
        unverified: Slots of unverified candles.
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
    """Return the slots that are not ready, grouped by the reason.

    Args:
        missing: Slots without a candle that are not confirmed to have none.
        slots: All slots to examine, on the grid, including the missing ones.
        ledger: Findings about `slots`.
        is_delisted: Whether the product is delisted, which then is the reason of all missing slots.
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
    """Return why a finding makes its slot not ready; None if it does not."""
    if finding is None or finding.state not in {State.MISSING, State.SUSPECT}:
        return None
    if awaits_reference(finding):
        return Obstacle.REFERENCE
    obstacle = _OBSTACLES.get(finding.reason)
    plain = Obstacle.NOT_ASKED if finding.state is State.MISSING else Obstacle.DOUBTED
    return plain if obstacle is None or obstacle.state != finding.state.value else obstacle


class AbsentSlots(NamedTuple):
    """Slots without a candle, grouped. Each slot is in `missing` or in `confirmed`.

    Attributes:
        missing: Slots whose candle may exist at the exchange.
        confirmed: Slots for which the exchange has no candle, by a proof that still counts.
        due: Slots of both groups that are worth a request now: never asked for, or another answer could prove more.
    """

    missing: Intervals
    confirmed: Intervals
    due: Intervals


def sort_absent(absent: Intervals, ledger: Ledger, now: int) -> AbsentSlots:
    """Group absent slots by their findings.

    Args:
        absent: The slots that hold no candle, on the grid.
        ledger: Findings that include those on these slots.
        now: The instant of the question (ms UTC).
    """
    if not absent or not ledger.findings:
        return AbsentSlots(absent, NOTHING, absent)
    confirmed = absent & ledger.confirmed(absent.hull)
    return AbsentSlots(absent - confirmed, confirmed, absent - ledger.resting(absent.hull, now))
