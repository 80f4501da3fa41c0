"""Promises that the budget keeps under losses, pauses, late and cancelled users, a clock set back."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import example, given
from hypothesis import strategies as st
from tests.limiter_model.token_bucket import (
    Bucket,
    Granted,
    Reservation,
    awake,
    confirm,
    push_back,
    reserve,
    share_ppm,
    slow_down,
)

from reconciler_engine.limiting.budget import WHOLE_PPM, Budget

START = 1_764_000_000_000_000

budgets = st.builds(Budget, burst=st.integers(1, 12), period_ms=st.integers(20, 3000))


@dataclass(frozen=True)
class Phase:
    """Some time passes, something happens, then a crowd asks at once and uses its permits late."""

    event: str
    event_us: int
    crowd: int
    cancelled: int
    late_share: float


# Lateness and pauses are shares of what the budget allows, so that the worst cases are met often.
phases = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.5, 1.0, 1.2, 5.0, 40.0]),
        st.builds(
            Phase,
            event=st.sampled_from(["none", "none", "none", "lose", "push", "refuse", "clock back"]),
            event_us=st.sampled_from([1_009, 200_003, 1_000_003, 60_000_011]),
            crowd=st.integers(0, 20),
            cancelled=st.integers(0, 3),
            late_share=st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0, 1.3]),
        ),
    ),
    min_size=1,
    max_size=10,
)


@dataclass
class Play:
    """A history being played: the real time, the server's clock, who waits, when permits were used."""

    budget: Budget
    real: int = START
    clock_error: int = 0
    bucket: Bucket | None = None
    uses: list[int] = field(default_factory=list)
    waiters: list[tuple[int, int, Reservation]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=itertools.count)

    def run(self, phase: Phase) -> None:
        match phase.event:
            case "lose":
                # A bucket's name is its first microsecond: no server is lost and back within one.
                self.real += 1
                self.bucket = None
            case "push":
                self.bucket = push_back(self.bucket, self.now, self.budget.limits, phase.event_us)
            case "refuse":
                self.bucket = slow_down(awake(self.bucket, self.now, self.budget.limits), 429)
            case "clock back":
                self.clock_error -= phase.event_us
        late_us = int(self.budget.lateness_us * phase.late_share)
        for number in range(phase.crowd):
            self.bucket, answer = reserve(self.bucket, self.now, self.budget.limits, 5_000_000)
            if not isinstance(answer, Reservation) or number < phase.cancelled:
                continue
            if answer.wait_us == 0:
                # The user gave it up if it came too late; see Permit.is_valid.
                self.uses.extend([self.real + late_us] * (late_us <= self.budget.lateness_us))
            else:
                heapq.heappush(self.waiters, (self.real + answer.wait_us + late_us, next(self.order), answer))

    def wait(self, duration_us: int) -> None:
        end = self.real + duration_us
        while self.waiters and self.waiters[0][0] <= end:
            self.real, _, reservation = heapq.heappop(self.waiters)
            self.bucket, verdict = confirm(self.bucket, self.now, reservation, self.budget.lateness_us)
            if isinstance(verdict, Granted):
                self.uses.append(self.real)
        self.real = end

    @property
    def now(self) -> int:
        return self.real + self.clock_error


def used(budget: Budget, history: list[tuple[float, Phase]], unit_us: int) -> list[int]:
    """Return the real instants at which permits were used."""
    play = Play(budget)
    for share, phase in history:
        play.wait(int(unit_us * share))
        play.run(phase)
    play.wait(10_000_000)
    return sorted(play.uses)


def most_in_any_window(instants: list[int], window_us: int) -> int:
    most, first = 0, 0
    for last, instant in enumerate(instants):
        while instants[first] <= instant - window_us:
            first += 1
        most = max(most, last - first + 1)
    return most


def crowd(size: int, late_share: float) -> Phase:
    return Phase("none", 0, size, 0, late_share)


@example(
    # The worst case of lateness: a whole burst used as late as allowed, when the bucket has begun to fill again.
    budget=Budget(burst=12, period_ms=300),
    history=[(0.0, crowd(1, 0.0)), (40.0, crowd(12, 1.0)), (1.0, crowd(12, 0.0))],
    window_us=1,
)
@given(budget=budgets, history=phases, window_us=st.sampled_from([1, 100_000, 1_000_000, 10_000_000]))
def test_no_window_sees_more_than_burst_plus_rate_times_window_plus_one(
    budget: Budget, history: list[tuple[float, Phase]], window_us: int
) -> None:
    most = most_in_any_window(used(budget, history, budget.lateness_us), window_us)
    assert most <= budget.burst + window_us / (budget.period_ms * 1000 / budget.burst) + 1


@example(
    # The worst case: the bucket has filled, then somebody takes every permit as soon as there is one.
    hourly=60,
    history=[(0.0, crowd(1, 0.0)), (10.0, crowd(20, 0.0)), *[(0.05, crowd(2, 0.0))] * 120],
)
@given(hourly=st.integers(2, 60), history=phases)
def test_no_hour_sees_more_than_its_limit(hourly: int, history: list[tuple[float, Phase]]) -> None:
    budget = Budget(burst=20, period_ms=10, hourly=hourly)
    assert most_in_any_window(used(budget, history, 720_000_000), 3_600_000_000) <= hourly


@given(budget=budgets, count=st.integers(1, 200))
def test_a_full_queue_is_served_at_the_full_rate(budget: Budget, count: int) -> None:
    """The bounds above are not kept by being slow."""
    bucket: Bucket | None = None
    last = START
    for _ in range(count):
        bucket, answer = reserve(bucket, START, budget.limits, 3_600_000_000)
        assert isinstance(answer, Reservation)
        last = answer.slot
    assert last - START == count * budget.limits[0].interval_us


@given(refusals=st.lists(st.integers(0, 200_000_000), max_size=30))
def test_a_refused_rate_stays_between_a_sixteenth_and_the_whole_and_recovers(refusals: list[int]) -> None:
    budget = Budget(burst=5, period_ms=1_000)
    bucket = Bucket.empty(START, budget.limits)
    for after_us in refusals:
        bucket = slow_down(awake(bucket, bucket.seen + after_us, budget.limits), 429)
        before = share_ppm(bucket)
        assert WHOLE_PPM // 16 <= before <= WHOLE_PPM // 2
        for elapsed_us in (0, 1_000_000, 10_000_000):
            now = share_ppm(replace(bucket, seen=bucket.seen + elapsed_us))
            assert now == min(WHOLE_PPM, before + elapsed_us // 100)
    assert share_ppm(replace(bucket, seen=bucket.seen + 93_750_000)) == WHOLE_PPM
