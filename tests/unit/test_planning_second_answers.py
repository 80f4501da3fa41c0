"""Candles that give way to an answer at once, those that wait for a second one, and when that is asked for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.audit import AuditRules, Copy, find_doubts, values_of
from reconciler_engine.planning.hand_marks import mark
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason, State, Wait
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.second_answers import (
    MOST_WAITS,
    SURE_AFTER_MS,
    Weighed,
    await_second,
    weigh,
)
from reconciler_engine.planning.sightings import APART_MS, DAILY_MS, RECHECK_MS
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS

STEP = 60_000
T0 = 1_767_225_600_000
PAGE = Interval(T0, T0 + 10 * STEP)
FIRST = PAGE.stop + DEFAULT_SETTLE_MS
"""The first answer: every bar of the page is final, and closed less than an hour ago."""

SECOND = FIRST + APART_MS
OLD = PAGE.stop + SURE_AFTER_MS
"""Every bar of the page closed over an hour ago, but for the last."""


def row(slot: int, *, volume: float = 2.0, open_: float = 10.0) -> Candle:
    return Candle(T0 + slot * STEP, open_, 12.0, 9.0, 11.0, volume)


def answered(
    known: Knowledge,
    at: int,
    *held: Candle,
    rows: Iterable[Candle] = (),
    newest: int | None = None,
    repairs: bool = True,
    **options: Intervals,
) -> Weighed:
    """Weigh an answer about the page, in which the cache has right candles but for those held."""
    copies = {T0 + slot * STEP: Copy(b"right", values_of(row(slot))) for slot in range(10)}
    copies |= {one.timestamp: Copy(b"wrong", values_of(one)) for one in held}
    told = {**{T0 + slot * STEP: row(slot) for slot in range(10)}, **{one.timestamp: one for one in rows}}
    doubts = find_doubts(copies, told.values(), at, STEP, AuditRules(repairs=repairs))
    slots = Intervals([PAGE])
    return weigh(doubts, known, Answer(PAGE, at, slots), slots, Venue(newest=newest), STEP, **options)


def fate(weighed: Weighed) -> str:
    """The page's slots: r repaired, w waiting, k kept."""
    due = {one.candle.timestamp for one in weighed.due}
    return "".join(
        "r" if at in due else "w" if weighed.awaited.holds(at) else "k" if weighed.kept.holds(at) else "."
        for at in range(PAGE.start, PAGE.stop, STEP)
    )


def test_a_candle_with_too_little_volume_gives_way_at_once():
    found = answered(Knowledge(), FIRST, row(3, volume=1.0), row(4, open_=10.5))
    assert (fate(found), found.known.waits) == ("...rr.....", ())
    # A volume that differs by rounding is not lowered.
    assert fate(answered(Knowledge(), FIRST, row(3, open_=10.5, volume=2.0 * (1 + 9e-9)))) == "...r......"


def test_nothing_gives_way_to_an_answer_that_only_reports():
    found = answered(Knowledge(), FIRST, row(3, volume=1.0), row(4, volume=4.0), repairs=False)
    assert (fate(found), found.known.waits) == ("...kk.....", ())


@pytest.mark.parametrize(
    ("what", "at", "newest", "is_repaired"),
    [
        ("a bar opened after the first", SECOND, FIRST, True),
        ("no bar of that moment opened after the first", SECOND, FIRST - 1, False),
        ("no bar of that moment was seen", SECOND, None, False),
        ("less than four minutes later", SECOND - 1, SECOND, False),
        ("an hour after the close", T0 + 4 * STEP + SURE_AFTER_MS, None, False),
        ("over an hour after the close", T0 + 4 * STEP + SURE_AFTER_MS + 1, None, True),
    ],
)
def test_a_candle_loses_volume_to_a_second_answer_alone(what, at, newest, is_repaired):
    first = answered(Knowledge(), FIRST, row(3, volume=4.0), newest=SECOND)
    assert fate(first) == "...w......"
    second = answered(first.known, at, row(3, volume=4.0), newest=newest)
    assert fate(second) == ("...r......" if is_repaired else "...w......"), what
    # Where it still waits, it waits since the first.
    assert second.known.waits == (() if is_repaired else first.known.waits)


def test_a_slot_that_closed_an_hour_ago_waits_for_a_second_answer_too():
    assert fate(answered(Knowledge(), OLD + DAILY_MS, row(3, volume=4.0))) == "...w......"


def test_a_wait_begins_anew_with_another_row():
    known = answered(Knowledge(), FIRST, row(3, volume=4.0)).known
    other = answered(known, SECOND, row(3, volume=4.0), rows=[row(3, volume=3.0)], newest=SECOND)
    assert (fate(other), [one.first for one in other.known.waits]) == ("...w......", [SECOND])
    # Another member there changes nothing: it is the rows that must agree.
    third = answered(known, SECOND, row(3, volume=5.0), newest=SECOND)
    assert fate(third) == "...r......"


def test_an_answer_from_before_the_first_begins_the_wait_anew():
    known = answered(Knowledge(), SECOND, row(3, volume=4.0)).known
    assert [one.first for one in answered(known, FIRST, row(3, volume=4.0)).known.waits] == [FIRST]


def test_an_answer_that_agrees_with_the_candle_ends_its_wait():
    known = answered(Knowledge(), FIRST, row(3, volume=4.0), row(4, volume=4.0)).known
    assert [one.slot for one in answered(known, SECOND, row(4, volume=4.0)).known.waits] == [T0 + 4 * STEP]


def test_a_wait_outside_an_answer_goes_on_for_two_days():
    beyond = Wait(PAGE.stop, FIRST, "0" * 12)
    for at, waits in ((FIRST + 2 * DAILY_MS - 1, (beyond,)), (FIRST + 2 * DAILY_MS, ())):
        assert answered(Knowledge(waits=(beyond,)), at).known.waits == waits


def test_the_memory_of_waits_is_bounded_and_keeps_the_newest():
    many = tuple(Wait(PAGE.stop + slot * STEP, FIRST, "0" * 12) for slot in range(MOST_WAITS))
    waits = answered(Knowledge(waits=many), FIRST, row(3, volume=4.0)).known.waits
    assert len(waits) == MOST_WAITS
    assert (waits[0], waits[-1].slot) == (many[1], T0 + 3 * STEP)


@pytest.mark.parametrize(
    ("what", "opens", "compared", "is_strange"),
    [
        ("a fifth of ten", 2, 10, False),
        ("more than a fifth of ten", 3, 10, True),
        ("more than a fifth of five", 2, 5, True),
        ("all of four", 4, 4, False),
    ],
)
def test_an_answer_with_other_opens_repairs_nothing_until_a_second_agrees(what, opens, compared, is_strange):
    others = [row(slot, open_=10.5) for slot in range(opens)]
    slots = Intervals([PAGE])
    uncompared = Intervals.of_slots(range(PAGE.start + compared * STEP, PAGE.stop, STEP), STEP)

    def ask(known: Knowledge, at: int) -> Weighed:
        copies = {T0 + slot * STEP: Copy(b"there", values_of(row(slot))) for slot in range(compared)}
        doubts = find_doubts(copies, others, at, STEP, AuditRules(repairs=True))
        return weigh(doubts, known, Answer(PAGE, at, slots, uncompared=uncompared), slots, Venue(), STEP)

    first = ask(Knowledge(), FIRST)
    assert fate(first) == ("w" if is_strange else "r") * opens + "." * (10 - opens), what
    # No bar that opened later is needed: nothing loses volume.
    assert fate(ask(first.known, SECOND)) == "r" * opens + "." * (10 - opens)


def test_an_answer_that_denies_a_verified_candle_waits_for_a_second_one():
    verified = Intervals.of_slots([T0 + 3 * STEP], STEP)
    wrong = [row(3, volume=1.0), row(7, volume=1.0)]
    first = answered(Knowledge(), FIRST, *wrong, verified=verified)
    assert fate(first) == "...w...w.."
    assert fate(answered(first.known, SECOND, *wrong, verified=verified)) == "...r...r.."
    # An answer that agrees with a bar ends its wait; the wrong bar beside it is repaired.
    assert fate(answered(first.known, FIRST + 1, row(7, volume=1.0), verified=verified)) == ".......r.."


def test_a_contested_candle_does_not_wait():
    contested = Finding(State.SUSPECT, Reason.CONTESTED, FIRST, FIRST, 1, FIRST + DAILY_MS)
    known = Knowledge(Ledger([FindingInterval(T0 + 3 * STEP, T0 + 4 * STEP, contested)]))
    assert fate(answered(known, SECOND, row(3, volume=4.0))) == "...k......"


def test_a_mark_by_hand_ends_the_wait_of_its_slot():
    known = answered(Knowledge(), FIRST, row(3, volume=4.0), row(4, volume=4.0)).known
    slot = Intervals.of_slots([T0 + 3 * STEP], STEP)
    assert [one.slot for one in mark(known, slot, State.UNKNOWN, SECOND).waits] == [T0 + 4 * STEP]


HOUR = RECHECK_MS[0]


@pytest.mark.parametrize(
    ("what", "asked", "due"),
    [
        ("the first answer", (), APART_MS),
        ("an answer on its way", (APART_MS - 1,), APART_MS),
        ("another row after four minutes", (APART_MS,), 2 * APART_MS),
        ("others for an hour", (APART_MS, HOUR), RECHECK_MS[1]),
        ("the first of two after the rest", (APART_MS, HOUR, RECHECK_MS[1]), RECHECK_MS[1] + APART_MS),
        (
            "the second of them",
            (APART_MS, HOUR, RECHECK_MS[1], RECHECK_MS[1] + APART_MS),
            RECHECK_MS[1] + APART_MS + DAILY_MS,
        ),
    ],
)
def test_a_waiting_slot_is_asked_for_after_four_minutes_and_rests_after_an_hour(what, asked, due):
    found = None
    for later in (0, *asked):
        found = await_second(found, FIRST + later)
    assert found is not None
    assert found.next_check == FIRST + due, what
    assert (found.state, found.reason, found.first) == (State.SUSPECT, Reason.SECOND_ANSWER, FIRST)


@pytest.mark.parametrize(
    "before",
    [
        Finding(State.SUSPECT, Reason.VALUES_DIFFER, T0, T0, 1, T0),
        # As engines wrote it for values that differed from those that came live.
        Finding(State.SUSPECT, Reason.SECOND_ANSWER, T0, T0, 1, T0),
        # The clock went back.
        Finding(State.SUSPECT, Reason.SECOND_ANSWER, SECOND, SECOND, 1, SECOND + APART_MS),
    ],
)
def test_a_wait_is_counted_from_its_own_first_answer(before):
    waiting = Finding(State.SUSPECT, Reason.SECOND_ANSWER, FIRST, FIRST, 1, FIRST + APART_MS)
    assert await_second(before, FIRST) == waiting


def test_an_answer_notes_what_waits_and_settles_it():
    slot, slots = Intervals.of_slots([T0 + 3 * STEP], STEP), Intervals([PAGE])
    first = judge(Knowledge(), Answer(PAGE, FIRST, slots, awaited=slot), slots, Venue(), STEP).known
    assert first.ledger.at(T0 + 3 * STEP) == await_second(None, FIRST)
    for replaced in (slot, NOTHING):
        seen = Answer(PAGE, SECOND, slots, replaced=replaced)
        assert judge(first, seen, slots, Venue(), STEP).known.ledger == Ledger()
    still = judge(first, Answer(PAGE, SECOND, slots, uncompared=slot), slots, Venue(), STEP).known
    assert still.ledger == first.ledger
    kept = judge(still, Answer(PAGE, SECOND, slots, doubted=slot), slots, Venue(), STEP).known
    found = kept.ledger.at(T0 + 3 * STEP)
    assert found == Finding(State.SUSPECT, Reason.VALUES_DIFFER, FIRST, SECOND, 2, SECOND)
