"""All seven states of a window: slot by slot as the words define them, and nothing left over."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.ledger import CONFIRMED, Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.planning.states import states_of

STEP = 60_000
notes = st.none() | st.sampled_from([state for state in State if state not in (State.PRESENT, State.UNKNOWN)])


@given(
    slots=st.lists(st.tuples(st.booleans(), notes), max_size=30),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
)
def test_each_slot_is_in_one_state_and_in_the_right_one(slots, before, after):
    asked = Interval(0, (before + len(slots) + after) * STEP)
    examined = Interval(before * STEP, (before + len(slots)) * STEP)
    at = {examined.start + n * STEP: slot for n, slot in enumerate(slots)}
    ledger = Ledger(
        FindingInterval(open_time, open_time + STEP, Finding(note, Reason.BY_HAND, 0, 0, 1, None))
        for open_time, (_, note) in at.items()
        if note is not None
    )
    runs = states_of(asked, examined, Intervals.of_slots([t for t, (held, _) in at.items() if not held], STEP), ledger)
    assert all(one.stop == other.start and one.state is not other.state for one, other in pairwise(runs))
    found = {t: run.state for run in runs for t in range(run.start, run.stop, STEP)}
    assert found == {t: expected(*at[t]) if t in at else State.UNKNOWN for t in asked.grid(STEP)}


def expected(held: bool, note: State | None) -> State:
    if held:
        return State.SUSPECT if note is State.SUSPECT else State.PRESENT
    return note if note in CONFIRMED else State.MISSING
