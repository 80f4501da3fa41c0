"""How one answer leaves the slots of a page, beside a whole reference; listings, halts, marks and suspects."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.halts import apply_halts, find_halts
from reconciler_engine.planning.hand_marks import mark
from reconciler_engine.planning.ledger import (
    SIGHTINGS_LIMIT,
    Finding,
    FindingInterval,
    Knowledge,
    Ledger,
    Reason,
    State,
)
from reconciler_engine.planning.listing import Listing, apply_listing
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import APART_MS

STEP = 60_000
T0 = 1_767_225_600_000
PAGE = Interval(T0, T0 + 10 * STEP)
LONG_AFTER = PAGE.stop + 86_400_000
HOUR = 3_600_000
REFERENCE = Venue(has_reference=True)


def at(*slots: int) -> list[int]:
    return [T0 + slot * STEP for slot in slots]


def states(ledger: Ledger) -> str:
    """A letter a slot of the page: m missing, e empty, h halted, u unlisted, . unknown."""
    found = [ledger.at(T0 + slot * STEP) for slot in range(10)]
    return "".join("." if one is None else one.state.value[0] for one in found)


def judged(rows, *, ledger=Ledger(), when=LONG_AFTER, covering=True, asked=PAGE, **options):  # noqa: B008 (immutable)
    return judge(
        Knowledge(ledger), answer(rows, when, covering=covering, asked=asked, **options), NOTHING, REFERENCE, STEP
    )


def answer(rows, when, *, covering=True, asked=PAGE, unusable=(), **options):
    slots, bad = Intervals.of_slots(rows, STEP), Intervals.of_slots(unusable, STEP)
    return Answer(asked, when, slots, bad, covering, **options)


def judged_present(known, when, doubted, rows=range(10), *, covering=True, held=range(10)):
    """Judge an answer about a page of which the cache holds candles."""
    there = Intervals.of_slots(at(*held), STEP)
    one = answer(at(*rows), when, covering=covering, doubted=Intervals.of_slots(at(*doubted), STEP))
    return judge(Knowledge(known), one, there, REFERENCE, STEP).known.ledger


@pytest.mark.parametrize(
    ("what", "rows", "options", "known"),
    [
        ("candles on both sides", at(0, 1, 5, 9), {}, "..eee.eee."),
        ("a candle just outside the page counts", [T0 - STEP, *at(5), PAGE.stop], {}, "eeeee.eeee"),
        ("a page that stops short", at(0, 2, 4), {}, ".e.e.mmmmm"),
        ("a page that begins late", at(6, 8, 9), {}, "mmmmmm.e.."),
        ("one row alone", at(4), {}, "mmmm.mmmmm"),
        ("an empty page", [], {}, "mmmmmmmmmm"),
        ("a partial page", at(0, 2, 9), {"covering": False}, ".........."),
        ("a full page", at(*range(10)), {}, ".........."),
        ("only part of it was asked", at(2, 4), {"asked": Interval(T0 + 2 * STEP, T0 + 5 * STEP)}, "...e......"),
        # slot 3 opens and slot 2 closed within the grace
        ("forming bar", at(0), {"when": T0 + 3 * STEP + 14_999}, ".m........"),
        ("closed bar", at(0), {"when": T0 + 3 * STEP + 15_000}, ".mm......."),
        ("a forming bar flanks nothing", [*at(0), T0 + 9 * STEP], {"when": T0 + 9 * STEP + 50_000}, ".mmmmmmmm."),
        ("asked before anything closed", [], {"when": T0}, ".........."),
    ],
)
def test_what_an_answer_proves(what, rows, options, known):
    assert states(judged(rows, **options).known.ledger) == known, what


def test_a_check_that_comes_late_counts_for_both():
    ledger = judged([T0 - STEP, PAGE.stop]).known.ledger
    found = judged([], ledger=ledger, when=LONG_AFTER + 7 * HOUR).known.ledger.at(T0)
    assert found is not None
    assert found.next_check is None


@pytest.mark.parametrize("covering", [True, False])
def test_a_candle_that_appears_wins_and_is_late(covering):
    ledger = judged([T0 - STEP, PAGE.stop]).known.ledger
    verdict = judged(at(3, 4), ledger=ledger, when=LONG_AFTER + HOUR, covering=covering)
    assert verdict.late == 2
    assert states(verdict.known.ledger) == "eee..eeeee"


def spoilt(rows, *unusable, ledger=Ledger(), when=LONG_AFTER, covering=True):  # noqa: B008 (it is immutable)
    """Judge an answer with a row that is not a candle in each of these slots."""
    return judged(rows, ledger=ledger, when=when, covering=covering, unusable=at(*unusable))


def test_an_unusable_row_proves_nothing_about_its_own_slot_alone():
    verdict = spoilt(at(0, 9), 4)
    assert states(verdict.known.ledger) == ".eeemeeee."
    assert verdict.known.ledger.at(at(4)[0]) == Finding(
        State.MISSING, Reason.ROW_UNUSABLE, LONG_AFTER, LONG_AFTER, 1, LONG_AFTER
    )
    assert tuple(verdict.absent) == (Interval(*at(1, 4)), Interval(*at(5, 9)))


def test_an_unusable_row_is_told_by_an_answer_that_does_not_cover():
    assert states(spoilt(at(0, 9), 4, covering=False).known.ledger) == "....m....."


def test_an_unusable_row_of_a_forming_bar_says_nothing():
    assert states(spoilt(at(0), 2, when=T0 + 3 * STEP + 14_999).known.ledger) == ".m........"


@pytest.mark.parametrize(
    ("state", "by_hand", "known"), [(State.EMPTY, False, "m"), (State.EMPTY, True, "e"), (State.SUSPECT, False, "m")]
)
def test_an_unusable_row_takes_back_what_was_proved_but_not_what_was_marked(state, by_hand, known):
    reason = Reason.BY_HAND if by_hand else Reason.BETWEEN_CANDLES
    before = Ledger([FindingInterval(at(4)[0], at(5)[0], Finding(state, reason, T0, T0, 1, None))])
    assert states(spoilt(at(*range(4), *range(5, 10)), 4, ledger=before).known.ledger) == f"....{known}....."


@pytest.mark.parametrize(("passed", "wait"), [(-1, 0), (0, 0), (5_000, 5_000), (APART_MS - 1, APART_MS - 1)])
def test_an_unusable_row_again_waits_as_long_as_it_has_lasted(passed, wait):
    later = LONG_AFTER + passed
    found = spoilt(at(0, 9), 4, ledger=spoilt(at(0, 9), 4).known.ledger, when=later).known.ledger.at(at(4)[0])
    last = max(later, LONG_AFTER)
    assert found == Finding(State.MISSING, Reason.ROW_UNUSABLE, LONG_AFTER, last, 2, later + wait)


def test_a_slot_whose_row_was_unusable_is_empty_after_two_answers_without_a_row():
    once = judged(at(0, 9), ledger=spoilt(at(0, 9), 4).known.ledger, when=LONG_AFTER + HOUR)
    assert states(once.known.ledger) == ".eeemeeee."
    assert once.late == 0
    twice = judged(at(0, 9), ledger=once.known.ledger, when=LONG_AFTER + HOUR + APART_MS)
    assert states(twice.known.ledger) == ".eeeeeeee."


def test_a_row_that_can_be_used_at_last_is_not_late():
    verdict = judged(at(0, 4, 9), ledger=spoilt(at(0, 9), 4).known.ledger, when=LONG_AFTER + HOUR)
    assert (states(verdict.known.ledger), verdict.late) == (".eee.eeee.", 0)


def test_absence_is_judged_in_the_slots_named_only_and_rows_everywhere():
    stale = mark(Knowledge(), Intervals([Interval(*at(8, 10))]), State.EMPTY, T0)
    verdict = judge(stale, answer(at(0, 9), LONG_AFTER), NOTHING, REFERENCE, STEP, slots=Interval(*at(2, 4)))
    assert states(verdict.known.ledger) == "..ee....e."
    assert verdict.absent == (Interval(*at(2, 4)),)
    assert verdict.late == 1


def test_sightings_are_counted_to_a_bound():
    many = Finding(State.EMPTY, Reason.WITH_REFERENCE, T0, T0, SIGHTINGS_LIMIT, LONG_AFTER)
    ledger = Ledger([FindingInterval(PAGE.start, PAGE.stop, many)])
    found = judged([], ledger=ledger, when=LONG_AFTER - 1).known.ledger.at(T0)
    assert found is not None
    assert found.sightings == SIGHTINGS_LIMIT


@pytest.mark.parametrize(
    ("listing", "known"),
    [
        (Listing(), ".........."),
        # the bar in which it was listed may hold trades
        (Listing(listed_at=T0 + 3 * STEP + 1), "uuu......."),
        (Listing(listed_at=T0 + 3 * STEP), "uuu......."),
        (Listing(listed_at=T0 + 99 * STEP), "uuuuuuuuuu"),
        (Listing(listed_at=T0 - STEP), ".........."),
        (Listing(delisted_at=T0 + 7 * STEP + 1), "........uu"),
        (Listing(delisted_at=T0 + 7 * STEP), ".......uuu"),
        (Listing(delisted_at=0), "uuuuuuuuuu"),
        (Listing(listed_at=T0 + 2 * STEP, delisted_at=T0 + 7 * STEP), "uu.....uuu"),
    ],
)
def test_nothing_exists_outside_a_listing(listing, known):
    ledger = apply_listing(Ledger(), listing, Intervals([PAGE]), STEP, LONG_AFTER)
    assert states(ledger) == known
    assert ledger.resting(PAGE, LONG_AFTER * 2) == ledger.confirmed(PAGE)
    # asked all the same, an answer without rows changes nothing of that; listed again, it is unknown
    assert states(judged([], ledger=ledger).known.ledger) == known.replace(".", "m")
    assert states(apply_listing(ledger, Listing(), Intervals([PAGE]), STEP, LONG_AFTER)) == ".........."


def test_marks_stay_until_they_are_forgotten():
    spans = Intervals([Interval(*at(2, 5))])
    marked = mark(Knowledge(exists=spans), spans, State.EMPTY, LONG_AFTER)
    assert not marked.exists
    assert states(judged(at(0, 9), ledger=marked.ledger, when=LONG_AFTER + 9 * HOUR).known.ledger) == ".eeeeeeee."
    found = marked.ledger.at(T0 + 3 * STEP)
    assert found == Finding(State.EMPTY, Reason.BY_HAND, LONG_AFTER, LONG_AFTER, 1, None)
    assert mark(marked, spans, State.UNKNOWN, LONG_AFTER) == Knowledge()
    with pytest.raises(ValueError, match="'present' cannot be set by hand; allowed: empty, halted"):
        mark(Knowledge(), spans, State.PRESENT, LONG_AFTER)


WINDOW = Interval(T0, T0 + 300 * STEP)


def halted(**absences: list[int]) -> list[int]:
    named = {name: Intervals.of_slots(at(*slots), STEP) for name, slots in absences.items()}
    return [(start - T0) // STEP for span in find_halts(named, WINDOW, STEP) for start in span.grid(STEP)]


def test_three_dense_products_prove_a_halt():
    outage = list(range(40, 50))
    every_second = list(range(0, 300, 2))
    assert halted(btc=outage, eth=[3, *outage], sol=[*outage, 77]) == outage
    assert halted(btc=outage, eth=outage) == []
    # thin products do not count as witnesses, not even of each other
    assert halted(btc=outage, eth=outage, thin=every_second) == []
    assert halted(a=every_second, b=every_second[:-7], c=every_second[3:]) == []
    # a dense product that traded says that the venue stood
    assert halted(btc=outage, eth=outage, sol=outage, ada=outage[:4]) == outage[:4]
    assert halted(btc=outage, eth=outage, sol=outage, thin=every_second) == outage
    # nothing but a halt: no way to tell that they are dense
    everything = list(range(290))
    assert halted(btc=everything, eth=everything, sol=everything) == []


def test_a_halt_keeps_proofs_and_checks():
    proved = judged([T0 - STEP, PAGE.stop]).known
    known = mark(proved, Intervals([Interval(*at(7, 9))]), State.EMPTY, LONG_AFTER)
    halts = Intervals([Interval(*at(5, 9)), Interval(PAGE.stop, PAGE.stop + STEP)])
    changed = apply_halts(known, halts).ledger
    assert states(changed) == "eeeeehheee"
    found = changed.at(T0 + 5 * STEP)
    assert found == Finding(State.HALTED, Reason.HALTED_TWICE, LONG_AFTER, LONG_AFTER, 1, LONG_AFTER + HOUR)
    assert found.is_confirmed


def test_a_halt_is_made_of_slots_that_two_answers_lacked_beside_thirty_witnesses():
    for reason, apart, state in (
        (Reason.AMONG_WITNESSES_ONCE, APART_MS, "h"),
        (Reason.AMONG_WITNESSES_ONCE, APART_MS - 1, "m"),
        (Reason.ABSENT_ONCE, APART_MS, "m"),
    ):
        last = LONG_AFTER + apart
        sighted = Finding(State.MISSING, reason, LONG_AFTER, last, 2, last)
        known = Knowledge(Ledger([FindingInterval(PAGE.start, PAGE.stop, sighted)]))
        changed = apply_halts(known, Intervals([PAGE])).ledger
        assert states(changed) == state * 10
        assert changed.at(T0) == (
            Finding(State.HALTED, Reason.HALTED_TWICE, last, last, 2, last + HOUR) if state == "h" else sighted
        )


@pytest.mark.parametrize("spans", [[(0, 0)], [(2, 1)], [(0, 2), (1, 3)], [(2, 3), (0, 1)]])
def test_a_ledger_refuses_disorder(spans):
    note = Finding(State.EMPTY, Reason.ABSENT_TWICE, 0, 0, 1, None)
    with pytest.raises(ValueError, match=r"interval \d\.\.\d is empty or begins before the end of the one before"):
        Ledger(FindingInterval(start, stop, note) for start, stop in spans)


def test_nothing_is_known_inside_an_empty_interval():
    ledger = Ledger([FindingInterval(0, 120_000, Finding(State.MISSING, Reason.ABSENT_ONCE, 0, 0, 1, 0))])
    assert list(ledger.within(Interval(60_000, 60_000))) == []


def test_a_candle_that_the_exchange_doubts_is_suspect_until_an_answer_agrees():
    first = judged_present(Ledger(), LONG_AFTER, [0, 1])
    assert first.at(T0) == Finding(State.SUSPECT, Reason.VALUES_DIFFER, LONG_AFTER, LONG_AFTER, 1, LONG_AFTER)
    assert states(first) == "ss........"
    later = LONG_AFTER + HOUR
    again = judged_present(first, later, [1])
    assert again.at(T0) is None
    assert again.at(T0 + STEP) == Finding(State.SUSPECT, Reason.VALUES_DIFFER, LONG_AFTER, later, 2, later)
    assert judged_present(again, later, []) == Ledger()


def test_a_suspect_that_an_answer_lacks_stays_suspect():
    known = judged_present(Ledger(), LONG_AFTER, [1])
    after = judged_present(known, LONG_AFTER + HOUR, [], [0, *range(2, 10)])
    assert states(after) == ".s........"


def test_a_suspect_whose_candle_is_gone_is_a_slot_that_exists():
    suspect = Finding(State.SUSPECT, Reason.VALUES_DIFFER, T0, T0, 1, T0)
    known = Ledger([FindingInterval(at(1)[0], at(2)[0], suspect)])
    assert states(judged(at(0, 9), ledger=known).known.ledger) == ".eeeeeeee."
    seen = judge(Knowledge(known, exists=Intervals([Interval(*at(1, 2))])), answer(at(0, 9), LONG_AFTER), NOTHING,
                 REFERENCE, STEP)  # fmt: skip
    assert seen.is_contradicted
