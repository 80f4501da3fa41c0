"""`status` as people read it."""

from __future__ import annotations

import pytest

from reconciler_engine.cli.status import Found, as_object, print_engine
from reconciler_engine.observe.live_candles import Sighting
from reconciler_engine.observe.objective import BarCounts, Objective
from reconciler_engine.observe.series_state import worst_first
from reconciler_engine.observe.status import (
    BudgetStatus,
    EngineStatus,
    JobStatus,
    ProcessStatus,
    ScrubStatus,
    SeriesCoverage,
)
from reconciler_engine.observe.words import describe_span


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [
        (None, "-"), (0, "0.0 s"), (340, "0.3 s"), (12_400, "12 s"), (60_000, "1 m 0 s"), (245_000, "4 m 5 s"),
        (7_380_000, "2 h 3 m"), (435_600_000, "5 d 1 h"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(duration_ms, words):
    assert describe_span(duration_ms) == words


def engine(**changes: object) -> EngineStatus:
    values = {
        "node": "host:7", "command": "reconciler-engine start", "version": "1.2", "simulated": False, "user_id": 1,
        "exchange_id": 1, "source": "exchange", "started_at": 0, "written_at": 3_600_000,
        "processes": (
            ProcessStatus(role="supervisor", name="supervisor", pid=7, age_ms=9_000, last_beat_ms=0),
            ProcessStatus(role="worker", name="worker", state="backing off", restarts=3, last_exit="SIGKILL"),
        ),
        "jobs": (
            JobStatus(
                name="gap_scan", cron="*/5 * * * *", next_tick=3_605_000, is_running=True, runs=4, skipped=1, missed=2,
                failed=3, timed_out=1, last_error="StoreError: gone", last_finished_at=3_540_000,
                last_result={"missing": 5, "gaps_found": 2, "filled": 4, "confirmed_empty": 7, "unresolved": 1,
                             "requests": 1, "duration_ms": 900, "errors": ["BTC-USD:1m: WRONGTYPE"]},
            ),
        ),
        "budget": BudgetStatus(
            rate_per_s=5, burst=5, available=0, used=61, granted=900, waiting=12, wait_ms=2_400, paused_ms=3_000
        ),
    }  # fmt: skip
    return EngineStatus.model_validate({**values, **changes})


def covered(missing: int | None) -> SeriesCoverage:
    return SeriesCoverage(complete_from=0, complete_through=60_000, missing=missing, checked_at=120_000)


def test_a_person_sees_how_far_candles_are_verified(capsys):
    known = covered(0).model_copy(update={"present": 300, "verified": 290, "unverified_since": 3_000_000})
    print_engine(Found(engine(), {"BTC-USD:5m": known, "BTC-USD:1m": known, "ETH-USD:1m": covered(0)}))
    told = capsys.readouterr().out
    assert told.count("  290 of 300  ") == 2
    assert "oldest unverified, since its close: 1m 10 m 0 s, 5m 10 m 0 s\n" in told


def test_a_person_sees_every_figure(capsys):
    print_engine(Found(engine(), {"BTC-USD:1m": covered(0), "ETH-USD:1m": covered(3)}))
    told = capsys.readouterr().out
    for words in (
        "reconciler-engine start 1.2 on host:7, up 1 h 0 m",
        "worker      backing off",
        "SIGKILL",
        "1 m 0 s ago, running",
        "in 5.0 s",
        "2 gaps; 12 slots without a candle: 4 filled, 7 proved empty, 1 left; 1 request, 0.9 s",
        "BTC-USD:1m: WRONGTYPE",
        "last error: StoreError: gone",
        "5 requests a second, 61 used in the last minute, 12 waiting, paused by the exchange for 3.0 s",
        "1 of 2 series ready when a pass last looked, 1 lack candles",
    ):
        assert words in told
    assert "SIMULATED" not in told
    # the series that lacks most stands first
    assert told.index("ETH-USD:1m  ") < told.index("BTC-USD:1m  ")


def test_a_series_is_told_with_the_reasons_why_slots_are_not_ready(capsys):
    one = covered(3).model_copy(update={"obstacles": {"row unusable": 1, "contested": 2}})
    print_engine(Found(engine(), {"BTC-USD:1m": one}))
    assert "3 missing (1 row unusable); 2 suspect (contested)" in capsys.readouterr().out


def test_the_objective_is_told_by_timeframe_and_in_all(capsys):
    counts = {"1m": {"1h": BarCounts(100), "30d": BarCounts(1_000, 1, 1, 5)}, "1h": {"30d": BarCounts(10)}}
    found = Found(engine(), {}, objective=Objective(0.99, 1_800_000, counts))
    print_engine(found)
    said = capsys.readouterr().out
    assert "objective: 99 % of closed bars complete within 20 m 0 s of their close and verified within" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(("1m ", "1h ", "all "))]
    assert rows == [
        ["1m", "100", "%", "-", "99.8", "%", "80", "%", "0.0", "0.0", "5"],
        ["1h", "-", "-", "100", "%", "100", "%", "0.0", "0.0", "0"],
        ["all", "100", "%", "-", "99.8", "%", "80.19", "%", "0.0", "0.0", "5"],
    ]
    told = as_object(found)["objective"]["1m"]
    assert told["windows"]["30d"] == {
        "bars": 1_000, "late": 1, "unverified": 1, "waiting": 5, "share": 0.998, "burn": pytest.approx(0.2),
    }  # fmt: skip


def test_what_is_invented_or_unknown_is_said_to_be(capsys):
    print_engine(Found(engine(simulated=True, budget=None), {"BTC-USD:1m": covered(None)}))
    told = capsys.readouterr().out
    assert told.startswith("SIMULATED ")
    assert "budget: could not be read" in told
    assert "unknown" in told
    assert "0 of 1 series ready" in told


def test_the_scrub_is_told_with_its_round_and_the_oldest_verification(capsys):
    scrub = ScrubStatus(
        days=30, began=0, pages=40, done=13, unknown=2, round_ms=90_000, oldest={"1m": 0, "5m": 3_600_000}
    )
    print_engine(Found(engine(written_at=7_200_000, scrub=scrub), {}))
    assert (
        "scrub: 13 of 40 pages compared again since 1970-01-01T00:00Z, 2 of unknown age; a round within 30 d, at least "
        "1 m 30 s; oldest verification: 1m 2 h 0 m, 5m 1 h 0 m"
    ) in capsys.readouterr().out


def test_a_terminal_is_not_flooded_and_a_program_gets_all(capsys):
    many = {f"A{number}-USD:1m": covered(0) for number in range(100)}
    found = Found(engine(), many)
    print_engine(found)
    assert capsys.readouterr().out.count("-USD:1m  ") == 24
    assert len(as_object(found)["series"]) == 100


def test_series_are_left_out_by_symbol_and_timeframe_and_the_feeder_is_told(capsys):
    known = {name: covered(0) for name in ("A-USD:1m", "A-USD:5m", "B-USD:5m")}
    found = Found(engine(), known, {"A-USD:5m": Sighting(0, 0, 0), "B-USD:5m": Sighting(0)})
    assert [*found.of("A-USD, C-USD", None).series] == ["A-USD:1m", "A-USD:5m"]
    assert [*found.of("A-USD", "5m,1h").series] == ["A-USD:5m"]
    told = as_object(found.of(None, "5m"))
    assert (told["feeder"]["series"]["none seen"], told["series"][0]["live"]) == (1, 0)
    print_engine(found.of("B-USD", None))
    assert "feeder: none seen" in capsys.readouterr().out


def test_the_series_in_most_trouble_come_first_and_timeframes_in_their_order():
    doubted = covered(0).model_copy(update={"obstacles": {"values differ": 2}})
    known = {"B-USD:15m": covered(0), "B-USD:5m": covered(0), "C-USD:1d": doubted, "A-USD:1h": covered(1)}
    assert [name for name, _ in worst_first(known)] == ["A-USD:1h", "C-USD:1d", "B-USD:5m", "B-USD:15m"]
