"""Bridges hold whole runs with their candles, each slot at most once, and are never beaten by a brute force."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.bridges import bridges
from reconciler_engine.planning.ledger import Knowledge, State
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import RIPE_MS

STEP = 60_000
SLOTS = 40
WINDOW = Interval(0, SLOTS * STEP)
MISSING, CONFIRMED, CANDLE = "m", "c", "."


def spans(world: str, *kinds: str) -> Intervals:
    return Intervals.of_slots([slot * STEP for slot, kind in enumerate(world) if kind in kinds], STEP)


def runs(world: str) -> list[range]:
    """Slots without a candle in a row, with one on each side."""
    edges = [slot for slot, kind in enumerate(world) if kind == CANDLE]
    return [range(older + 1, newer) for older, newer in pairwise(edges) if newer > older + 1]


def fewest(wanted: tuple[range, ...], limit: int) -> int:
    """The least number of pages that each hold whole runs, by trying every way to share them out."""

    @cache
    def best(first: int) -> int:
        if first == len(wanted):
            return 0
        fitting = (
            last for last in range(first, len(wanted)) if wanted[last].stop + 1 - wanted[first].start + 1 <= limit
        )
        return 1 + min(best(last + 1) for last in fitting)

    return best(0)


@given(
    world=st.text(MISSING + CONFIRMED + CANDLE, min_size=SLOTS, max_size=SLOTS),
    unanswered=st.sets(st.integers(0, SLOTS - 1), max_size=3),
    limit=st.integers(3, 12),
    age=st.integers(0, SLOTS + 5),
)
def test_bridges_are_exact_provable_and_minimal(world, unanswered, limit, age):
    now = RIPE_MS + age * STEP
    answered = Intervals.of_slots([slot * STEP for slot in range(SLOTS) if slot not in unanswered], STEP)
    pages = bridges(spans(world, MISSING), spans(world, CONFIRMED), answered, WINDOW, now, STEP, limit=limit)
    wanted = [
        run
        for run in runs(world)
        if any(world[slot] == MISSING for slot in run)
        and not any(world[slot] == MISSING and slot in unanswered for slot in run)
        and len(run) + 2 <= limit
        and run.stop <= age
    ]
    asked = sorted(at // STEP for page in pages for at in page.wanted.slots(STEP))
    assert asked == [slot for run in wanted for slot in run if world[slot] == MISSING]
    assert len(pages) == fewest(tuple(wanted), limit)
    # but for the candle between two of them
    assert all(newer.interval.start >= older.interval.stop - STEP for newer, older in pairwise(pages))
    for page in pages:
        assert len(page.interval.grid(STEP)) <= limit
        rows = [at for at in page.interval.grid(STEP) if world[at // STEP] == CANDLE]
        answer = Answer(page.interval, max(now, WINDOW.stop + RIPE_MS), Intervals.of_slots(rows, STEP))
        ledger = judge(Knowledge(), answer, NOTHING, Venue(has_reference=True), STEP).known.ledger
        settled = ledger.where(page.interval, lambda finding: finding.state is State.EMPTY)
        assert settled == ledger.where(page.interval, lambda _: True)


def test_what_lies_at_the_end_of_what_was_looked_at_is_no_run_of_its_own():
    missing = spans("mm.mm.mm", MISSING)
    whole = Interval(0, 8 * STEP)
    pages = bridges(missing, NOTHING, Intervals([whole]), whole, RIPE_MS + 100 * STEP, STEP)
    assert [page.interval for page in pages] == [Interval(2 * STEP, 6 * STEP)]


def test_slots_of_which_an_answer_told_with_both_neighbours_are_not_asked_for_again():
    missing, whole = spans("..mmm...", MISSING), Interval(0, 8 * STEP)
    now = RIPE_MS + 100 * STEP
    for asked, found in (
        (Interval(STEP, 6 * STEP), 0),
        (Interval(2 * STEP, 6 * STEP), 1),
        (Interval(STEP, 5 * STEP), 1),
    ):
        assert len(bridges(missing, NOTHING, Intervals([whole]), whole, now, STEP, asked=[asked])) == found
