"""All seven states of a window: slot by slot as the words define them, and nothing left over."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.ledger import CONFIRMED, Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.planning.states import states_of

STEP = 60_000
notes = st.none() | st.sampled_from(
    [state for state in State if state not in (State.PRESENT, State.UNVERIFIED, State.UNKNOWN)]
)


@given(
    slots=st.lists(st.tuples(st.sampled_from(["absent", "unverified", "verified"]), notes), max_size=30),
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
    absent, unverified = (
        Intervals.of_slots([t for t, (there, _) in at.items() if there == kind], STEP)
        for kind in ("absent", "unverified")
    )
    runs = states_of(asked, examined, absent, ledger, unverified)
    assert all(one.stop == other.start and one.state is not other.state for one, other in pairwise(runs))
    found = {t: run.state for run in runs for t in range(run.start, run.stop, STEP)}
    assert found == {t: expected(*at[t]) if t in at else State.UNKNOWN for t in asked.grid(STEP)}


def expected(there: str, note: State | None) -> State:
    if there != "absent":
        candle = State.UNVERIFIED if there == "unverified" else State.PRESENT
        return State.SUSPECT if note is State.SUSPECT else candle
    return note if note in CONFIRMED else State.MISSING
