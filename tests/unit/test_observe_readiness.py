"""Alive and of use: each thing that must hold, what breaks it, and what is said then."""

from __future__ import annotations

import pytest

from reconciler_engine.observe.readiness import checks, is_live, is_ready, state_of
from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, ProcessStatus, Report

NOW = 1_000_000


def worker(**changes) -> ProcessStatus:
    return ProcessStatus.model_validate({"role": "worker", "name": "w", "pid": 8, "last_beat_ms": 400, **changes})


def job(**changes) -> JobStatus:
    values = {
        "name": "gap_scan", "cron": "*/5 * * * *", "next_tick": NOW + 5_000, "is_running": False, "runs": 1,
        "skipped": 0, "missed": 0, "failed": 0, "timed_out": 0, "last_outcome": "done", "last_success_at": NOW - 9_000,
    }  # fmt: skip
    return JobStatus.model_validate({**values, **changes})


def engine(**changes) -> EngineStatus:
    values = {
        "node": "a:1", "command": "start", "version": "1", "simulated": False, "user_id": 1, "exchange_id": 1,
        "source": "exchange", "started_at": 0, "written_at": NOW, "processes": (), "jobs": (job(),), "budget": None,
    }  # fmt: skip
    return EngineStatus.model_validate({**values, **changes})


def budget(**changes) -> BudgetStatus:
    values = {
        "rate_per_s": 5, "burst": 5, "available": 2, "used": 60, "granted": 99, "waiting": 1, "wait_ms": 200,
        "paused_ms": 0,
    }  # fmt: skip
    return BudgetStatus.model_validate({**values, **changes})


def report(**changes) -> Report:
    values = {"stage": "running", "processes": (worker(),), "engine": engine(), "redis_silent_ms": 900}
    return Report.model_validate({**values, **changes})


def test_an_engine_at_work_is_ready_and_says_how_it_stands():
    found = checks(report(), 0.4)
    assert is_ready(found)
    assert {check.name: check.detail for check in found} == {
        "supervisor": "last report 0.4 s ago",
        "stage": "running",
        "redis": "last stored the status 0.9 s ago",
        "workers": "1 of 1 ready",
        "roles": "none given up",
        "job gap_scan": "went well 9.0 s ago",
    }


@pytest.mark.parametrize(
    ("changes", "age_s", "name", "detail"),
    [
        ({}, 5.0, "supervisor", "last report 5.0 s ago"),
        ({"stage": "stopping"}, 0, "stage", "stopping"),
        ({"stage": "starting", "engine": None}, 0, "stage", "starting"),
        ({"redis_silent_ms": 3_000}, 0, "redis", "last stored the status 3.0 s ago"),
        ({"redis_silent_ms": None}, 0, "redis", "has not stored a status yet"),
        ({"redis_error": "connection refused"}, 0, "redis", "connection refused"),
        ({"processes": ()}, 0, "workers", "0 of 0 ready"),
        ({"processes": (worker(pid=None, last_beat_ms=None),)}, 0, "workers", "0 of 1 ready"),
        ({"processes": (worker(last_beat_ms=3_000),)}, 0, "workers", "0 of 1 ready"),
        ({"processes": (worker(), worker(role="feeder", state="failed", last_exit="SIGKILL"))}, 0, "roles",
         "feeder given up after SIGKILL"),
        ({"engine": engine(budget=budget(breaker="stopped", trouble=401, stopped_ms=60_000))}, 0, "exchange",
         "refused the key (HTTP 401): no requests for 1 m 0 s"),
        ({"engine": engine(jobs=(job(last_outcome="missed", failure="failed: boom"),))}, 0, "job gap_scan",
         "its last run failed: boom"),
        ({"engine": engine(jobs=(job(last_outcome="skipped", failure="timed out: late"),))}, 0, "job gap_scan",
         "its last run timed out: late"),
        ({"engine": engine(jobs=(job(next_tick=NOW - 60_001),))}, 0, "job gap_scan", "its tick is 1 m 0 s late"),
    ],
)  # fmt: skip
def test_each_thing_that_does_not_hold_is_the_reason(changes, age_s, name, detail):
    found = checks(report(**changes), age_s)
    assert [(check.name, check.detail) for check in found if not check.ok] == [(name, detail)]


@pytest.mark.parametrize(
    "changes",
    [
        {"last_outcome": None, "last_success_at": None},
        {"last_outcome": "skipped", "last_success_at": None},
        {"last_outcome": "missed"},
        {"next_tick": None},
        {"next_tick": NOW - 60_000},
    ],
)
def test_a_tick_that_another_node_has_or_that_is_not_due_is_no_reason(changes):
    assert is_ready(checks(report(engine=engine(jobs=(job(**changes),))), 0))


def test_trouble_that_passes_by_itself_is_told_and_no_reason():
    found = checks(report(engine=engine(budget=budget(breaker="probing", trouble=503))), 0)
    assert is_ready(found)
    told = "in trouble (HTTP 503): only one request at a time is sent until one succeeds"
    assert ("exchange", True, told, True) in found
    assert state_of(found) == "degraded"


def test_a_pass_that_could_not_do_its_work_degrades_and_is_no_reason():
    found = checks(report(engine=engine(jobs=(job(degraded="2 tasks not done: away"), job(name="verify")))), 0)
    assert is_ready(found)
    told = "its last run could not do its work: 2 tasks not done: away; went well 9.0 s ago"
    assert [check for check in found if check.degraded] == [("job gap_scan", True, told, True)]


def test_symbols_that_the_exchange_does_not_list_are_told_and_no_reason():
    found = checks(report(engine=engine(unknown_symbols=("BTC-UDS", *(f"X{number}-USD" for number in range(11))))), 0)
    assert is_ready(found)
    (told,) = [check for check in found if check.name == "symbols"]
    assert told.detail.startswith("unknown to the exchange: BTC-UDS, X0-USD, ")
    assert told.detail.endswith("X8-USD and 2 more")


def test_one_worker_of_several_is_enough():
    found = checks(report(processes=(worker(), worker(pid=None, last_beat_ms=None))), 0)
    assert is_ready(found)
    assert ("workers", True, "1 of 2 ready", False) in found


def test_without_a_word_nothing_is_ready():
    assert checks(None, 0.2) == (("supervisor", False, "no report yet", False),)


def test_silence_is_death_after_five_seconds():
    assert [is_live(age) for age in (0, 4.9, 5.0)] == [True, True, False]
