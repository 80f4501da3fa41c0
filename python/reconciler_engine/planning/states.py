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
    doubted = ledger.where(examined, lambda finding: finding.state is State.SUSPECT) - absent
    parts = [(interval, State.SUSPECT) for interval in doubted]
    parts += [(interval, State.UNKNOWN) for interval in asked - examined]
    parts += [(interval, State.PRESENT) for interval in examined - absent - doubted]
    parts += [(interval, State.MISSING) for interval in absent - ledger.confirmed(examined)]
    for start, stop, finding in ledger.within(examined):
        if finding.state in CONFIRMED:
            parts += [(interval, finding.state) for interval in absent & Interval(start, stop)]
    joined: list[StateInterval] = []
    for interval, state in sorted(parts):
        if joined and joined[-1].state is state and joined[-1].stop == interval.start:
            joined[-1] = StateInterval(joined[-1].start, interval.stop, state)
        else:
            joined.append(StateInterval(interval.start, interval.stop, state))
    return joined
