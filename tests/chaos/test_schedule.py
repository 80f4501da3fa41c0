"""A seed is a schedule, the same each time; and the check of the budget can fail."""

from __future__ import annotations

from tests.chaos.invariants import budget_excess
from tests.chaos.schedule import RULES, Fault, draw_schedule


def test_a_seed_gives_the_same_blows_each_time_and_another_seed_others():
    schedules = [draw_schedule(seed, list(Fault), within_s=1.0) for seed in range(200)]
    assert schedules == [draw_schedule(seed, list(Fault), within_s=1.0) for seed in range(200)]
    assert len(set(schedules)) == 200
    drawn = [blow for blows in schedules for blow in blows]
    assert {blow.fault for blow in drawn} == set(Fault)
    for fault, rules in RULES.items():
        assert {blow.rule for blow in drawn if blow.fault is fault} == set(range(len(rules)))
    assert all(list(blows) == sorted(blows, key=lambda blow: blow.at_s) for blows in schedules)


def test_the_budget_is_exceeded_by_what_no_window_allows():
    paced = [number / 10 for number in range(100)]
    assert budget_excess(paced, 10, 0) <= 1
    # a burst of ten, then the pace: allowed from the first instant on
    assert budget_excess([0.0] * 10 + [1 + at for at in paced], 10, 0) <= 1
    # eleven more at once in the middle of the pace
    assert round(budget_excess([*paced, *[5.05] * 11], 10, 0)) == 2
    assert budget_excess([*paced, *[5.05] * 11], 10, 0.2) <= 1
