"""`inspect` as a user runs it: files and caches with planted faults, each figure compared with what was put in."""

from __future__ import annotations

import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis as redis_py
import trio
from tests.integration.conftest import settled_grace_ms
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason, State
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

HEADER = "start_ms,open,high,low,close,volume\n"
MINUTE, STEP = 60_000, 300_000
SERIES = Series("BTC-USD", Timeframe.M5)
SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
NO_RUNS = {"1": 0, "2": 0, "3-5": 0, "6-15": 0, "16-60": 0, "61+": 0}


@pytest.fixture
def write_file(tmp_path):
    """Write a candle file of these rows: a minute, and what is unlike a sound row after it."""

    def write(*rows, name="BTC-USD_1m.csv"):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else f"{row * MINUTE},1,2,0.5,1.5,{row + 1}" for row in rows]
        text = HEADER + "".join(f"{line}\n" for line in lines)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


def rules(report):
    return {one["rule"]: one["rows"] for one in report["findings"]}


def test_a_sound_file_has_figures_and_no_finding(write_file, run_inside):
    path = write_file(0, 1, 4, 5, 7, name="BTC-USD_1m.csv.gz")
    done = run_inside("inspect", path, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json == {
        "file": str(path), "symbol": "BTC-USD", "timeframe": "1m", "rows": 5, "first": 0, "last": 7 * MINUTE,
        "slots": 8, "missing": 3, "missing_by_length": {**NO_RUNS, "1": 1, "2": 2}, "duplicates": 0, "off_grid": 0,
        "findings": [],
    }  # fmt: skip


def test_errors_are_told_with_place_numbers_and_cure_and_end_with_3(write_file, run_inside):
    path = write_file(0, "60000,1,,0.5,1.5,3", 2, "180000,1,2,2.5,1.5,3", "foo")
    done = run_inside("inspect", path)
    assert (done.code, done.err) == (3, "")
    heads, _, *lines = done.out.splitlines()
    source = "get these rows anew from their source, or leave them out"
    assert heads.split()[-3:] == ["errors", "warnings", "notes"]
    assert lines == [
        "error: BTC-USD_1m.csv BTC-USD:1m: lines that are not rows: 1; to do: correct these lines, or leave them out",
        f"  line 6: row 'foo' has 1 columns; allowed: {HEADER.strip()}",
        f"error: BTC-USD_1m.csv BTC-USD:1m: rows with a value that is not a finite number: 1; to do: {source}",
        "  1970-01-01T00:01Z: 1 nan 0.5 1.5 3",
        f"error: BTC-USD_1m.csv BTC-USD:1m: rows with a high below their low: 1; to do: {source}",
        "  1970-01-01T00:03Z: 1 2 2.5 1.5 3",
    ]
    (unread, value, bounds) = run_inside("inspect", path, "--json").json["findings"]
    assert (unread["where"][0]["first"], unread["severity"]) == (None, "error")
    assert value["where"] == [{"first": MINUTE, "last": MINUTE, "rows": 1, "numbers": "1 nan 0.5 1.5 3"}]
    assert (bounds["rule"], bounds["rows"], bounds["places"]) == ("high_below_low", 1, 1)


def test_a_row_off_the_grid_is_told_with_its_seconds(write_file, run_inside):
    path = write_file(0, 1, "90000,1,2,0.5,1.5,-10", 2, "150500,1,2,0.5,1.5,3")
    _, row, *lines = run_inside("inspect", path).out.splitlines()
    assert row.split()[2:5] == ["5", "1970-01-01T00:00Z", "1970-01-01T00:02:30.500Z"]
    places = ["1970-01-01T00:01:30Z", "1970-01-01T00:02:30.500Z"]
    assert [line.strip() for line in lines[1:3]] == places
    assert lines[4] == "  1970-01-01T00:01:30Z: 1 2 0.5 1.5 -10"
    told = run_inside("inspect", path, "--json").json
    assert (told["off_grid"], rules(told)) == (2, {"off_grid": 2, "volume_below_zero": 1})
    assert places[1] in run_inside("gaps", write_file(0, "150500,1,2,0.5,1.5,3")).out


def test_warnings_and_notes_end_with_0(write_file, run_inside):
    done = run_inside("inspect", write_file(0, 1, "120000,2,2,2,2,0", 1), "--json")
    assert (done.code, rules(done.json)) == (0, {"repeated_row": 1, "zero_volume": 1})


def test_rows_that_two_files_share_are_told_as_not_compared(write_file, run_inside, tmp_path):
    write_file(*range(100), name="BTC-USD_1m_a.csv")
    write_file(*range(90, 150), name="BTC-USD_1m_b.csv")
    (finding,) = run_inside("inspect", tmp_path, "--json").json["findings"]
    assert (finding["rule"], finding["rows"]) == ("repeated_row", 10)
    assert finding["where"][0]["numbers"].endswith("their values were not compared")


def test_parquet_of_many_series_is_as_the_text_of_each(write_file, run_inside, tmp_path):
    rows = [
        (name, minute) for minute in range(300) for name in ("BTC-USD", "ETH-USD") if minute % 7 or name != "ETH-USD"
    ]
    values = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5}
    table = {"symbol": [name for name, _ in rows], "time": [minute * MINUTE for _, minute in rows]}
    table |= {kind: [value] * len(rows) for kind, value in values.items()}
    table["volume"] = [None if minute == 5 else minute + 1.0 for _, minute in rows]
    path = tmp_path / "lake.parquet"
    pq.write_table(pa.table(table), path, row_group_size=100)
    of_parquet = run_inside("inspect", path, "--timeframe", "1m", "--time-unit", "ms", "--json")
    assert of_parquet.code == 3
    for report in of_parquet.json_lines:
        sound = [minute for name, minute in rows if name == report["symbol"]]
        text = ["300000,1,2,0.5,1.5,nan" if minute == 5 else minute for minute in sound]
        of_text = run_inside("inspect", write_file(*text, name=f"{report['symbol']}_1m.csv"), "--json").json
        assert rules(of_text) == {"not_a_number": 1}
        assert {**of_text, "file": None, "read_as": None} == {**report, "file": None, "read_as": None}


def test_a_file_that_cannot_be_recognised_is_refused_and_others_are_told(write_file, run_inside, tmp_path):
    bad = tmp_path / "ETH-USD_1m.csv"
    bad.write_text("start_ms,price\n0,1\n")
    done = run_inside("inspect", write_file(0, 1), bad)
    assert (done.code, "BTC-USD:1m" in done.out) == (1, True)
    assert "no column holds the open; allowed: --columns open=NAME, of the names start_ms, price" in done.err
    seconds = write_file(*(f"{1_600_000_020 + 60 * row},1,2,0.5,1.5,3" for row in range(50)), name="LTC-USD_1m.csv")
    done = run_inside("inspect", seconds, "--time-unit", "ms")
    assert (done.code, "its open times look like seconds, not milliseconds" in done.err) == (1, True)


def test_a_long_file_is_read_whole(write_file, run_inside):
    rows = [*range(200_000)]
    rows[100_000] = f"{100_000 * MINUTE},1,2,0.5,1.5,-1"
    report = run_inside("inspect", write_file(*rows), "--json").json
    assert (report["rows"], report["missing"], rules(report)) == (200_000, 0, {"volume_below_zero": 1})
    assert report["findings"][0]["where"][0]["first"] == 100_000 * MINUTE


def test_a_long_file_is_read_line_by_line_from_its_first_odd_row_on(write_file, run_inside):
    rows: list[object] = [*range(200_000)]
    rows[150_000] = ""
    rows[160_000] = f"{160_000 * MINUTE},1,2,0.5,,3"
    rows[170_000] = "foo"
    report = run_inside("inspect", write_file(*rows), "--json").json
    assert (report["rows"], report["missing"], report["duplicates"]) == (199_998, 2, 0)
    assert rules(report) == {"unreadable": 1, "not_a_number": 1}
    assert report["findings"][0]["where"][0]["numbers"].startswith("line 170002: row 'foo'")
    assert report["findings"][1]["where"][0]["first"] == 160_000 * MINUTE


def test_flags_of_the_cache_and_of_files_do_not_mix(write_file, run_inside):
    done = run_inside("inspect", write_file(0), "--redis-url", "redis://x", "--max-candles", 0)
    assert (done.code, done.out) == (78, "")
    assert "--redis-url applies only to the cache, but files are given; allowed: one of them" in done.err
    assert "--max-candles applies only to the cache, but files are given; allowed: one of them" in done.err
    done = run_inside("inspect", "--symbol", "BTC-USD", "--columns", "time=1")
    assert (done.code, done.err.splitlines()) == (78, [
        "reconciler-engine: --symbol applies only to files, but none is given; allowed: a FILE",
        "reconciler-engine: --columns applies only to files, but none is given; allowed: a FILE",
    ])  # fmt: skip


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def newest(server):
    """The open time of the newest closed bar by the grace of `run`."""
    return (int(server.time()[0]) * 1_000 - settled_grace_ms(STEP)) // STEP * STEP - STEP


@pytest.fixture
def run(run_inside, redis_url):
    flags = {"symbols": "BTC-USD", "timeframes": "5m", "max-candles": 0, "max-unverified-ms": 10**9}
    flags |= {"redis-url": redis_url, "grace-ms": settled_grace_ms(STEP)}
    said = [word for name, value in flags.items() for word in (f"--{name}", value)]
    return lambda *words: run_inside("inspect", *said, *words)


def member(at, **changed):
    fields = {"timestamp": at, "open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": at % 977 + at / STEP}
    return json.dumps({**fields, "symbol": "BTC-USD", "timeframe": "5m", **changed}).encode()


@pytest.fixture
def hold(server, newest, redis_url):
    """Put in members by their age in bars, what is verified of them, and findings by state and reason."""

    async def note(findings):
        intervals = [
            FindingInterval(
                newest - first * STEP, newest - (first - count) * STEP, Finding(state, reason, 0, 0, 1, None)
            )
            for first, count, state, reason in findings
        ]
        async with TrioRedis.from_url(redis_url) as client:
            known = Knowledge(Ledger(intervals))
            hull = Interval(intervals[0].start, intervals[-1].stop)
            await EvidenceStore(client, SCOPE).change(SERIES, hull, Retention(0, 0), lambda _: known)

    def put(members, verified, findings):
        server.zadd(SCOPE.candle_key(SERIES), {text: newest - age * STEP for age, text in members})
        if findings:
            trio.run(note, findings)
        if verified:
            fields = block_fields_of({newest - age * STEP: text for age, text in verified.items()}, STEP)
            server.hset(SCOPE.evidence_key(SERIES), mapping=fields)

    return put


def test_a_cache_has_the_figures_of_what_was_put_in(run, hold, newest):
    whole = {age: member(newest - age * STEP) for age in range(700)}
    absent = {*range(600, 603), 500, *range(400, 420), *range(300, 302)}
    held = {age: text for age, text in whole.items() if age not in absent}
    twice = (100, member(newest - 100 * STEP, close=1.6))
    broken = (450, b"{broken")
    findings = [
        (419, 20, State.EMPTY, Reason.BY_HAND),
        (301, 2, State.HALTED, Reason.BY_HAND),
        (210, 5, State.SUSPECT, Reason.VALUES_DIFFER),
        (50, 1, State.SUSPECT, Reason.CONTESTED),
    ]
    verified = {age: text for age, text in held.items() if age % 2}
    hold([*held.items(), twice, broken], verified, findings)
    done = run("--json")
    assert (done.code, done.err) == (3, "")
    report = done.json
    found = report.pop("findings")
    suspect = {*range(206, 211), 50}
    assert report == {
        "symbol": "BTC-USD", "timeframe": "5m", "start": newest - 699 * STEP, "stop": newest + STEP, "slots": 700,
        "candles": len(held), "missing": 4, "missing_by_length": {**NO_RUNS, "1": 1, "3-5": 3}, "empty": 20,
        "halted": 2, "unlisted": 0, "suspect": 6, "contested": 1, "verified": len({*verified} - suspect),
        "verified_share": len({*verified} - suspect) / len(held), "verified_since": 1_767_225_600_000,
        "duplicates": 1, "not_candles": 1, "ready": False, "ready_bars": 100,
        "ready_until": newest - 50 * STEP, "first_reason": "contested", "error": None,
    }  # fmt: skip
    assert {one["rule"]: (one["severity"], one["rows"], one["places"]) for one in found} == {
        "not_a_candle": ("error", 1, 1), "shared_slot": ("error", 1, 1), "suspect": ("error", 5, 1),
        "contested": ("error", 1, 1), "missing": ("warning", 4, 2), "not_ready": ("warning", 1, 1),
    }  # fmt: skip
    assert found[2]["where"][0] == {"first": newest - 210 * STEP, "last": newest - 206 * STEP, "rows": 5, "numbers": ""}


def test_bars_of_the_cache_are_held_against_the_rules_of_values(run, hold, newest):
    texts = {age: member(newest - age * STEP) for age in range(120)}
    texts |= {age: member(newest - age * STEP, open=1e3, high=2e3, low=5e2, close=1.5e3) for age in range(40)}
    texts[77] = member(newest - 77 * STEP, close=2.5)
    hold(texts.items(), texts, [])
    done = run()
    assert (done.code, done.err) == (3, "")
    heads, cells, *lines = done.out.splitlines()
    assert heads.split()[:3] == ["series", "slots", "candles"]
    assert cells.split()[:4] == ["BTC-USD:5m", "120", "120", "0"]
    assert [line.split(";")[0] for line in lines if not line.startswith(" ")] == [
        "error: BTC-USD:5m: rows that open or close outside of their low and high: 1",
        "error: BTC-USD:5m: rows from which on the price has another unit: 1",
    ]
    assert lines[-1].endswith(": x1000: close 1.5, then 1500")


def test_a_series_that_is_whole_and_verified_is_ready(run, hold, newest):
    texts = {age: member(newest - age * STEP) for age in range(130)}
    hold(texts.items(), texts, [])
    done = run("--json")
    assert (done.code, done.json["ready"], done.json["verified_share"], done.json["findings"]) == (0, True, 1.0, [])


def test_a_member_of_another_unit_costs_no_walk_through_decades(run, hold, newest, server):
    texts = {age: member(newest - age * STEP) for age in range(130) if age != 20}
    hold(texts.items(), texts, [(20, 1, State.EMPTY, Reason.BY_HAND)])
    server.zadd(SCOPE.candle_key(SERIES), {b"{}": newest // 1_000 // STEP * STEP})
    report = run("--json").json
    assert (report["candles"], report["empty"], report["not_candles"], report["ready"]) == (129, 1, 1, True)
    slots = (newest - newest // 1_000 // STEP * STEP) // STEP + 1
    assert (report["slots"], report["missing"]) == (slots, slots - 130)
    assert report["missing_by_length"] == {**NO_RUNS, "61+": slots - 130}


def test_an_empty_series_and_a_key_of_another_type_are_told(run, server):
    assert (run().code, run("--json").json["slots"]) == (0, 0)
    server.set(SCOPE.candle_key(SERIES), "x")
    done = run("--json")
    assert (done.code, "WRONGTYPE" in done.json["error"]) == (3, True)


def test_members_of_bars_that_no_clock_has_reached_are_no_candles(run, hold, newest, server):
    hold([(age, member(newest - age * STEP)) for age in (-300, -200, -1, 0, 1, 2)], {}, [])
    report = run("--json").json
    assert (report["candles"], report["not_candles"]) == (3, 2)
    (found,) = [one for one in report["findings"] if one["rule"] == "not_a_candle"]
    assert [place["first"] for place in found["where"]] == [newest + 200 * STEP, newest + 300 * STEP]
    # Between two open times, its own time is told: it is to be removed by hand.
    server.zadd(SCOPE.candle_key(SERIES), {"{}": newest + 400 * STEP + 1_500})
    assert re.search(r"^  \S+:\d\d:01\.500Z$", run().out, re.MULTILINE)
