"""The interval algebra of the ledger, and the rules of proof, against a reference that goes slot by slot."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.answers import Answer
from reconciler_engine.planning.ledger import Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import APART_MS, RECHECK_MS, RIPE_MS

STEP = 60_000
SLOTS = 30
GRACE_MS = 15_000
NOTES = [
    Finding(state, Reason.ABSENT_ONCE, first, first, 1, due)
    for state in (State.MISSING, State.EMPTY, State.UNLISTED)
    for first in (0, 7)
    for due in (None, 50)
]

slots = st.integers(0, SLOTS)
open_times = st.sets(st.integers(0, SLOTS - 1)).map(lambda found: sorted(slot * STEP for slot in found))
intervals = open_times.map(lambda found: Intervals.of_slots(found, STEP))


@st.composite
def ledgers(draw):
    notes = draw(st.lists(st.sampled_from([None, *NOTES]), min_size=SLOTS, max_size=SLOTS))
    return Ledger(
        FindingInterval(slot * STEP, (slot + 1) * STEP, note) for slot, note in enumerate(notes) if note is not None
    )


def by_slot(ledger: Ledger) -> dict[int, Finding]:
    return {at: found for at in range(0, SLOTS * STEP, STEP) if (found := ledger.at(at)) is not None}


def check_normal(ledger: Ledger) -> None:
    for one in ledger.findings:
        assert one.start < one.stop
    for before, after in pairwise(ledger.findings):
        assert before.stop < after.start or (before.stop == after.start and before.finding != after.finding)


@given(ledger=ledgers(), where=intervals, answers=st.lists(st.sampled_from([None, *NOTES]), min_size=13, max_size=13))
def test_revision_touches_exactly_the_slots_it_names(ledger, where, answers):
    rule = dict(zip([None, *NOTES], answers, strict=True))
    revised = ledger.revise(where, rule.__getitem__)
    check_normal(revised)
    known = by_slot(ledger)
    touched = {at for span in where for at in span.grid(STEP)}
    expected = {at: rule[known.get(at)] if at in touched else known.get(at) for at in range(0, SLOTS * STEP, STEP)}
    assert by_slot(revised) == {at: found for at, found in expected.items() if found is not None}


@given(ledger=ledgers(), start=slots, length=slots, now=st.sampled_from([0, 49, 50]))
def test_questions_to_a_ledger_agree_with_each_slot(ledger, start, length, now):
    asked = Interval(start * STEP, (start + length) * STEP)
    known = by_slot(ledger)
    inside = Ledger(ledger.within(asked))
    assert by_slot(inside) == {at: found for at, found in known.items() if at in asked}
    for spans, wanted in (
        (ledger.confirmed(asked), lambda found: found.is_confirmed),
        (ledger.resting(asked, now), lambda found: not found.is_due(now)),
    ):
        assert [at for span in spans for at in span.grid(STEP)] == sorted(
            at for at, found in known.items() if at in asked and wanted(found)
        )
        assert all(one.stop < other.start for one, other in pairwise(spans))


def reference(
    known: Finding | None, answer: Answer, slot: int, *, is_judged: bool
) -> tuple[Finding | None, bool, bool]:
    """What one slot is after an answer, whether it counts as absent, and whether its candle is late."""
    if slot in answer.rows:
        late = known is not None and known.state in (State.MISSING, State.EMPTY, State.HALTED)
        return (
            (doubted(known, answer.at, is_live=answer.doubted[slot]) if slot in answer.doubted else None),
            False,
            late,
        )
    if answer.covering and known is not None and known.state is State.SUSPECT:
        known = known._replace(next_check=None)
    if not is_judged or not answer.covering or slot + STEP + GRACE_MS > answer.at:
        return known, False, False
    shut = [row for row in answer.rows if row + STEP + GRACE_MS <= answer.at]
    between = slot + STEP + RIPE_MS <= answer.at and any(row < slot for row in shut) and any(row > slot for row in shut)
    return sighted(known, answer.at, between=between), True, False


def doubted(known: Finding | None, at: int, *, is_live: bool) -> Finding:
    reason = Reason.LIVE_VALUES_DIFFER if is_live else Reason.VALUES_DIFFER
    if known is None or known.state is not State.SUSPECT:
        return Finding(State.SUSPECT, reason, at, at, 1, at)
    return Finding(State.SUSPECT, reason, known.first, max(known.last, at), known.sightings + 1, at)


def sighted(known: Finding | None, at: int, *, between: bool) -> Finding:
    if known is not None and known.state is State.SUSPECT:
        # its candle is gone: nothing is known of the slot but that it is empty-handed once
        known = Finding(State.MISSING, Reason.ABSENT_ONCE, at, at, 0, at + APART_MS)
    if known is not None and (known.state is State.UNLISTED or known.next_check is None):
        return known
    sightings = 1 if known is None else known.sightings + 1
    if known is None or known.state is State.MISSING:
        apart = known is not None and at - known.first >= APART_MS
        if between or apart:
            reason = Reason.BETWEEN_CANDLES if between else Reason.ABSENT_TWICE
            found = Finding(State.EMPTY, reason, at, at, sightings, at + RECHECK_MS[0])
        elif known is None or at < known.first:
            found = Finding(State.MISSING, Reason.ABSENT_ONCE, at, at, 1, at + APART_MS)
        else:
            found = known._replace(last=at, sightings=sightings)
        return found
    assert known.next_check is not None
    settles = known.first + RECHECK_MS[1]
    due = known.next_check if at < known.next_check else settles if at < settles else None
    return known._replace(last=max(at, known.last), sightings=sightings, next_check=due)


instants = st.integers(0, SLOTS * STEP + 8 * 3_600_000)


@st.composite
def answers(draw):
    first, last = sorted((draw(slots), draw(slots)))
    rows = draw(open_times)
    asked = Interval(first * STEP, last * STEP)
    near = [row for row in rows if first * STEP - STEP <= row < last * STEP + STEP]
    inside = [row for row in near if row in asked]
    doubts = draw(st.dictionaries(st.sampled_from(inside), st.booleans())) if inside else {}
    return Answer(asked, draw(instants), near, draw(st.booleans()), dict(sorted(doubts.items())))


@given(asked=st.lists(answers(), max_size=6), judged=intervals)
def test_every_slot_is_judged_as_by_itself(asked, judged):
    ledger = Ledger()
    known: dict[int, Finding] = {}
    for answer in asked:
        verdict = judge(ledger, answer, judged, STEP, grace_ms=GRACE_MS)
        ledger = verdict.ledger
        check_normal(ledger)
        absent, late = [], 0
        for slot in answer.asked.grid(STEP):
            is_judged = any(slot in span for span in judged)
            found, is_absent, is_late = reference(known.pop(slot, None), answer, slot, is_judged=is_judged)
            late += is_late
            absent += [slot] * is_absent
            if found is not None:
                known[slot] = found
        assert by_slot(ledger) == known
        assert verdict.late == late
        assert [at for span in verdict.absent for at in span.grid(STEP)] == absent
