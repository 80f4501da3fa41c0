"""What each slot of a series is known to be, all seven states, as runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.intervals import common, without
from reconciler_engine.planning.ledger import CONFIRMED, Ledger, State


class StateInterval(NamedTuple):
    """Slots `start <= t < stop` (ms UTC) in one state."""

    start: int
    stop: int
    state: State


def states_of(asked: Interval, examined: Interval, absent: Sequence[Interval], ledger: Ledger) -> list[StateInterval]:
    """Return maximal runs of slots in one state that cover `asked`, ascending; what was not examined is unknown.

    A candle that is there is present whatever was proved before, unless it is suspect; one that is gone is missing
    even if it was.

    Args:
        asked: The slots asked about.
        examined: Those of them that were read, both on the grid.
        absent: Those of them that hold no candle, ascending and disjoint.
        ledger: What is known of them.
    """
    doubted = without(ledger.where(examined, lambda finding: finding.state is State.SUSPECT), absent)
    runs = [(span, State.SUSPECT) for span in doubted]
    runs += [(span, State.UNKNOWN) for span in without([asked], [examined])]
    runs += [(span, State.PRESENT) for span in without(without([examined], absent), doubted)]
    runs += [(span, State.MISSING) for span in without(absent, ledger.confirmed(examined))]
    for start, stop, finding in ledger.within(examined):
        if finding.state in CONFIRMED:
            runs += [(span, finding.state) for span in common(absent, [Interval(start, stop)])]
    joined: list[StateInterval] = []
    for span, state in sorted(runs):
        if span.start == span.stop:
            continue
        if joined and joined[-1].state is state and joined[-1].stop == span.start:
            joined[-1] = StateInterval(joined[-1].start, span.stop, state)
        else:
            joined.append(StateInterval(span.start, span.stop, state))
    return joined
