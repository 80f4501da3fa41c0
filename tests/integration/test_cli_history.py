"""Changes and their authors: `journal` by change, run and hour, and `budget`, after real passes."""

from __future__ import annotations

import gzip
import socket

import pytest
import redis as redis_py

from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.pass_records import ROWS_KEPT, PassRecords
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
FIRST = 1_767_225_600_000  # 2026-01-01
SLOTS = 100
RANGE = ("--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", 0, "--ttl", 0)
PAST = (*RANGE, "--from", "2026-01-01T00:00", "--to", "2026-01-01T01:40")


@pytest.fixture
def exchange(start_exchange, tmp_path):
    """An exchange that has every slot but 50 .. 59."""
    folder = tmp_path / "truth"
    folder.mkdir()
    rows = "".join(f"{FIRST + slot * MINUTE},1,3,0.5,2,7\n" for slot in range(SLOTS) if not 50 <= slot < 60)
    text = f"start_ms,open,high,low,close,volume\n{rows}"
    (folder / "BTC-USD_1m.csv.gz").write_bytes(gzip.compress(text.encode()))
    return start_exchange(replay=folder, public_rate=0, start=FIRST + 1_440 * MINUTE)


@pytest.fixture
def run(run_inside, redis_url, exchange):
    def run_it(command, *arguments):
        return run_inside(command, *arguments, "--base-url", exchange.url, RECONCILER_REDIS_URL=redis_url)

    return run_it


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


def test_a_pass_is_told_by_run_by_hour_and_by_what_it_added(run):
    done = run("reconcile", *PAST, "--json").json
    (record,) = run("journal", *RANGE, "--by", "run", "--json").json["passes"]
    assert (record["job"], record["filled"], record["requests"]) == ("reconcile", done["filled"], done["requests"])
    assert (record["node"], record["unresolved"]) == (socket.gethostname(), done["unresolved"])
    told = run("journal", *RANGE, "--json").json
    (added,) = told["added"]
    assert (added["series"], added["filled"], added["by"]) == ("BTC-USD:1m", 90, record["run"])
    assert told["changes"] == []
    (hour,) = run("journal", *RANGE, "--by", "hour", "--since", "-2h", "--json").json["hours"]
    assert (hour["filled"], hour["passes"], hour["requests"]) == (90, 1, done["requests"])
    assert run("journal", "ETH-USD", "1m", "--by", "run", "--json").json["passes"] == []


def test_people_read_the_same(run):
    run("reconcile", *PAST)
    head, row = run("journal", *RANGE).out.splitlines()
    assert head.split() == ["when", "series", "slots", "why", "by", "change"]
    assert row.split("  ")[1:4] == ["BTC-USD:1m", "90 slots", "filled"]
    assert row.endswith("90 filled")
    *_, total = run("journal", *RANGE, "--by", "hour").out.splitlines()
    assert total.split()[:3] == ["together", "90", "0"]
    _, line, total = run("journal", *RANGE, "--by", "run").out.splitlines()
    assert (line.split()[1], total) == ("reconcile", "1 pass shown")
    assert " s  90 filled, 10 left, " in line
    assert max(map(len, run("journal", *RANGE, "--by", "hour").out.splitlines())) < 80


def test_a_pass_that_found_nothing_is_told_on_demand_alone(run):
    run("reconcile", *PAST)
    run("scan", *RANGE, "--from", "2026-01-01T00:00", "--to", "2026-01-01T00:50")
    jobs = [one["job"] for one in run("journal", *RANGE, "--by", "run", "--json").json["passes"]]
    every = [one["job"] for one in run("journal", *RANGE, "--by", "run", "--all", "--json").json["passes"]]
    assert (jobs, every) == (["reconcile"], ["reconcile", "scan"])


def test_a_journal_that_ends_before_it_begins_is_refused(run):
    done = run("journal", "--since", "-1h", "--until", "-2h")
    assert done.code == 78
    assert "--until -2h: lies not after --since -1h; allowed: a later time" in done.err


def test_what_was_done_before_until_and_since_is_left_out(run):
    run("reconcile", *PAST)
    assert run("journal", *RANGE, "--until", "-1h", "--json").json == {"changes": [], "added": []}
    assert run("journal", *RANGE, "--since", "2199-01-01", "--until", "2199-01-02", "--by", "run", "--json").json == {
        "passes": []
    }
    assert run("journal", *RANGE, "--until", "yesterday").out == (
        "nothing was added, and nothing that was there was changed\n"
    )


def test_the_budget_is_told_by_job_lane_node_and_hour(run, exchange):
    done = run("reconcile", *PAST, "--json").json
    told = run("budget", "--json").json
    by = {(use["job"], use["lane"], use["node"], use["budget"]): use["requests"] for use in told["uses"]}
    node = socket.gethostname()
    assert by["reconcile", "deep", node, "public"] == done["requests"] + done["references"]
    assert by["clock", "-", node, "public"] == 1
    assert by["reconcile", "deep", node, "public"] == len(exchange.requests())
    lines = run("budget", "--by", "lane").out.splitlines()
    assert lines[0].split() == ["lane", "requests", "share"]
    assert [line.split()[0] for line in lines[1:3]] in (["deep", "-"], ["-", "deep"])
    assert run("budget", "--since", "2199-01-01", "--json").json == {"requests": 0, "uses": []}


def test_records_of_others_and_of_no_kind_are_left_out(run, server, exchange):
    run("reconcile", *PAST)
    host = exchange.url.removeprefix("http://")
    key, use = Scope(1, 1, host).key("passes"), Scope(1, 1, host).shared_key("use")
    server.xadd(key, {"pass": "{"})
    server.xadd(key, {"other": "x"})
    server.hset(use, mapping={"x": 1, "1|2": 3, "1|a|b|c|d": "many"})
    assert len(run("journal", *RANGE, "--by", "run", "--json").json["passes"]) == 1
    assert {use["job"] for use in run("budget", "--json").json["uses"]} == {"reconcile", "clock", "product list"}


async def test_of_a_pass_over_many_series_those_are_told_in_which_most_was_done(redis_url):
    rows = [SeriesResult(f"A{n}-USD", "1m", 0, 1, 10, filled=n) for n in range(ROWS_KEPT + 10)]
    async with TrioRedis.from_url(redis_url) as client:
        records = PassRecords(client, Scope(1, 1, "x"))
        await records.note("run", "job", 0, ReconciliationResult.of(rows, gaps_filled=0, duration_ms=5), node="n")
        (record,) = await records.read(0, 2**53)
    assert [row.filled for row in record.series] == [*range(ROWS_KEPT + 9, 9, -1)]
    assert (record.filled, record.scanned) == (sum(range(ROWS_KEPT + 10)), ROWS_KEPT + 10)
