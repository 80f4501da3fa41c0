"""What each slot of a series is known to be, all seven states, as intervals. Pure."""

from __future__ import annotations

from typing import NamedTuple

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.ledger import CONFIRMED, Ledger, State


class StateInterval(NamedTuple):
    """Slots `start <= t < stop` (ms UTC) in one state."""

    start: int
    stop: int
    state: State


def states_of(asked: Interval, examined: Interval, absent: Intervals, ledger: Ledger) -> list[StateInterval]:
    """Return the maximal intervals of one state that cover `asked`, ascending; what was not examined is unknown.

    A candle that is there is present whatever was proved before, unless it is suspect; one that is gone is missing
    even if it was.

    Args:
        asked: The slots asked about.
        examined: Those of them that were read, both on the grid.
        absent: Those of them that hold no candle.
        ledger: What is known of them.
    """
    doubted = ledger.in_state(examined, State.SUSPECT) - absent
    states = {
        State.UNKNOWN: asked - examined,
        State.PRESENT: examined - absent - doubted,
        State.SUSPECT: doubted,
        State.MISSING: absent - ledger.confirmed(examined),
    }
    for state in CONFIRMED:
        states[state] = absent & ledger.in_state(examined, state) & ledger.confirmed(examined)
    return sorted(StateInterval(one.start, one.stop, state) for state, slots in states.items() for one in slots)
