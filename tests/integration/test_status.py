"""`status` as an operator meets it, and what it reads in a real Redis."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import fields

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.status import EngineStatus, SeriesCoverage
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.embedded.data_directory import DataDirectory, ServerRecord
from reconciler_engine.store.feeder_watch import FeederWatch
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import ENGINES_KEY, RECORD_LIFE_MS, StatusBoard

NEVER = "0 0 1 1 *"
SCOPE = Scope(1, 1, "exchange")
MINUTE = 60_000
PATIENCE_S = 30.0


def test_it_shows_a_running_engine_from_any_shell_and_says_when_none_runs(
    start_process, start_exchange, run_inside, tmp_path
):
    where = ("--data-dir", str(tmp_path / "data"))
    exchange = start_exchange(public_rate=0)
    engine = start_process(
        "start", "--json", "--symbols", "BTC-USD,ETH-USD", "--timeframes", "5m", "--gap-scan-cron", NEVER,
        "--full-reconcile-cron", NEVER, "--base-url", exchange.url, "--workers", "1", "--window-bars", "3", *where,
    )  # fmt: skip
    worker = engine.wait_event("child ready", child="worker-1")["pid"]
    done = engine.wait_event("pass done")
    seen = wait_status(run_inside, where, lambda said: said["jobs"][1]["last_result"])
    assert (seen["running"], seen["simulated"], seen["source"]) == (True, False, exchange.url.removeprefix("http://"))

    processes = {process["role"]: process for process in seen["processes"]}
    assert processes.keys() == {"supervisor", "web", "redis", "worker"}
    assert (processes["supervisor"]["pid"], processes["worker"]["pid"]) == (engine.process.pid, worker)
    assert processes["worker"].keys() == {
        "role", "name", "state", "pid", "age_ms", "last_beat_ms", "restarts", "last_exit",
    }  # fmt: skip
    assert processes["worker"]["last_beat_ms"] < processes["worker"]["age_ms"]

    gap_scan, full, verify = seen["jobs"]
    assert verify["name"] == "verify"
    assert (gap_scan["name"], gap_scan["runs"], gap_scan["last_result"]) == ("gap_scan", 0, None)
    assert (full["name"], full["runs"], full["skipped"], full["missed"]) == ("full_reconcile", 1, 0, 0)
    assert full["next_tick"] > seen["written_at"]
    assert full["last_result"].keys() == {each.name for each in fields(ReconciliationResult)} - {"series"}
    assert {name: full["last_result"][name] for name in ("missing", "filled", "requests")} == {
        name: done[name] for name in ("missing", "filled", "requests")
    }
    assert seen["budget"]["rate_per_s"] == 5
    assert seen["budget"]["granted"] >= done["requests"]
    assert [(row["symbol"], row["timeframe"], row["missing"]) for row in seen["series"]] == [
        ("BTC-USD", "5m", 0),
        ("ETH-USD", "5m", 0),
    ]
    row = seen["series"][0]
    assert row["complete_through"] - row["complete_from"] == 71 * 5 * MINUTE

    os.kill(worker, signal.SIGKILL)
    again = wait_status(run_inside, where, lambda said: said["processes"][3]["name"] == "worker-2")
    assert again["processes"][3]["restarts"] == 1
    assert again["processes"][3]["last_exit"] == "SIGKILL"
    assert again["processes"][3]["pid"] != worker

    told = run_inside("status", *where)
    assert told.code == 0
    for word in (
        "worker-2",
        "full_reconcile",
        "budget: 5 requests a second",
        "BTC-USD:5m",
        "2 of 2 series ready when a pass last looked",
    ):
        assert word in told.out

    assert engine.stop() == 0
    nothing = run_inside("status", *where)
    assert nothing.code == 69
    assert f"nothing runs at {tmp_path / 'data'}" in nothing.err
    assert run_inside("status", *where, "--json").json == {"running": False, "looked_at": [str(tmp_path / "data")]}


def wait_status(run_inside, where, wanted):
    """Ask until the status is the wanted one: it is written once a second."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = run_inside("status", *where, "--json")
        if said.code == 0 and wanted(said.json):
            return said.json
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def test_both_default_places_are_looked_at(run_inside, tmp_path):
    said = run_inside("status", XDG_DATA_HOME=str(tmp_path))
    assert said.code == 69
    assert f"{tmp_path}/reconciler-engine or {tmp_path}/reconciler-engine-simulated" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_redis_without_an_engine_is_said_to_be_so(run_inside, redis_url):
    said = run_inside("status", "--redis-url", redis_url)
    assert said.code == 69
    assert "nothing runs at unix://" in said.err


def test_a_server_whose_engine_is_silent_is_named(run_inside, own_server, tmp_path):
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    pid = os.getpid()
    directory.write_record(ServerRecord(str(own_server.plan.socket), pid, "reconciler-engine start", simulated=False))
    said = run_inside("status", "--data-dir", directory.path)
    assert said.code == 69
    assert f"(server of reconciler-engine start, pid {pid}: no engine has reported for 5 s)" in said.err


def test_an_engine_with_another_redis_is_named(run_inside, tmp_path):
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    with directory.lock("reconciler-engine start"):
        said = run_inside("status", "--data-dir", directory.path)
        assert said.code == 69
        uses = f"(reconciler-engine start (pid {os.getpid()}) uses it; if with another Redis, give the --config or"
        assert uses in said.err
        busy = run_inside("scan", "--symbols", "BTC-USD", "--data-dir", directory.path)
        assert busy.code == 75
        assert "if its candles are in another Redis, give the --config or --redis-url that it has" in busy.err
    assert "uses it" not in run_inside("status", "--data-dir", directory.path).err


def status_of(node: str, **changes: object) -> EngineStatus:
    values = {
        "node": node, "command": "test", "version": "1", "simulated": False, "user_id": 1, "exchange_id": 1,
        "source": "exchange", "started_at": 0, "written_at": 1, "processes": (), "jobs": (), "budget": None,
    }  # fmt: skip
    return EngineStatus.model_validate({**values, **changes})


async def test_every_engine_on_a_redis_is_found_whatever_its_scope(redis):
    board = StatusBoard(redis)
    one, other = status_of("a:1"), status_of("b:2", user_id=7, source="127.0.0.1:1")
    for status in (one, other):
        await board.write(status)
        await board.announce(status)
    assert await board.read() == [one, other]
    await board.remove(one)
    assert await board.read() == [other]


async def test_an_engine_that_stopped_writing_is_not_there_any_more(redis):
    board = StatusBoard(redis)
    dead, alive = status_of("a:1"), status_of("b:2")
    await board.write(dead)
    await board.announce(dead)
    key = SCOPE.key("status:a:1")
    assert 0 < await redis.pttl(key) <= RECORD_LIFE_MS
    await redis.delete(key)
    assert await board.read() == []
    await board.announce(alive)
    assert await redis.hkeys(ENGINES_KEY) == [SCOPE.key("status:b:2").encode()]


@pytest.mark.parametrize("record", [b"x", b"{}", b'{"node": 1}'])
async def test_a_record_that_is_none_is_left_out(redis, record):
    board = StatusBoard(redis)
    await board.announce(status_of("a:1"))
    await redis.set(SCOPE.key("status:a:1"), record)
    assert await board.read() == []
    await redis.delete(SCOPE.key("status:a:1"))
    await redis.rpush(SCOPE.key("status:a:1"), record)
    assert await board.read() == []


async def test_coverage_is_kept_a_series_and_forgotten_when_nobody_looks(redis):
    coverage = Coverage(redis, SCOPE)
    btc, eth = Series("BTC-USD", Timeframe.M1), Series("ETH-USD", Timeframe.M1)
    window = Interval(0, 100 * MINUTE)
    hole = Interval(10 * MINUTE, 12 * MINUTE)
    await coverage.record([Checked(btc, window, Intervals([hole])), Checked(eth, window, None)], now=1_000)
    assert await coverage.read() == {
        "BTC-USD:1m": SeriesCoverage(
            complete_from=12 * MINUTE, complete_through=99 * MINUTE, missing=2, checked_at=1_000
        ),
        "ETH-USD:1m": SeriesCoverage(complete_from=None, complete_through=None, missing=None, checked_at=1_000),
    }
    later = 3 * 86_400_000
    await coverage.record([Checked(btc, window, NOTHING)], now=later)
    found = await coverage.read()
    assert found.keys() == {"BTC-USD:1m"}
    assert (found["BTC-USD:1m"].missing, found["BTC-USD:1m"].checked_at) == (0, later)


async def test_the_reasons_why_slots_are_not_ready_are_kept_with_the_coverage(redis):
    coverage, btc = Coverage(redis, SCOPE), Series("BTC-USD", Timeframe.M1)
    window, holes = Interval(0, 100 * MINUTE), Intervals([Interval(10 * MINUTE, 12 * MINUTE)])
    suspects = Intervals([Interval(20 * MINUTE, 23 * MINUTE)])
    obstacles = {Obstacle.NOT_ASKED: holes, Obstacle.CONTESTED: suspects}
    await coverage.record([Checked(btc, window, holes, obstacles)], now=1_000)
    assert (await coverage.read())["BTC-USD:1m"].obstacles == {"contested": 3}


async def test_coverage_that_redis_refuses_is_told(redis, caplog):
    await redis.set(SCOPE.key("coverage"), "of another type")
    await Coverage(redis, SCOPE).record([Checked(Series("BTC-USD", Timeframe.M1), Interval(0, MINUTE), NOTHING)], now=1)
    (told,) = caplog.records
    assert (told.message, "WRONGTYPE" in told.error) == ("coverage not written", True)


async def test_a_great_many_series_are_written_in_many_commands(redis):
    coverage = Coverage(redis, SCOPE)
    many = [Checked(Series(f"A{number}-USD", Timeframe.M1), Interval(0, MINUTE), NOTHING) for number in range(2_600)]
    await coverage.record(many, now=1)
    assert len(await coverage.read()) == 2_600


async def test_sixty_thousand_series_are_all_told(redis):
    coverage, sightings = Coverage(redis, SCOPE), FeederWatch(redis, SCOPE)
    body = SeriesCoverage(complete_from=0, complete_through=0, missing=0, checked_at=1).as_field()
    names = [f"P{number:05}-USD:1m" for number in range(60_000)]
    for start in range(0, len(names), 1_000):
        part = names[start : start + 1_000]
        for kind, text in (("coverage", body), ("feeder", "[1, 1, 1]")):
            await redis.execute_command("HSET", SCOPE.key(kind), *[word for name in part for word in (name, text)])
    await coverage.record([Checked(Series("NEW-USD", Timeframe.M1), Interval(0, 60_000), NOTHING)], 1)
    assert len(await coverage.read()) == 60_001
    assert len(await sightings.read()) == 60_000
