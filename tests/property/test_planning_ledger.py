"""The interval algebra of the ledger, and the rules of proof, against a reference that goes slot by slot."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import WITNESS_AGE_MS, Answer, Venue
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason, State
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import APART_MS, DAILY_MS, RECHECK_MS, RIPE_MS, THIRD_AFTER_MS

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


def by_itself(known: Finding | None, answer: Answer, venue: Venue, slot: int) -> Finding | None:
    """Return the finding of a slot that an answer lacks, where neither witnesses nor ghosts can count."""
    if known is not None and known.is_confirmed:
        return checked(known, answer.at)
    shut = [row for row in answer.rows.slots(STEP) if row + STEP <= answer.at]
    between = slot + STEP + RIPE_MS <= answer.at and any(row < slot for row in shut) and any(row > slot for row in shut)
    is_unusable = known is not None and known.reason is Reason.ROW_UNUSABLE
    sightings = 1 if known is None else known.sightings
    if between and venue.has_reference and not is_unusable:
        return Finding(State.EMPTY, Reason.WITH_REFERENCE, answer.at, answer.at, sightings, answer.at + RECHECK_MS[0])
    if known is None or is_unusable or answer.at < known.first:
        return Finding(State.MISSING, Reason.ABSENT_ONCE, answer.at, answer.at, 1, answer.at + APART_MS)
    return sighted_again(known, answer.at, venue, slot)


def sighted_again(known: Finding, at: int, venue: Venue, slot: int) -> Finding:
    apart, sightings, last = at - known.first, known.sightings + 1, max(known.last, at)
    is_timely = venue.is_hopeless and venue.newest_alike is not None and slot <= venue.newest_alike
    is_third = apart >= THIRD_AFTER_MS and known.last - known.first >= APART_MS and is_timely
    if apart >= APART_MS and (venue.has_reference or is_third):
        reason = Reason.WITH_REFERENCE if venue.has_reference else Reason.ABSENT_THRICE
        return Finding(State.EMPTY, reason, at, at, sightings, at + RECHECK_MS[0])
    due = known.first + (THIRD_AFTER_MS if venue.is_hopeless and apart >= APART_MS else APART_MS)
    return Finding(State.MISSING, Reason.ABSENT_ONCE, known.first, last, sightings, max(due, at))


def checked(known: Finding, at: int) -> Finding:
    if known.next_check is None:
        return known
    settles = known.first + RECHECK_MS[1]
    due = known.next_check if at < known.next_check else settles if at < settles else None
    return known._replace(last=max(at, known.last), sightings=known.sightings + 1, next_check=due)


def spoilt(known: Finding | None, at: int) -> Finding:
    if known is None or known.reason is not Reason.ROW_UNUSABLE:
        return Finding(State.MISSING, Reason.ROW_UNUSABLE, at, at, 1, at)
    bad = at - known.first
    later = (known.first + wait for wait in RECHECK_MS if bad < wait)
    due = at + max(bad, 0) if bad < APART_MS else next(later, at + DAILY_MS)
    return known._replace(last=max(at, known.last), sightings=known.sightings + 1, next_check=due)


class SlotBySlot:
    """The rules for one slot after the other, for so few slots that no answer has thirty witnesses."""

    def __init__(self) -> None:
        self.known: dict[int, Finding] = {}
        self.exists: set[int] = set()

    def judge(self, answer: Answer, venue: Venue, judged: Interval) -> tuple[list[int], int]:
        """Take an answer; return the slots that count as absent, and the number of late candles."""
        rows, unusable = set(answer.rows.slots(STEP)), set(answer.unusable.slots(STEP))
        asked = [slot for slot in answer.asked.grid(STEP) if slot + STEP + GRACE_MS <= answer.at]
        old = {slot for slot in answer.asked.grid(STEP) if slot + STEP + WITNESS_AGE_MS <= answer.at}
        lacking = (self.exists & old) - rows - unusable
        newest = max((row for row in rows if row <= answer.at + WITNESS_AGE_MS), default=0)
        seen = [slot for slot in asked if slot in rows and not (slot == newest and max(lacking, default=0) > newest)]
        late = 0
        for slot in seen:
            found = self.known.pop(slot, None)
            late += found is not None and found.reason is not Reason.ROW_UNUSABLE
        if late:
            self.known = {at: one for at, one in self.known.items() if one.reason is not Reason.ABSENT_THRICE}
        for slot in asked:
            if slot in unusable and slot not in seen:
                self.known[slot] = spoilt(self.known.get(slot), answer.at)
        self.exists.update(seen)
        absent: list[int] = []
        if answer.is_whole and not lacking:
            absent = [slot for slot in asked if slot in judged and slot not in rows | unusable | self.exists]
        for slot in absent:
            found = by_itself(self.known.get(slot), answer, venue, slot)
            if found is not None:
                self.known[slot] = found
        return absent, late


instants = st.integers(0, SLOTS * STEP + 8 * 3_600_000)
venues = st.sampled_from([Venue(), Venue(has_reference=True)]) | instants.map(
    lambda newest: Venue(newest_alike=newest, is_hopeless=True)
)


@st.composite
def answers(draw):
    first, last = sorted((draw(slots), draw(slots)))
    asked = Interval(first * STEP, last * STEP)
    near = Interval(max(asked.start - STEP, 0), asked.stop + STEP)
    rows, unusable = draw(intervals) & near, draw(st.just(NOTHING) | intervals) & near
    return Answer(asked, draw(instants), rows, unusable - rows, draw(st.sampled_from([True, True, True, False])))


@given(asked=st.lists(st.tuples(answers(), venues), max_size=8), first=slots, last=slots)
def test_every_slot_is_judged_as_by_itself(asked, first, last):
    judged = Interval(min(first, last) * STEP, max(first, last) * STEP)
    known, model = Knowledge(), SlotBySlot()
    for answer, venue in asked:
        absent, late = model.judge(answer, venue, judged)
        verdict = judge(known, answer, NOTHING, venue, STEP, slots=judged, grace_ms=GRACE_MS)
        known = verdict.known
        check_normal(known.ledger)
        assert by_slot(known.ledger) == model.known
        assert set(known.exists.slots(STEP)) == model.exists
        assert (list(verdict.absent.slots(STEP)), verdict.late) == (absent, late)


members = open_times.map(lambda found: Intervals.of_slots(found, STEP))


@given(candles=members, answer=answers(), exists=members, venue=venues)
def test_no_answer_proves_a_slot_empty_that_holds_a_candle_or_exists(candles, answer, exists, venue):
    verdict = judge(Knowledge(exists=exists), answer, candles, venue, STEP, grace_ms=GRACE_MS)
    assert not verdict.known.ledger.confirmed(Interval(0, SLOTS * STEP)) & (candles | exists | answer.rows)
    assert not verdict.absent & (candles | exists | answer.rows)
    assert not (verdict.is_contradicted and verdict.absent)
