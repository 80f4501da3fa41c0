"""`scan` and `reconcile` as a user runs them: results, exit codes, and what stands in their way."""

from __future__ import annotations

import dataclasses
import gzip
import json
import socketserver
import threading
from contextlib import contextmanager

import pytest
import redis as redis_py

from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.observe.words import iso

MINUTE = 60_000
HEADER = "start_ms,open,high,low,close,volume\n"
FIRST = 1_767_225_600_000  # 2026-01-01
FROM, TO = "2026-01-01T00:00", "2026-01-01T01:40"
SLOTS = 100
KEY = "candles:1:1:BTC-USD:1m"
RANGE = ("--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", 0, "--from", FROM, "--to", TO, "--json")


def row(slot):
    return f"{FIRST + slot * MINUTE},{slot + 1},{slot + 3},{slot + 0.5},{slot + 2},{slot + 0.25}\n"


def member(slot, **changed):
    fields = {
        "timestamp": FIRST + slot * MINUTE, "open": slot + 1, "high": slot + 3, "low": slot + 0.5, "close": slot + 2,
        "volume": slot + 0.25, "symbol": "BTC-USD", "timeframe": "1m",
    }  # fmt: skip
    return json.dumps({**fields, **changed})


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def hold(server):
    """Put the candles of these slots into the cache."""

    def put(slots):
        server.zadd(KEY, {member(slot): FIRST + slot * MINUTE for slot in slots})

    return put


@pytest.fixture
def exchange(start_exchange, tmp_path):
    """An exchange that has every slot but 50 .. 59."""
    folder = tmp_path / "truth"
    folder.mkdir()
    rows = "".join(row(slot) for slot in range(SLOTS) if not 50 <= slot < 60)
    (folder / "BTC-USD_1m.csv.gz").write_bytes(gzip.compress((HEADER + rows).encode()))
    return start_exchange(replay=folder, public_rate=0, start=FIRST + 1_440 * MINUTE)


@pytest.fixture
def run(run_inside, redis_url):
    """Run a command against the real server."""

    def run_it(command, *arguments, base_url="http://127.0.0.1:9", **settings):
        settings.setdefault("RECONCILER_REDIS_URL", redis_url)
        return run_inside(command, *arguments, "--base-url", base_url, **settings)

    return run_it


def names(kind):
    return [field.name for field in dataclasses.fields(kind)]


def snapshot(server):
    return {key: server.zrange(key, 0, -1, withscores=True) for key in server.keys("candles:*")}


def test_a_scan_reports_all_and_touches_nothing(run, hold, server, exchange):
    hold(slot for slot in range(SLOTS) if slot not in {0, 7, 8, 99})
    server.zadd(KEY, {member(20, volume=0): FIRST + 20 * MINUTE, "{": FIRST + 7 * MINUTE})
    before = snapshot(server)
    done = run("scan", *RANGE, base_url=exchange.url)
    assert (done.code, done.err) == (3, "")
    assert list(done.json) == names(ReconciliationResult)
    (series,) = done.json["series"]
    assert list(series) == names(SeriesResult)
    assert {name: done.json[name] for name in ("missing", "gaps_found", "filled", "unresolved", "requests")} == {
        "missing": 4, "gaps_found": 3, "filled": 0, "unresolved": 4, "requests": 0,
    }  # fmt: skip
    assert (series["expected"], series["duplicates"], series["malformed"]) == (100, 1, 1)
    assert (series["start"], series["stop"]) == (FIRST, FIRST + SLOTS * MINUTE)
    assert snapshot(server) == before
    assert exchange.log.read_text() == ""
    assert [key for key in server.keys("*") if b":run:" in key] == []


def test_a_complete_range_leaves_with_0(run, hold):
    hold(range(SLOTS))
    done = run("scan", *RANGE)
    assert (done.code, done.json["missing"], done.json["series"][0]["expected"]) == (0, 0, SLOTS)


def test_a_repair_fills_what_exists_and_cleans_what_is_double(run, hold, server, exchange):
    hold(slot for slot in range(SLOTS) if slot not in {0, 7, 8, 99, *range(48, 62)})
    server.zadd(KEY, {member(20, volume=0): FIRST + 20 * MINUTE, "{": FIRST + 7 * MINUTE, "[": FIRST + 30 * MINUTE})
    done = run("reconcile", *RANGE, base_url=exchange.url)
    assert (done.code, done.err) == (0, "")
    (series,) = done.json["series"]
    assert {name: series[name] for name in ("missing", "filled", "confirmed_empty", "unresolved", "gaps")} == {
        "missing": 18, "filled": 8, "confirmed_empty": 10, "unresolved": 0, "gaps": 4,
    }  # fmt: skip
    assert (series["requests"], series["duplicates"]) == (1, 1)
    assert done.json["gaps_filled"] == 3
    held = server.zrange(KEY, 0, -1)
    assert [json.loads(one) for one in held if one != b"["] == [
        json.loads(member(slot)) for slot in range(SLOTS) if not 50 <= slot < 60
    ]
    assert len(exchange.requests()) == 1
    again = run("reconcile", *RANGE, "--verify", "none", base_url=exchange.url)
    assert again.code == 0
    assert (again.json["missing"], again.json["filled"], again.json["series"][0]["duplicates"]) == (0, 0, 0)
    assert (again.json["confirmed_empty"], again.json["unresolved"], again.json["requests"]) == (10, 0, 0)
    scanned = run("scan", *RANGE)
    assert (scanned.code, scanned.json["missing"], scanned.json["confirmed_empty"]) == (0, 0, 10)


def test_a_key_of_another_type_fails_its_own_series_only(run, hold, server, exchange):
    hold(range(SLOTS))
    server.set("candles:1:1:BTC-USD:5m", "x")
    arguments = list(RANGE)
    arguments[3] = "5m,1m"
    done = run("reconcile", *arguments, "--verify", "none", base_url=exchange.url)
    assert done.code == 3
    wrong, right = done.json["series"]
    assert (wrong["expected"], wrong["missing"], right["expected"], right["missing"]) == (0, 0, SLOTS, 0)
    assert "WRONGTYPE" in wrong["errors"][0]
    assert right["errors"] == []
    assert len(done.json["errors"]) == 1
    assert server.get("candles:1:1:BTC-USD:5m") == b"x"


def test_an_exchange_that_is_away_leaves_slots_unresolved_with_the_reason(run, hold):
    hold(range(SLOTS - 1))
    done = run("reconcile", *RANGE, "--batch-size", 1_000)
    assert done.code == 3
    assert (done.json["missing"], done.json["filled"], done.json["unresolved"]) == (1, 0, 1)
    assert "exchange unavailable" in done.json["errors"][0]


def test_an_error_that_strikes_many_series_is_told_once_with_their_number(run, server, exchange):
    for timeframe in ("1m", "5m", "15m"):
        server.set(f"candles:1:1:BTC-USD:{timeframe}", "x")
    arguments = list(RANGE)
    arguments[3] = "1m,5m,15m"
    (error,) = run("scan", *arguments).json["errors"]
    assert error.startswith("BTC-USD:1m and 2 more: ")
    arguments.remove("--json")
    for words in (["reconcile"], ["reconcile", "--dry-run"], ["scan"]):
        done = run(*words, *arguments, base_url=exchange.url)
        assert [line for line in done.out.splitlines() if "WRONGTYPE" in line] == [f"  {error}"]


def test_a_product_nobody_knows_is_unresolved_with_the_reason(run, start_exchange, tmp_path):
    # Symbols are checked where there is a list to check them against.
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "status"\nstatus = 503\npath = "*/market/products"\n')
    exchange = start_exchange(faults=faults)
    arguments = list(RANGE)
    arguments[1] = "NONE-USD"
    done = run("reconcile", *arguments, base_url=exchange.url)
    assert (done.code, done.json["unresolved"], done.json["requests"]) == (3, SLOTS, 1)
    assert "HTTP 404" in done.json["errors"][0]


@pytest.mark.parametrize(
    "window",
    [("--from", "2999-01-01", "--to", "2999-01-02"), ("--from", "2020-01-01", "--to", "2020-01-02")],
    ids=["future", "before retention"],
)
def test_a_range_that_cannot_be_examined_is_no_success(run, window):
    done = run("scan", "--symbols", "BTC-USD", "--timeframes", "1m", *window, "--json")
    assert (done.code, done.json["series"][0]["expected"], done.json["missing"]) == (3, 0, 0)
    assert "1 of 1 series have no closed slot that the cache keeps in reach" in done.err


def test_a_range_that_is_kept_in_part_is_no_success(run, server):
    now = int(server.time()[0]) * 1_000
    newest = now - now % MINUTE
    series = ("--symbols", "BTC-USD", "--timeframes", "1m", "--json")
    for age in range(1, 60):
        at = newest - age * MINUTE
        server.zadd(KEY, {member(0, timestamp=at): at})
    window = ("--from", iso(newest - 5 * MINUTE), "--to", iso(newest - 2 * MINUTE))
    assert run("scan", *series, "--max-candles", 20, *window).code == 0
    window = ("--from", iso(newest - 50 * MINUTE), "--to", iso(newest - 2 * MINUTE))
    done = run("scan", *series, "--max-candles", 20, *window)
    assert (done.code, done.json["missing"]) == (3, 0)
    assert 15 <= done.json["series"][0]["expected"] <= 18
    assert "1 of 1 series were examined from a later time than --from: the cache keeps the newest max_cand" in done.err
    assert run("scan", *series, "--max-candles", 0, *window).code == 0


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (("--from", FROM), "--to is missing; --from and --to go together"),
        (("--to", TO), "--from is missing; --from and --to go together"),
        (("--from", "soon", "--to", TO), "--from 'soon': no time; allowed: an ISO 8601 time"),
        (("--from", FROM, "--to", "2026-02-30"), "--to '2026-02-30': no time; allowed"),
        (("--from", TO, "--to", FROM), f"--to {FROM}: lies not after --from {TO}; allowed: a later time"),
        (("--from", FROM, "--to", FROM), f"--to {FROM}: lies not after --from {FROM}"),
        (("--from", "1969-12-31", "--to", FROM), "--from '1969-12-31': lies before 1970"),
    ],
)
def test_a_range_that_is_none_is_a_fault_beside_all_others(run, window, said):
    done = run("scan", *window, "--timeframes", "3m")
    assert (done.code, done.out) == (78, "")
    assert said in done.err
    assert "symbols is empty" in done.err
    assert "timeframes '3m' (from --timeframes)" in done.err


def test_times_may_name_an_offset(run, hold):
    hold(range(SLOTS))
    arguments = ("--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", 0, "--json")
    done = run("scan", *arguments, "--from", "2026-01-01T01:00+01:00", "--to", "2026-01-01 00:30:00-01:00")
    assert (done.json["series"][0]["start"], done.json["series"][0]["stop"]) == (FIRST, FIRST + 90 * MINUTE)


def test_a_terminal_gets_a_table_and_totals(run, hold):
    hold(range(1, SLOTS))
    done = run("scan", *RANGE[:-1])
    head, cells, totals = done.out.splitlines()
    assert head.split() == [
        "series", "from", "to", "slots", "gaps", "missing", "filled", "empty", "unresolved", "unverified", "dup",
        "bad",
    ]  # fmt: skip
    assert cells.split() == [
        "BTC-USD:1m",
        "2026-01-01T00:00Z",
        "2026-01-01T01:40Z",
        "100",
        "1",
        "1",
        "0",
        "0",
        "1",
        "99",
        "0",
        "0",
    ]
    assert totals.startswith("1 series: 1 slot missing in 1 gap, ")


def test_a_redis_that_is_away(run):
    done = run("scan", *RANGE, RECONCILER_REDIS_URL="redis://127.0.0.1:1")
    assert (done.code, done.out) == (69, "")
    assert "cannot connect to redis://127.0.0.1:1/0" in done.err


def test_a_wrong_password_is_a_fault_and_is_not_repeated(run, own_server):
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", "right")
    path = own_server.url.removeprefix("unix://")
    wrong = run("scan", *RANGE, RECONCILER_REDIS_URL=f"unix://:canary@{path}")
    assert (wrong.code, wrong.out) == (78, "")
    assert "user or password is wrong" in wrong.err
    assert "canary" not in wrong.err
    none = run("scan", *RANGE, RECONCILER_REDIS_URL=own_server.url)
    assert none.code == 78
    assert "the server asks for a password and none is set" in none.err
    assert run("scan", *RANGE, RECONCILER_REDIS_URL=f"unix://:right@{path}").code == 3


@contextmanager
def fake_server(answer: bytes):
    """A server on loopback that takes a name and gives this answer to all else, once each."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while sent := self.request.recv(65_536):
                self.request.sendall(b"+OK\r\n" * sent.count(b"SETNAME") + answer * sent.count(b"INFO"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def test_a_redis_that_is_too_old_is_a_fault(run):
    info = b"# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\n"
    with fake_server(b"$%d\r\n%s\r\n" % (len(info), info)) as url:
        done = run("scan", *RANGE, RECONCILER_REDIS_URL=url)
    assert (done.code, done.out) == (78, "")
    assert "is Redis 5.0.14; Redis 6.2 or newer, or any Valkey, is needed" in done.err


@pytest.mark.parametrize("answer", [b"$5\r\nhello\r\n", b":1\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_redis_is_told_without_a_traceback(run, answer):
    with fake_server(answer) as url:
        done = run("scan", *RANGE, RECONCILER_REDIS_URL=url)
    assert done.code == 1
    assert done.err.startswith("reconciler-engine: ")
    assert "Traceback" not in done.err


def test_a_command_of_its_own_is_the_same(run_command, redis_url, hold):
    hold(range(1, SLOTS))
    done = run_command("scan", *RANGE, RECONCILER_REDIS_URL=redis_url)
    assert (done.code, done.json["missing"], done.err) == (3, 1, "")
    usage = run_command("scan", "--no-such-flag")
    assert usage.code == 2


def test_invented_candles_do_not_mix_with_real_ones(run_inside, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "SIMULATED").touch()
    arguments = ("--symbols", "BTC-USD", "--timeframes", "1m", "--data-dir", folder)
    for refused in (
        run_inside("reconcile", *arguments),
        run_inside("start", *arguments),
        run_inside("load", _candle_file(tmp_path), "--data-dir", folder),
    ):
        assert refused.code == 78
        assert f"data_dir {folder}: holds invented candles, and" in refused.err
        assert "allowed: another data_dir" in refused.err
    seen = run_inside("scan", *arguments, "--json")
    assert (seen.code, seen.json["simulated"]) == (3, True)


def test_a_simulation_does_not_take_over_real_candles(run_inside, tmp_path):
    folder = tmp_path / "data"
    assert run_inside("load", _candle_file(tmp_path), "--data-dir", folder).code == 0
    done = run_inside("start", "--simulate", "--data-dir", folder)
    assert done.code == 78
    assert f"data_dir {folder}: holds real candles, and --simulate writes invented ones" in done.err


def _candle_file(folder):
    path = folder / "BTC-USD_1m.csv"
    path.write_text(HEADER + row(0))
    return path


def test_a_whole_pass_says_until_when_the_gate_can_say_yes(run, start_exchange):
    exchange = start_exchange(public_rate=0)
    one = ("--symbols", "BTC-USD", "--timeframes", "5m")
    done = run("reconcile", *one, "--json", base_url=exchange.url)
    (series,) = done.json["series"]
    # one or two bars closed within the last ten minutes: they are there and not verified
    assert (done.code, series["unresolved"], series["unverified"] in {1, 2}) == (0, 0, True)
    assert 300_000 * series["unverified"] == series["stop"] // 300_000 * 300_000 - series["unverified_since"] + 300_000
    assert done.json["ready_until"] == series["unverified_since"] + 1_800_000
    scanned = run("scan", *one)
    assert (scanned.code, " unverified, " in scanned.out) == (0, True)
    told = run("reconcile", *one, base_url=exchange.url)
    assert (told.code, "`ready` can say yes until " in told.out) == (0, True)
    assert run("reconcile", *one, "--verify", "none", "--json", base_url=exchange.url).json["ready_until"] is None
