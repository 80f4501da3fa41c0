"""Candles that answers lack: suspect, withdrawn, removed; rows that cannot be used."""

from __future__ import annotations

import pytest
from tests.unit.judged_answers import (
    HOPELESS,
    HOUR,
    LAST,
    LATER,
    PAGE,
    REFERENCE,
    STEP,
    T0,
    all_but,
    judged,
    known_with,
    slots,
    state_of,
)

from reconciler_engine.market.interval import NOTHING, Interval
from reconciler_engine.planning.answers import (
    Venue,
)
from reconciler_engine.planning.ledger import (
    Knowledge,
    Reason,
    State,
)
from reconciler_engine.planning.sightings import APART_MS, DAILY_MS, RECHECK_MS, THIRD_AFTER_MS


@pytest.mark.parametrize(
    ("what", "after", "venue", "becomes"),
    [
        ("two answers, a reference", APART_MS, REFERENCE, Reason.NOT_AT_EXCHANGE),
        ("two answers too near", APART_MS - 1, REFERENCE, Reason.LACKED_ONCE),
        ("two answers, no reference", APART_MS, Venue(), Reason.LACKED_ONCE),
        ("no reference to be had", THIRD_AFTER_MS, HOPELESS, Reason.LACKED_ONCE),
    ],
)
def test_the_same_set_lacking_twice_is_suspect_together(what, after, venue, becomes):
    once = judged(all_but(9, 12), candles=all_but())
    assert once.lacking == slots(9, 12)
    twice = judged(all_but(9, 12), candles=all_but(), known=once.known, when=LATER + after, venue=venue)
    for number in (9, 12):
        found = twice.known.ledger.at(T0 + number * STEP)
        assert found is not None
        assert found.reason is becomes, what


def test_the_same_set_lacking_a_third_time_an_hour_later_is_suspect():
    known = Knowledge()
    for after in (0, APART_MS, THIRD_AFTER_MS):
        known = judged(all_but(9), candles=all_but(), known=known, when=LATER + after, venue=HOPELESS).known
    found = known.ledger.at(T0 + 9 * STEP)
    assert found is not None
    assert found.reason is Reason.NOT_AT_EXCHANGE


def test_another_set_lacking_begins_anew():
    known = judged(all_but(9, 12), candles=all_but()).known
    other = judged(all_but(9, 13), candles=all_but(), known=known, when=LATER + APART_MS, venue=REFERENCE).known
    reasons = {number: other.ledger.at(T0 + number * STEP) for number in (9, 12, 13)}
    assert reasons[12] is None
    assert {one.first for one in reasons.values() if one} == {LATER + APART_MS}


def test_few_witnesses_make_no_ghosts():
    verdict = judged(slots(*range(20, 49)), candles=slots(9, *range(20, 49)))
    assert verdict.is_contradicted
    assert state_of(verdict, 9) is None


@pytest.mark.parametrize(("lacking", "are_ghosts"), [(9, True), (10, False)])
def test_where_more_than_a_tenth_is_lacking_the_exchange_withholds(lacking, are_ghosts):
    gone = range(5, 5 + lacking)
    known = Knowledge()
    for after in (0, APART_MS):
        rows = all_but(*gone)
        known = judged(rows, candles=all_but(), known=known, when=LATER + after, venue=REFERENCE).known
    suspect = known.ledger.where(PAGE, lambda found: found.reason is Reason.NOT_AT_EXCHANGE)
    assert suspect == (slots(*gone) if are_ghosts else NOTHING)


def test_a_known_slot_without_a_member_is_withdrawn():
    known = Knowledge(exists=slots(9))
    for after in (0, APART_MS):
        known = judged(all_but(9), candles=all_but(9), known=known, when=LATER + after, venue=REFERENCE).known
    found = known.ledger.at(T0 + 9 * STEP)
    assert found is not None
    assert (found.state, found.reason) == (State.MISSING, Reason.WITHDRAWN)
    assert not known.exists & Interval(T0 + 9 * STEP, T0 + 10 * STEP)
    again = judged(all_but(9), candles=all_but(9), known=known, when=LATER + 2 * APART_MS, venue=REFERENCE)
    assert (again.is_contradicted, state_of(again, 9)) == (False, State.EMPTY)


def test_a_withdrawn_slot_at_an_edge_takes_two_more_answers():
    known = known_with(LAST, State.MISSING, Reason.WITHDRAWN, first=LATER - APART_MS)
    for after, state in ((0, State.MISSING), (APART_MS - 1, State.MISSING), (APART_MS, State.EMPTY)):
        verdict = judged(all_but(LAST), candles=all_but(LAST), known=known, when=LATER + after, venue=REFERENCE)
        known = verdict.known
        assert state_of(verdict, LAST) is state


def test_a_ghost_is_checked_after_one_hour_and_after_six_and_may_then_be_removed():
    known = Knowledge()
    for after in (0, APART_MS):
        known = judged(all_but(9), candles=all_but(), known=known, when=LATER + after, venue=REFERENCE).known
    since = LATER + APART_MS
    for after, due, removable in (
        (HOUR - 1, HOUR, NOTHING),
        (HOUR, 6 * HOUR, NOTHING),
        (6 * HOUR, 6 * HOUR + DAILY_MS, slots(9)),
    ):
        verdict = judged(all_but(9), candles=all_but(), known=known, when=since + after)
        assert not verdict.is_contradicted
        assert verdict.removable == removable
        known = verdict.known
        found = known.ledger.at(T0 + 9 * STEP)
        assert found is not None
        assert found.next_check == since + due


def test_a_ghost_whose_row_appears_is_a_candle_again():
    known = known_with(9, State.SUSPECT, Reason.NOT_AT_EXCHANGE)
    assert state_of(judged(all_but(), candles=all_but(), known=known), 9) is None


def test_an_unusable_row_makes_its_own_slot_unresolved():
    verdict = judged(all_but(9), candles=all_but(9), unusable=slots(9), venue=REFERENCE)
    found = verdict.known.ledger.at(T0 + 9 * STEP)
    assert found is not None
    assert (found.state, found.reason, verdict.absent) == (State.MISSING, Reason.ROW_UNUSABLE, NOTHING)


def test_a_mark_by_hand_settles_a_slot_with_an_unusable_row():
    known = known_with(9, State.EMPTY, Reason.BY_HAND)
    assert state_of(judged(all_but(9), known=known, unusable=slots(9)), 9) is State.EMPTY


def test_a_row_that_is_unusable_twice_rests():
    known = Knowledge()
    for after, due in (
        (0, 0), (APART_MS - 1, 2 * APART_MS - 2), (APART_MS, HOUR), (HOUR, RECHECK_MS[-1]),
        (RECHECK_MS[-1], RECHECK_MS[-1] + DAILY_MS),
    ):  # fmt: skip
        known = judged(all_but(9), known=known, unusable=slots(9), when=LATER + after).known
        found = known.ledger.at(T0 + 9 * STEP)
        assert found is not None
        assert found.next_check == LATER + due


def test_an_unreadable_row_makes_every_absent_slot_unresolved():
    verdict = judged(all_but(9), candles=slots(*range(20, 50)), is_whole=False, venue=REFERENCE)
    assert (verdict.absent, state_of(verdict, 9)) == (NOTHING, None)
