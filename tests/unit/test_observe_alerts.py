"""Alerts of each state, told once at its beginning and once at its end."""

from __future__ import annotations

import pytest
from tests.unit.test_observe_readiness import budget, engine, job, report, worker

from reconciler_engine.observe.alerts import (
    OF_ENGINE,
    OF_SERIES,
    QUIET_MS,
    Alert,
    AlertBook,
    Condition,
    EngineConditions,
    conditions_of,
)
from reconciler_engine.observe.objective import BarCounts, Objective
from reconciler_engine.observe.readiness import checks
from reconciler_engine.observe.status import SeriesCoverage

ONE = Condition(Alert.SERIES, "A-USD:1m", "3 missing")
OTHER = ONE._replace(subject="B-USD:1m")


def told(said, conditions: EngineConditions | None = None, now: int = 0) -> list[tuple[str, str]]:
    found = (conditions or EngineConditions("here")).of(said, checks(said, 0), now)
    return [(one.alert.value, one.subject) for one in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"stage": "stopping"}, []),
        ({"redis_error": "connection refused", "processes": ()}, [("engine_not_ready", "here")]),
        ({"processes": (worker(pid=None, last_beat_ms=None),)}, [("engine_not_ready", "here")]),
        ({"engine": engine(jobs=(job(failure="failed: boom"), job(name="verify", failure="x")))},
         [("engine_not_ready", "here")]),
        ({"processes": (worker(), worker(role="feeder", state="failed", last_exit="SIGKILL"))},
         [("role_given_up", "here feeder")]),
        ({"engine": engine(budget=budget(breaker="stopped", trouble=401), jobs=(job(failure="failed: 401"),))},
         [("key_refused", "key")]),
        ({"engine": engine(budget=budget(breaker="gone"), jobs=(job(degraded="x"),))}, [("exchange_gone", "exchange")]),
        ({"engine": engine(budget=budget(breaker="probing", trouble=503))}, []),
        ({"engine": engine(budget=budget(wait_ms=60_000))}, [("budget_starved", "budget")]),
        ({"engine": engine(budget=budget(wait_ms=59_999))}, []),
    ],
)  # fmt: skip
def test_one_cause_is_one_condition(changes, expected):
    assert told(report(**changes)) == expected


def test_an_exchange_withholds_that_lacked_known_candles_three_times_in_ten_minutes():
    conditions = EngineConditions("here")

    def at(minutes: int, count: int) -> list[tuple[str, str]]:
        return told(report(figures={"contradicted_answers_total": [count]}), conditions, minutes * 60_000)

    assert at(0, 5) == []
    assert at(9, 7) == []
    assert at(10, 8) == [("exchange_withholds", "exchange")]
    assert at(21, 8) == []


def covered(missing: int | None, **obstacles: int) -> SeriesCoverage:
    return SeriesCoverage(
        complete_from=None,
        complete_through=None,
        missing=missing,
        checked_at=0,
        obstacles={name.replace("_", " "): count for name, count in obstacles.items()},
    )


def test_series_that_only_wait_as_thin_products_do_alarm_nobody():
    series = {
        "A:1m": covered(0),
        "B:1m": covered(2, waiting_for_a_second_sighting=2),
        "C:1m": covered(2, waiting_for_a_second_sighting=1),
        "D:1m": covered(None),
        "E:1m": covered(0, contested=3),
        "F:1m": covered(0, unverified=1),
    }
    objective = Objective(0.999, 1, {"1m": {"1h": BarCounts(100, 50)}, "5m": {"1h": BarCounts(100)}})
    found = conditions_of(series, objective)
    assert [(one.alert.value, one.subject) for one in found] == [
        *(("series_not_ready", f"{name}:1m") for name in "CDEF"),
        ("contested_slots", "E:1m"),
        ("slo_burning", "1m"),
    ]
    assert "burns 500.0 over 1h" in found[-1].detail


class Book:
    """An alert book, looked into at instants."""

    def __init__(self, after_ms: int = 0) -> None:
        self.book = AlertBook()
        self.after_ms = after_ms

    def look(self, now: int, *conditions: Condition, kinds=OF_SERIES) -> list[tuple[str, bool, int]]:
        found = self.book.look(conditions, kinds, now, lambda _: self.after_ms)
        return [(one.condition.subject, one.is_over, one.since) for one in found]


def test_a_condition_is_told_once_when_it_has_stood_and_once_when_it_is_over():
    book = Book(after_ms=900_000)
    assert book.look(0, ONE) == []
    assert book.look(899_999, ONE) == []
    assert book.look(900_000, ONE, OTHER) == [("A-USD:1m", False, 0)]
    assert book.look(1_000_000, ONE, OTHER) == []
    # A look at other kinds says nothing of these.
    assert book.look(5_000_000, kinds=OF_ENGINE) == []
    assert book.look(5_000_000, ONE, OTHER) == [("B-USD:1m", False, 900_000)]
    assert book.look(5_000_000 + QUIET_MS - 1, OTHER) == []
    assert book.look(5_000_000 + QUIET_MS, OTHER) == [("A-USD:1m", True, 0)]
    assert book.look(6_000_000, ONE, OTHER) == []


def test_what_comes_and_goes_within_its_time_is_not_told():
    book = Book(after_ms=900_000)
    for now in range(0, 3_000_000, 600_000):
        assert book.look(now, ONE) == []
        assert book.look(now + 300_000) == []


def test_a_flapping_condition_is_told_once():
    book = Book()
    assert book.look(0, ONE) == [("A-USD:1m", False, 0)]
    assert [book.look(now, *([ONE] if now % 20_000 else [])) for now in range(10_000, 300_000, 10_000)] == [[]] * 29


def test_series_wait_anew_behind_another_cause_and_told_alerts_are_taken_over():
    book = Book(after_ms=900_000)
    book.book.adopt(OTHER, 7, 0)
    assert book.look(0, ONE, OTHER) == []
    book.book.hold(Alert.SERIES)
    assert book.look(900_000, ONE, OTHER) == []
    assert book.look(1_800_000, ONE, OTHER) == [("A-USD:1m", False, 900_000)]
    assert book.book.stands(frozenset({Alert.SERIES}))
    assert book.look(1_860_000, ONE) == [("B-USD:1m", True, 7)]
