"""Slots that are due, missed or left alone: tables over a single decision."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.ticks import Decision, Missed, Position, Schedule, Tick, TickReason, decide

NEW_YORK = ZoneInfo("America/New_York")
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()) * SECOND

FIVE = Schedule(CronExpression.parse("*/5 * * * *"))
DAILY = Schedule(CronExpression.parse("0 12 * * *"))


def judge(schedule: Schedule, decided: int, now: int, *, last_reading: int | None = None, era: int = 0) -> Decision:
    return decide("job", schedule, Position(decided, era), decided if last_reading is None else last_reading, now)


def test_nothing_is_due_before_the_next_slot() -> None:
    decision = judge(FIVE, NOON, NOON + 5 * MINUTE - 1)
    assert decision == Decision(Position(NOON + 5 * MINUTE - 1), None, None, NOON + 5 * MINUTE)


def test_a_slot_is_run_at_its_instant() -> None:
    decision = judge(FIVE, NOON, NOON + 5 * MINUTE)
    run = Tick("job", NOON + 5 * MINUTE, TickReason.SLOT)
    assert decision == Decision(Position(NOON + 5 * MINUTE), run, None, NOON + 10 * MINUTE)


def test_a_decided_slot_does_not_come_again() -> None:
    assert judge(FIVE, NOON, NOON).run is None


def test_a_late_slot_keeps_its_name() -> None:
    decision = judge(FIVE, NOON, NOON + 9 * MINUTE)
    assert decision.run == Tick("job", NOON + 5 * MINUTE, TickReason.SLOT)
    assert decision.missed is None


def test_a_backlog_is_one_run_and_the_rest_missed() -> None:
    decision = judge(FIVE, NOON, NOON + HOUR + 90 * SECOND)
    assert decision.run == Tick("job", NOON + HOUR, TickReason.COALESCED)
    assert decision.missed == Missed(NOON + 5 * MINUTE, NOON + 55 * MINUTE, 11)
    assert decision.next_slot == NOON + 65 * MINUTE


@pytest.mark.parametrize(("late", "runs"), [(0, True), (60 * SECOND, True), (60 * SECOND + 1, False)])
def test_the_grace_decides_whether_the_newest_still_runs(late: int, *, runs: bool) -> None:
    schedule = Schedule(FIVE.expression, misfire_grace=60 * SECOND)
    decision = judge(schedule, NOON, NOON + HOUR + late)
    assert (decision.run is not None) == runs
    assert decision.missed == Missed(NOON + 5 * MINUTE, NOON + (55 if runs else 60) * MINUTE, 11 if runs else 12)
    assert judge(schedule, NOON, NOON + 5 * MINUTE + late).missed == (
        None if runs else Missed(NOON + 5 * MINUTE, NOON + 5 * MINUTE, 1)
    )


def test_the_default_grace_is_the_interval() -> None:
    eight_hours = judge(DAILY, NOON - HOUR, NOON + 7 * HOUR)
    assert eight_hours.run == Tick("job", NOON, TickReason.SLOT)


@pytest.mark.parametrize(
    ("text", "jump", "count"),
    [("* * * * * *", 365 * DAY, 365 * 86_400), ("* * * * *", 10_000 * DAY, 10_000 * 1_440), ("@yearly", 10 * DAY, 0)],
)
@pytest.mark.parametrize("tz", [UTC, NEW_YORK])
def test_a_backlog_of_any_length_is_counted_by_arithmetic(
    monkeypatch: pytest.MonkeyPatch, text: str, jump: int, count: int, tz: ZoneInfo
) -> None:
    asked = 0
    search = CronExpression.next_after

    def counted(self: CronExpression, instant: int, zone: ZoneInfo) -> int:
        nonlocal asked
        asked += 1
        return search(self, instant, zone)

    monkeypatch.setattr(CronExpression, "next_after", counted)
    decision = judge(Schedule(CronExpression.parse(text), tz), NOON, NOON + jump)
    assert (decision.missed.count if decision.missed else 0) + (decision.run is not None) == count
    assert decision.run is None or decision.run.slot == NOON + jump
    assert asked < 300


@pytest.mark.parametrize("back", [1, SECOND, 59 * SECOND])
def test_a_clock_that_is_slewed_stands_still(back: int) -> None:
    for schedule in (FIVE, DAILY):
        decision = judge(schedule, NOON, NOON - back)
        assert decision.position == Position(NOON)
        assert (decision.run, decision.missed) == (None, None)
    again = judge(FIVE, NOON, NOON + 5 * MINUTE, last_reading=NOON - back)
    assert again.run == Tick("job", NOON + 5 * MINUTE)


@pytest.mark.parametrize("back", [60 * SECOND, HOUR, 3 * HOUR - 1])
def test_a_step_back_of_less_than_three_hours_never_repeats_a_fixed_time(back: int) -> None:
    stepped = judge(DAILY, NOON, NOON - back)
    assert stepped.position == Position(NOON)
    once_more = decide("job", DAILY, stepped.position, NOON - back, NOON + MINUTE)
    assert (once_more.run, once_more.missed) == (None, None)
    assert once_more.next_slot == NOON + DAY


@pytest.mark.parametrize("back", [60 * SECOND, HOUR, 3 * HOUR - 1])
def test_after_a_step_back_the_wall_clock_is_followed_in_a_new_era(back: int) -> None:
    stepped = judge(FIVE, NOON, NOON - back)
    assert stepped.position == Position(NOON - back, era=1)
    again = decide("job", FIVE, stepped.position, NOON - back, NOON)
    assert again.run is not None
    assert (again.run.slot, again.run.era) == (NOON, 1)


@pytest.mark.parametrize("schedule", [FIVE, DAILY])
def test_a_larger_step_back_rebases_every_job(schedule: Schedule) -> None:
    stepped = judge(schedule, NOON, NOON - 3 * HOUR)
    assert stepped.position == Position(NOON - 3 * HOUR, era=1)
    assert (stepped.run, stepped.missed) == (None, None)
    again = decide("job", schedule, stepped.position, NOON - 3 * HOUR, NOON)
    assert again.run is not None
    assert again.run.slot == NOON


def test_several_small_steps_back_do_not_repeat_a_fixed_time() -> None:
    position = Position(NOON)
    reading = NOON
    for _ in range(3):
        decision = decide("job", DAILY, position, reading, reading - 2 * HOUR)
        assert (decision.run, decision.missed) == (None, None)
        position, reading = decision.position, reading - 2 * HOUR
    assert decide("job", DAILY, position, reading, NOON).run is None


def test_a_schedule_that_ends_has_no_next_slot() -> None:
    ended = int(datetime(9999, 1, 2, tzinfo=UTC).timestamp()) * SECOND
    decision = judge(Schedule(CronExpression.parse("@yearly")), ended, ended + DAY)
    assert decision == Decision(Position(ended + DAY), None, None, None)


@pytest.mark.parametrize(
    ("text", "instant", "interval"),
    [
        ("*/5 * * * *", NOON, 5 * MINUTE),
        ("*/5 * * * *", NOON + 1, 5 * MINUTE),
        ("0 9,12 * * *", NOON, 21 * HOUR),
        ("0 9,12 * * *", NOON - 3 * HOUR, 3 * HOUR),
    ],
)
def test_interval_at(text: str, instant: int, interval: int) -> None:
    assert Schedule(CronExpression.parse(text)).interval_at(instant) == interval


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 1,2,3 * * *", "15 */2 * * 1-5", "*/20 * * * * *"]),
    st.lists(st.integers(-5 * HOUR, 8 * HOUR), min_size=1, max_size=12),
    st.sampled_from([None, 0, MINUTE, HOUR]),
)
def test_every_slot_of_an_era_is_decided_once(text: str, moves: list[int], grace: int | None) -> None:
    """However the readings jump, the slots of an era are those between its begin and the last decision."""
    schedule = Schedule(CronExpression.parse(text), NEW_YORK, grace)
    # The night of a clock change.
    reading = int(datetime(2026, 11, 1, 4, tzinfo=UTC).timestamp()) * SECOND
    position = Position(reading)
    begins, ended = {0: reading}, {0: 0}
    for move in moves:
        before, now = position, reading + move
        decision = decide("job", schedule, position, reading, now)
        position, reading = decision.position, now
        if position.era != before.era:
            begins[position.era], ended[position.era] = now, 0
            continue
        ended[position.era] += (decision.missed.count if decision.missed else 0) + (decision.run is not None)
        assert ended[position.era] == schedule.expression.count(begins[position.era], position.decided, NEW_YORK)
        if decision.missed:
            assert decision.missed.first == schedule.next_after(before.decided)
            last = decision.run.slot if decision.run else schedule.next_after(decision.missed.last)
            assert schedule.next_after(decision.missed.last) == last
            inside = schedule.expression.count(decision.missed.first - 1, decision.missed.last, NEW_YORK)
            assert inside == decision.missed.count
        if decision.run:
            assert grace is None or now - decision.run.slot <= grace
            assert decision.next_slot == schedule.next_after(decision.run.slot)
