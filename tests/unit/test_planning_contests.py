"""Slots in which candles replace each other, and candles that somebody accepted."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import Answer, Venue, find_witnesses
from reconciler_engine.planning.hand_marks import MOST_ACCEPTED, accept, digest_of, drop_changed, is_accepted, mark
from reconciler_engine.planning.ledger import Finding, Knowledge, Ledger, Reason, Repaired, State
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.second_answers import MOST_REPAIRED, is_left_alone, note_repairs
from reconciler_engine.planning.sightings import DAILY_MS

STEP = 60_000
T0 = 1_767_225_600_000
PAGE = Interval(T0, T0 + 60 * STEP)
ALL = Intervals([PAGE])
SLOT = Intervals.of_slots([T0], STEP)
LATER = PAGE.stop + DAILY_MS
HOUR = 3_600_000


def after(known: Knowledge, at: int, **seen) -> Knowledge:
    return judge(known, Answer(PAGE, at, ALL, **seen), ALL, Venue(), STEP).known


def repaired(*instants: int) -> Knowledge:
    known = Knowledge()
    for at in instants:
        known = after(known, at, replaced=SLOT)
    return known


@pytest.mark.parametrize(
    ("what", "instants", "is_contested"),
    [
        ("two replacements", (0, HOUR), False),
        ("three within a day", (0, HOUR, DAILY_MS - 1), True),
        ("three in more than a day", (0, HOUR, DAILY_MS), False),
    ],
)
def test_three_replacements_within_a_day_make_a_slot_contested(what, instants, is_contested):
    found = repaired(*(LATER + at for at in instants)).ledger.at(T0)
    at = LATER + instants[-1]
    assert found == (Finding(State.SUSPECT, Reason.CONTESTED, at, at, 1, at + DAILY_MS) if is_contested else None), what


def test_a_contested_slot_is_left_alone_for_a_day_whatever_comes():
    known = repaired(LATER, LATER + 1, LATER + 2)
    free = LATER + 2 + DAILY_MS
    for seen, state in (({}, None), ({"doubted": SLOT}, Reason.VALUES_DIFFER)):
        for at, reason in ((free - 1, Reason.CONTESTED), (free, state)):
            found = after(known, at, **seen).ledger.at(T0)
            assert (None if found is None else found.reason) is reason
            assert is_left_alone(found, at) is (at < free)


def test_a_replacement_after_the_day_begins_a_new_count():
    known = after(repaired(LATER, LATER + 1, LATER + 2), LATER + 2 + DAILY_MS, replaced=SLOT)
    assert (known.ledger, known.repaired) == (Ledger(), (Repaired(T0, 1, LATER + 2 + DAILY_MS),))


def test_an_insert_is_not_a_replacement():
    known = Knowledge()
    for at in range(5):
        known = judge(known, Answer(PAGE, LATER + at, ALL), NOTHING, Venue(), STEP).known
    assert (known.repaired, known.ledger) == ((), Ledger())


def test_the_memory_of_replacements_is_bounded_and_keeps_the_newest():
    many = Intervals([Interval(T0, T0 + (MOST_REPAIRED + 5) * STEP)])
    known = note_repairs(Knowledge(repaired=(Repaired(T0 - STEP, 1, LATER),)), many, LATER, STEP)
    assert len(known.repaired) == MOST_REPAIRED
    assert known.repaired[-1].slot == many.hull.stop - STEP


@pytest.mark.parametrize("state", [State.UNKNOWN, State.EMPTY])
def test_a_mark_by_hand_ends_a_contest(state):
    known = mark(repaired(LATER, LATER + 1, LATER + 2), SLOT, state, LATER + 3)
    assert known.repaired == ()
    assert not is_left_alone(known.ledger.at(T0), LATER + 3)


def test_a_row_that_was_not_compared_leaves_a_doubt_about_values_as_it_was():
    doubted = after(Knowledge(), LATER, doubted=SLOT)
    assert after(doubted, LATER + HOUR, uncompared=SLOT).ledger == doubted.ledger
    assert after(doubted, LATER + HOUR).ledger == Ledger()


def accepted(member: bytes = b"as it stands") -> Knowledge:
    known = repaired(LATER, LATER + 1, LATER + 2)
    return accept(known, SLOT, {T0: digest_of(member)}, 0)


def test_an_accepted_candle_is_right_until_it_changes():
    known = accepted()
    assert (known.ledger, known.repaired) == (Ledger(), ())
    assert is_accepted(known, T0, b"as it stands")
    assert not is_accepted(known, T0, b"as it stood")
    assert not is_accepted(known, T0 + STEP, b"as it stands")


@pytest.mark.parametrize(
    ("members", "stays"),
    [({T0: b"as it stands"}, True), ({T0: b"another"}, False), ({}, False)],
)
def test_a_mark_is_void_once_the_member_has_changed(members, stays):
    assert bool(drop_changed(accepted(), PAGE, members).accepted) is stays
    # nothing was read of other slots
    assert drop_changed(accepted(), Interval(T0 + STEP, PAGE.stop), members) == accepted()


def test_an_accepted_candle_is_no_witness():
    answer = Answer(PAGE, LATER, ALL - SLOT)
    assert find_witnesses(answer, ALL, accepted()._replace(exists=ALL), STEP) == ALL - SLOT
    assert not judge(accepted(), answer, ALL, Venue(), STEP).is_contradicted


@pytest.mark.parametrize("state", [State.UNKNOWN, State.HALTED])
def test_another_mark_takes_the_place_of_an_accepted_candle(state):
    assert mark(accepted(), SLOT, state, LATER).accepted == {}
    assert mark(accepted(), ALL - SLOT, state, LATER).accepted == accepted().accepted


def test_accepted_candles_are_bounded_by_what_is_kept_and_in_number():
    assert accept(accepted(), NOTHING, {}, T0 + STEP).accepted == {}
    many = Interval(T0, T0 + (MOST_ACCEPTED + 1) * STEP)
    digests = dict.fromkeys(many.grid(STEP), "00")
    with pytest.raises(ValueError, match="1001 accepted slots of one series; allowed: at most 1000"):
        accept(Knowledge(), Intervals([many]), digests, 0)
