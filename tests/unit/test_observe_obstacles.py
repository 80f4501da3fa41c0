"""Why slots are not ready: sorted by what is known of them, and told in one vocabulary."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.observe.obstacles import Obstacle, cure_of, describe_obstacles
from reconciler_engine.observe.series_state import count_obstacles, obstacles_of
from reconciler_engine.observe.status import SeriesCoverage
from reconciler_engine.planning.known_slots import extend
from reconciler_engine.planning.ledger import Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.planning.sightings import APART_MS
from reconciler_engine.planning.states import find_obstacles

STEP = 60_000
WINDOW = Interval(0, 20 * STEP)


def slots(*numbers: int) -> Intervals:
    return Intervals.of_slots([number * STEP for number in numbers], STEP)


def ledger(*findings: tuple[State, Reason, int]) -> Ledger:
    """One slot each, with the time between its first and last sighting."""
    return Ledger(
        FindingInterval(slot * STEP, (slot + 1) * STEP, Finding(state, reason, 0, apart, 1, 0))
        for slot, (state, reason, apart) in enumerate(findings)
    )


@pytest.mark.parametrize(
    ("state", "reason", "apart", "obstacle"),
    [
        (State.MISSING, Reason.ABSENT_ONCE, 0, Obstacle.SECOND_SIGHTING),
        (State.MISSING, Reason.AMONG_WITNESSES_ONCE, APART_MS - 1, Obstacle.SECOND_SIGHTING),
        (State.MISSING, Reason.ABSENT_ONCE, APART_MS, Obstacle.REFERENCE),
        (State.MISSING, Reason.ROW_UNUSABLE, APART_MS, Obstacle.UNUSABLE),
        (State.MISSING, Reason.WITHDRAWN, 0, Obstacle.WITHDRAWN),
        (State.EMPTY, Reason.ABSENT_TWICE, 0, Obstacle.NOT_ASKED),
        (State.SUSPECT, Reason.VALUES_DIFFER, 0, Obstacle.VALUES_DIFFER),
        (State.SUSPECT, Reason.SECOND_ANSWER, 0, Obstacle.SECOND_ANSWER),
        (State.SUSPECT, Reason.LACKED_ONCE, 0, Obstacle.LACKED),
        (State.SUSPECT, Reason.NOT_AT_EXCHANGE, 0, Obstacle.NOT_AT_EXCHANGE),
        (State.SUSPECT, Reason.CONTESTED, 0, Obstacle.CONTESTED),
        (State.SUSPECT, Reason.BY_HAND, 0, Obstacle.DOUBTED),
    ],
)
def test_each_reason_has_its_obstacle(state, reason, apart, obstacle):
    missing = NOTHING if state is State.SUSPECT else slots(0)
    assert find_obstacles(missing, WINDOW, ledger((state, reason, apart))) == {obstacle: slots(0)}


def test_a_suspect_candle_that_is_gone_is_missing():
    known = ledger((State.SUSPECT, Reason.CONTESTED, 0), (State.MISSING, Reason.ABSENT_ONCE, 0))
    assert find_obstacles(slots(0), WINDOW, known) == {Obstacle.NOT_ASKED: slots(0)}


def test_all_that_is_missing_of_a_delisted_product_is_so_for_that():
    known = ledger((State.MISSING, Reason.ABSENT_ONCE, 0), (State.SUSPECT, Reason.CONTESTED, 0))
    found = find_obstacles(slots(0, 3), WINDOW, known, is_delisted=True)
    assert found == {Obstacle.DELISTED: slots(0, 3), Obstacle.CONTESTED: slots(1)}


def test_slots_are_told_by_state_with_their_reasons():
    counts = {Obstacle.NOT_ASKED: 3, Obstacle.REFERENCE: 2, Obstacle.CONTESTED: 1, Obstacle.LACKED: 4}
    assert describe_obstacles(counts) == [
        "5 missing (2 waiting for a reference)", "5 suspect (4 lacked once, 1 contested)",
    ]  # fmt: skip
    assert describe_obstacles({Obstacle.NOT_ASKED: 2, Obstacle.DOUBTED: 1, Obstacle.CONTESTED: 0}) == [
        "2 missing", "1 suspect",
    ]  # fmt: skip
    assert describe_obstacles({Obstacle.UNVERIFIED: 4, Obstacle.LACKED: 1}) == [
        "1 suspect (lacked once)", "4 unverified",
    ]  # fmt: skip
    assert describe_obstacles({}) == []


def test_series_are_counted_together_and_words_of_another_version_left_out():
    one = SeriesCoverage(
        complete_from=0, complete_through=0, missing=5, checked_at=0,
        obstacles={"waiting for a reference": 2, "contested": 1, "of another version": 9},
    )  # fmt: skip
    unknown = SeriesCoverage(complete_from=None, complete_through=None, missing=None, checked_at=0)
    assert obstacles_of(one) == {Obstacle.REFERENCE: 2, Obstacle.CONTESTED: 1, Obstacle.NOT_ASKED: 3}
    counts = count_obstacles({"a": one, "b": one, "c": unknown})
    assert counts.keys() == set(Obstacle)
    assert (counts[Obstacle.NOT_ASKED], counts[Obstacle.CONTESTED]) == (6, 2)


def test_a_pass_that_looks_for_gaps_alone_leaves_suspects_as_they_were():
    seen = {Obstacle.CONTESTED: slots(5, 15), Obstacle.REFERENCE: slots(2, 16)}
    wide = extend(None, WINDOW, slots(2, 16), seen)
    narrow = Interval(10 * STEP, 22 * STEP)
    assert extend(wide, narrow, NOTHING, None).obstacles == {
        Obstacle.CONTESTED: slots(5, 15), Obstacle.REFERENCE: slots(2),
    }  # fmt: skip
    assert extend(wide, narrow, NOTHING, {}).obstacles == {Obstacle.CONTESTED: slots(5), Obstacle.REFERENCE: slots(2)}
    assert extend(wide, WINDOW, NOTHING, {}).obstacles == {}


@pytest.mark.parametrize("reason", [*Obstacle, "not a candle", "fewer members"])
def test_each_reason_has_a_cure_of_its_own(reason):
    assert cure_of(reason) != cure_of("WRONGTYPE")
