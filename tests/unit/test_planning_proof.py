"""The rules of proof as tables, to be read beside the rules of truth: witnesses, absences, ghosts, rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.judged_answers import (
    HOPELESS,
    HOUR,
    LAST,
    LATER,
    PAGE,
    REFERENCE,
    SLOTS,
    STEP,
    T0,
    all_but,
    answer,
    judged,
    known_with,
    slots,
    state_of,
)

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import (
    OLD_ROW_MS,
    Answer,
    Venue,
    find_lacking,
    find_witnesses,
    independent_of,
    settled_rows,
    usable_rows,
)
from reconciler_engine.planning.halts import can_be_halted
from reconciler_engine.planning.ledger import (
    MOST_BROUGHT,
    Brought,
    Finding,
    Knowledge,
    Reason,
    State,
)
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.reference import WHOLE_FOR_MS, note_reference
from reconciler_engine.planning.sightings import APART_MS, QUIET_AFTER_MS, RIPE_MS, THIRD_AFTER_MS


@pytest.mark.parametrize(
    ("what", "candles", "known", "when", "is_witness"),
    [
        ("a candle in the cache", slots(5), Knowledge(), LATER, True),
        ("nothing", NOTHING, Knowledge(), LATER, False),
        ("known to exist, its member gone", NOTHING, Knowledge(exists=slots(5)), LATER, True),
        ("closed two minutes before", slots(5), Knowledge(), T0 + 6 * STEP + 120_000, True),
        ("closed less than two minutes before", slots(5), Knowledge(), T0 + 6 * STEP + 119_999, False),
        ("a suspected ghost", slots(5), known_with(5, State.SUSPECT, Reason.NOT_AT_EXCHANGE), LATER, False),
        ("lacked by one answer", slots(5), known_with(5, State.SUSPECT, Reason.LACKED_ONCE), LATER, True),
        ("another value than the exchange", slots(5), known_with(5, State.SUSPECT, Reason.VALUES_DIFFER), LATER, True),
    ],
)
def test_which_slots_bear_witness(what, candles, known, when, is_witness):
    found = find_witnesses(answer(when=when), candles, known, STEP)
    assert found == (slots(5) if is_witness else NOTHING), what


@pytest.mark.parametrize(
    ("what", "options", "lacking", "is_contradicted"),
    [
        ("its row is there", {"rows": slots(5)}, NOTHING, False),
        ("its row is absent", {"rows": slots(4, 6)}, slots(5), True),
        ("its row is there and cannot be used", {"rows": slots(4), "unusable": slots(5)}, NOTHING, False),
        ("the answer does not speak about every slot", {"rows": slots(4), "is_whole": False}, slots(5), False),
    ],
)
def test_a_witness_that_an_answer_lacks_contradicts_it(what, options, lacking, is_contradicted):
    assert find_lacking(answer(**options), slots(5)) == lacking, what
    assert judged(candles=slots(5), **options).is_contradicted is is_contradicted, what


def test_an_answer_that_is_not_whole_tells_so_and_keeps_its_newest_row_out():
    verdict = judged(slots(4, 5), candles=slots(7), is_whole=False)
    assert (verdict.is_whole, verdict.is_contradicted, verdict.usable) == (False, False, slots(4))


def test_rows_outside_the_slots_to_judge_count_too_and_absences_do_not():
    known = known_with(8, State.EMPTY, Reason.WITH_REFERENCE)
    part = Interval(T0 + 20 * STEP, T0 + 30 * STEP)
    verdict = judge(known, answer(all_but(9, 25)), NOTHING, REFERENCE, STEP, slots=part)
    assert verdict.known.exists == all_but(9, 25)
    assert (verdict.usable, verdict.late) == (part - slots(25), 1)
    assert [state_of(verdict, number) for number in (8, 9, 25)] == [None, None, State.EMPTY]


def test_a_contradicted_answer_proves_no_absence_and_its_rows_count():
    verdict = judged(all_but(3, 20, 40), candles=all_but(3, 20), venue=REFERENCE)
    assert verdict.lacking == slots(40)
    assert (verdict.absent, state_of(verdict, 3), state_of(verdict, 20)) == (NOTHING, None, None)
    assert verdict.usable == verdict.known.exists == all_but(3, 20, 40)


@pytest.mark.parametrize(
    ("rows", "lacking", "usable"),
    [
        (slots(3, 4, 5), NOTHING, slots(3, 4, 5)),
        (slots(3, 4, 5), slots(2), slots(3, 4, 5)),
        (slots(3, 4, 5), slots(6), slots(3, 4)),
        (NOTHING, slots(6), NOTHING),
    ],
)
def test_the_newest_row_is_left_out_where_later_witnesses_are_lacking(rows, lacking, usable):
    assert usable_rows(answer(rows), lacking, STEP) == usable


@pytest.mark.parametrize(
    ("rows", "newest", "settled"),
    [
        (slots(3, 4), None, slots(3)),
        (slots(3, 4), T0 + 4 * STEP, slots(3)),
        # A bar of a finer timeframe, inside the row's own time.
        (slots(3, 4), T0 + 5 * STEP - 1, slots(3)),
        (slots(3, 4), T0 + 5 * STEP, slots(3, 4)),
        (NOTHING, T0, NOTHING),
    ],
)
def test_the_newest_row_settles_nothing_until_a_later_bar_was_seen(rows, newest, settled):
    soon = T0 + 5 * STEP + OLD_ROW_MS - 1
    assert settled_rows(replace(answer(rows), at=soon), Venue(newest=newest), STEP) == settled


def test_the_newest_row_is_whole_an_hour_after_its_close():
    late = T0 + 5 * STEP + OLD_ROW_MS
    assert settled_rows(replace(answer(slots(3, 4)), at=late), Venue(), STEP) == slots(3, 4)


def test_a_row_of_the_future_is_no_sign_of_time():
    when = T0 + 10 * STEP
    assert answer(slots(3, 12), when).newest(STEP) == T0 + 12 * STEP
    assert answer(slots(3, 13), when).newest(STEP) == T0 + 3 * STEP


@pytest.mark.parametrize(
    ("what", "gone", "candles", "venue", "state"),
    [
        ("between rows, with a reference", [9], NOTHING, REFERENCE, State.EMPTY),
        ("between rows, and as many witnesses as it takes", [9], slots(*range(20, 50)), Venue(), State.EMPTY),
        ("one witness too few", [9], slots(*range(20, 49)), Venue(), State.MISSING),
        (
            "more absences than witnesses",
            [*range(9, 40)],
            slots(*range(9), *range(40, 61)),
            Venue(),
            State.MISSING,
        ),
        ("no witness", [9], NOTHING, Venue(), State.MISSING),
        ("after the newest row, with a reference", [9, *range(50, SLOTS)], NOTHING, REFERENCE, State.EMPTY),
    ],
)
def test_one_answer_proves_a_slot_between_rows_empty(what, gone, candles, venue, state):
    verdict = judged(all_but(*gone), candles=candles, venue=venue)
    assert state_of(verdict, 9) is state, what
    assert verdict.absent == slots(*gone), what


def test_one_answer_proves_nothing_about_a_slot_at_its_edge():
    verdict = judged(all_but(LAST), candles=all_but(LAST), venue=REFERENCE)
    assert state_of(verdict, LAST) is State.MISSING


def test_one_answer_proves_nothing_about_a_slot_that_closed_lately():
    closed = T0 + 10 * STEP
    for when, state in ((closed + RIPE_MS - 1, State.MISSING), (closed + RIPE_MS, State.EMPTY)):
        rows = all_but(9) & Interval(0, when // STEP * STEP)
        assert state_of(judged(rows, venue=REFERENCE, when=when), 9) is state


def test_a_candle_that_an_answer_of_the_last_hour_brought_is_not_independent():
    brought = (Brought(Interval(T0 + 20 * STEP, T0 + 21 * STEP), LATER - HOUR + 1),)
    witnesses = slots(*range(20, 50))
    for known, state in ((Knowledge(), State.EMPTY), (Knowledge(brought=brought), State.MISSING)):
        assert state_of(judged(all_but(9), candles=witnesses, known=known), 9) is state
    older = Knowledge(brought=(brought[0]._replace(at=LATER - HOUR),))
    assert state_of(judged(all_but(9), candles=witnesses, known=older), 9) is State.EMPTY


def test_a_row_that_was_known_before_is_brought_by_no_answer():
    known = judged(all_but(9), known=Knowledge(exists=all_but(9, 10))).known
    assert [one.slots for one in known.brought] == list(slots(10))


def test_more_than_can_be_remembered_of_what_was_brought_is_remembered_coarsely():
    every_second = [T0 + number * STEP for number in range(0, 2 * MOST_BROUGHT + 2, 2)]
    asked = Interval(T0, every_second[-1] + STEP)
    rows = Intervals.of_slots(every_second, STEP)
    when = asked.stop + HOUR
    known = judge(Knowledge(), Answer(asked, when, rows), NOTHING, Venue(), STEP).known
    assert len(known.brought) <= MOST_BROUGHT
    assert not independent_of(rows, known, when + HOUR - 1)


def test_what_was_brought_stays_so_when_the_clock_goes_back():
    known = judged(all_but(9)).known
    back = judged(all_but(9), known=known, candles=all_but(9), when=LATER - HOUR)
    assert state_of(back, 9) is State.MISSING


@pytest.mark.parametrize(
    ("what", "after", "venue", "state"),
    [
        ("two answers, a reference", APART_MS, REFERENCE, State.EMPTY),
        ("two answers too near", APART_MS - 1, REFERENCE, State.MISSING),
        ("two answers, no reference yet", APART_MS, Venue(), State.MISSING),
        ("two answers, no reference to be had", THIRD_AFTER_MS, HOPELESS, State.MISSING),
    ],
)
def test_two_answers_prove_with_a_reference(what, after, venue, state):
    once = judged().known
    assert state_of(judged(known=once, when=LATER + after, venue=venue), 9) is state, what


@pytest.mark.parametrize(
    ("what", "after", "venue", "state"),
    [
        ("an hour after the first", THIRD_AFTER_MS, HOPELESS, State.EMPTY),
        ("too early", THIRD_AFTER_MS - 1, HOPELESS, State.MISSING),
        ("a reference may come", THIRD_AFTER_MS, Venue(newest_alike=LATER), State.MISSING),
        ("no row later than it", THIRD_AFTER_MS, Venue(newest_alike=T0 + 8 * STEP, is_hopeless=True), State.MISSING),
        ("no row at all", THIRD_AFTER_MS, Venue(is_hopeless=True), State.MISSING),
    ],
)
def test_a_third_answer_proves_where_no_reference_can_be_had(what, after, venue, state):
    twice = judged(known=judged().known, when=LATER + APART_MS).known
    verdict = judged(known=twice, when=LATER + after, venue=venue)
    assert state_of(verdict, 9) is state, what


def test_two_answers_of_one_moment_are_one_where_no_reference_can_be_had():
    known = Knowledge()
    for after in (0, APART_MS - 1, THIRD_AFTER_MS):
        known = judged(known=known, when=LATER + after, venue=HOPELESS).known
    assert not known.ledger.confirmed(PAGE)
    assert state_of(judged(known=known, when=LATER + THIRD_AFTER_MS, venue=HOPELESS), 9) is State.EMPTY


def test_a_halt_sighted_at_an_edge_first_takes_two_answers_from_between_rows():
    gone, there = [*range(40, 80)], slots(*range(40), *range(80, SLOTS))
    known = judged(there, candles=slots(*range(35)), when=T0 + 80 * STEP).known
    resumed = T0 + SLOTS * STEP + RIPE_MS
    for after, can in ((0, False), (APART_MS - 1, False), (APART_MS, True)):
        known = judged(there, candles=slots(*range(35)), known=known, when=resumed + after).known
        found = known.ledger.where(PAGE, can_be_halted)
        assert found == (slots(*gone) if can else NOTHING)
    reached = judged(there, known=known, candles=slots(*range(35)), when=resumed + 2 * APART_MS, venue=REFERENCE)
    assert reached.known.ledger.confirmed(PAGE) == slots(*gone)


def test_a_slot_without_hope_of_a_reference_is_due_at_each_scan():
    # An exchange that comes back has its rows: an hour's rest would outlast the outage that took the reference away.
    twice = judged(known=judged().known, when=LATER + APART_MS, venue=HOPELESS).known
    assert twice.ledger.at(T0).is_due(LATER + APART_MS)
    assert twice.ledger.at(T0 + LAST * STEP).is_due(LATER + APART_MS)


@pytest.mark.parametrize(
    ("rows", "passed", "is_current"),
    [
        (all_but(), WHOLE_FOR_MS - 1, True),
        (all_but(), WHOLE_FOR_MS, False),
        (NOTHING, APART_MS - 1, True),
        (NOTHING, APART_MS, False),
    ],
)
def test_a_reference_that_lacks_rows_is_asked_for_by_each_scan(rows, passed, is_current):
    # Two scans are five minutes apart, give or take some seconds.
    found = note_reference(None, PAGE, LATER, rows, NOTHING)
    assert found.is_current(LATER + passed) is is_current


def test_a_slot_that_is_known_to_exist_is_never_proved_empty():
    # It closed so lately that it is not yet a witness.
    when = T0 + 10 * STEP + 60_000
    known = Knowledge(exists=slots(9))
    for _ in range(3):
        verdict = judged(known=known, when=when, venue=REFERENCE)
        assert not verdict.is_contradicted
        assert state_of(verdict, 9) is None
        known = verdict.known


def test_a_verdict_tells_up_to_when_a_reference_would_prove_more():
    assert judged().wants_reference is None
    once = judged(all_but(9, LAST))
    assert once.wants_reference == T0 + 10 * STEP
    twice = judged(all_but(9, LAST), known=once.known, when=LATER + APART_MS)
    assert twice.wants_reference == PAGE.stop
    assert judged(all_but(9), venue=HOPELESS).wants_reference is None
    assert judged(all_but(9), venue=REFERENCE).wants_reference is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.EMPTY, Reason.BETWEEN_CANDLES),
        (State.EMPTY, Reason.ABSENT_TWICE),
        (State.HALTED, Reason.MARKET_HALTED),
    ],
)
def test_a_proof_of_an_older_engine_is_looked_at_once_more(state, reason):
    known = known_with(9, state, reason)
    assert not known.ledger.confirmed(PAGE)
    assert known.ledger.where(PAGE, lambda finding: finding.is_due(LATER)) == slots(9)
    assert state_of(judged(known=known), 9) is State.MISSING
    assert state_of(judged(known=known, venue=REFERENCE), 9) is State.EMPTY


def test_a_proof_is_checked_after_one_hour_and_after_six():
    known = judged(all_but(9), venue=REFERENCE).known
    for after, due in ((HOUR - 1, HOUR), (HOUR, 6 * HOUR), (6 * HOUR, None), (99 * HOUR, None)):
        known = judged(all_but(9), known=known, when=LATER + after).known
        found = known.ledger.at(T0 + 9 * STEP)
        assert found is not None
        assert (found.state, found.first) == (State.EMPTY, LATER)
        assert found.next_check == (None if due is None else LATER + due)


def test_a_late_candle_wins_and_reopens_the_empties_around_it():
    without, with_reference = Reason.AMONG_WITNESSES, Reason.WITH_REFERENCE
    for reason, state in ((without, None), (Reason.ABSENT_THRICE, None), (with_reference, State.EMPTY)):
        ledger = known_with(9, State.EMPTY, reason).ledger.revise(
            slots(12), lambda _, reason=reason: Finding(State.EMPTY, reason, LATER, LATER, 1, None)
        )
        verdict = judged(slots(9), known=Knowledge(ledger), is_whole=False)
        assert (verdict.late, state_of(verdict, 9), state_of(verdict, 12)) == (1, None, state)


def test_a_clock_that_went_back_begins_anew():
    once = judged().known
    back = judged(known=once, when=LATER - HOUR, venue=REFERENCE)
    assert state_of(back, 9) is State.MISSING
    assert state_of(judged(known=back.known, when=LATER - HOUR + APART_MS, venue=REFERENCE), 9) is State.EMPTY


@pytest.mark.parametrize(
    ("what", "there", "ago", "state"),
    [
        ("always trades, silent for one slot", range(LAST), QUIET_AFTER_MS - 1, State.MISSING),
        ("always trades, closed 110 minutes ago", range(LAST), QUIET_AFTER_MS, State.EMPTY),
        ("trades in every other slot, silent for four", range(1, LAST - 3, 2), HOUR, State.EMPTY),
        ("trades in every other slot, silent for five", range(0, LAST - 4, 2), HOUR, State.MISSING),
        ("too few slots to tell", range(LAST - 19, LAST), HOUR, State.EMPTY),
    ],
)
def test_a_sudden_silence_proves_nothing_about_slots_of_110_minutes(what, there, ago, state):
    start = LAST - 19 if "few" in what else 0
    asked = Interval(T0 + start * STEP, PAGE.stop)
    rows, when = slots(*there), PAGE.stop + ago
    known = judged(rows, asked=asked, when=when - APART_MS, venue=REFERENCE).known
    assert state_of(judged(rows, asked=asked, known=known, when=when, venue=REFERENCE), LAST) is state, what


def test_a_silence_whose_beginning_is_settled_goes_on_at_its_own_pace():
    rows = slots(*range(LAST - 1))
    start = T0 + (LAST - 1) * STEP
    when = PAGE.stop + APART_MS
    known = judged(rows, when=when, venue=REFERENCE).known
    ended = Finding(State.EMPTY, Reason.WITH_REFERENCE, LATER, LATER, 2, None)
    settled = known._replace(ledger=known.ledger.revise(slots(LAST - 1), lambda _: ended))
    assert settled.ledger.at(start) == ended
    for before, state in ((known, State.MISSING), (settled, State.EMPTY)):
        assert state_of(judged(rows, known=before, when=when + APART_MS, venue=REFERENCE), LAST) is state


def test_a_filler_is_judged_like_an_absent_slot():
    # The caller leaves fillers out of the candles.
    assert state_of(judged(all_but(9), candles=all_but(9), venue=REFERENCE), 9) is State.EMPTY
    assert judged(all_but(), candles=all_but(9)).usable == Intervals([PAGE])
