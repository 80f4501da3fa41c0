"""`load` as a user runs it: all or nothing, and never a candle overwritten."""

from __future__ import annotations

import json

import pytest
import redis as redis_py

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.cli.load import Loaded, _describe_rest
from reconciler_engine.market.series import Series

MINUTE = 60_000
HEADER = "start_ms,open,high,low,close,volume\n"
KEY = "candles:1:1:BTC-USD:1m"


@pytest.fixture
def write_file(tmp_path):
    def write(name, minutes, tail=""):
        path = tmp_path / name
        rows = "".join(f"{minute * MINUTE},1,2,0.5,1.5,3\n" for minute in minutes)
        path.write_text(HEADER + rows + tail)
        return path

    return write


@pytest.fixture
def load(run_inside, redis_url):
    """Run `load` against the real server."""

    def run(*arguments):
        return run_inside("load", *arguments, "--redis-url", redis_url, "--json")

    return run


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


def counts(line):
    return {name: line[name] for name in ("rows", "inserted", "present", "differing", "refused", "skipped")}


def test_a_file_is_loaded_once(load, write_file, server):
    path = write_file("BTC-USD_1m.csv", [*range(500), 499])
    done = load(path, "--max-candles", 500, "--ttl", 1_000)
    assert (done.code, done.err) == (0, "")
    assert counts(done.json) == {
        "rows": 501, "inserted": 500, "present": 0, "differing": 0, "refused": 0, "skipped": 0,
    }  # fmt: skip
    assert done.json["duplicates"] == 1
    # Beside the candles only the index of changed series is written: no run, no budget.
    assert (server.zcard(KEY), server.keys("recon:*")) == (500, [b"recon:{1:1:api.coinbase.com}:changed"])
    assert 0 < server.ttl(KEY) <= 1_000
    again = load(path)
    assert (again.code, again.json["inserted"], again.json["present"]) == (0, 0, 500)
    assert server.zcard(KEY) == 500


def test_a_candle_that_is_there_stays(load, write_file, server):
    held = json.dumps(
        {
            "timestamp": 0,
            "open": 9,
            "high": 9,
            "low": 9,
            "close": 9,
            "volume": 9,
            "symbol": "BTC-USD",
            "timeframe": "1m",
        }
    )
    server.zadd(KEY, {held: 0})
    done = load(write_file("BTC-USD_1m.csv", [0, 1]))
    assert (done.code, done.json["inserted"], done.json["differing"]) == (0, 1, 1)
    assert server.zrangebyscore(KEY, 0, 0) == [held.encode()]
    assert server.ttl(KEY) == -1


@pytest.mark.parametrize("tail", ["120000,1,2,0.5,x,3\n", "120001,1,2,0.5,1,3\n"], ids=["value", "off grid"])
def test_a_bad_row_keeps_its_file_out(load, write_file, server, tail):
    path = write_file("BTC-USD_1m.csv", [0, 1], tail)
    done = load(path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"reconciler-engine: {path}: line 4: {'close' if 'x' in tail else 'start_ms'} '")
    assert server.keys() == []
    done = load(path, "--skip-bad")
    assert (done.code, counts(done.json)["inserted"], done.json["skipped"]) == (0, 2, 1)
    assert server.zcard(KEY) == 2


def test_a_bad_second_file_keeps_the_first_out(load, write_file, server):
    good = write_file("BTC-USD_1m.csv", [0, 1])
    done = load(good, write_file("ETH-USD_1m.csv", [0], "foo\n"))
    assert (done.code, done.out, server.keys()) == (1, "", [])
    assert "ETH-USD_1m.csv: line 3: row 'foo'" in done.err


def test_what_is_in_is_said_where_redis_stops_at_the_second_file(load, write_file, server):
    files = [write_file(f"{symbol}-USD_1m.csv", range(400)) for symbol in ("BTC", "ETH", "SOL")]
    server.set("candles:1:1:ETH-USD:1m", "no sorted set")
    done = load(*files)
    assert done.code == 1
    assert [line["file"] for line in done.json_lines] == [str(files[0])]
    assert [line.removeprefix("reconciler-engine: ") for line in done.err.splitlines()][:4] == [
        f"{files[0]}: loaded",
        f"{files[1]}: loaded in part, the first 0 of 400 candles",
        f"{files[2]}: not loaded",
        "the same command loads the rest",
    ]
    assert [server.zcard(f"candles:1:1:{symbol}-USD:1m") for symbol in ("BTC", "SOL")] == [400, 0]


@pytest.mark.parametrize(
    ("merged", "is_doubtful", "said"),
    [(0, True, "0 to 3"), (300, True, "300 to 500"), (300, False, "300"), (499, True, "499 to 500")],
)
def test_an_answer_that_did_not_come_leaves_a_doubt_of_one_part(write_file, merged, is_doubtful, said):
    count = 500 if merged else 3
    file = read_candle_file(write_file("BTC-USD_1m.csv", range(count)))
    half = Loaded(Series.parse("BTC-USD:1m"), file, inserted=merged, is_begun=True, is_doubtful=is_doubtful)
    first, _ = _describe_rest([half])
    assert first == f"{file.path}: loaded in part, the first {said} of {count} candles"


@pytest.mark.parametrize("command", ["gaps", "load"])
def test_seconds_are_refused_and_read_by_their_option(run_inside, redis_url, tmp_path, command):
    path = tmp_path / "BTC-USD_1m.csv"
    path.write_text(HEADER + "".join(f"{1_767_225_600 + 60 * minute},1,2,0.5,1.5,3\n" for minute in range(5)))
    where = ("--redis-url", redis_url) if command == "load" else ()
    done = run_inside(command, path, *where)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"reconciler-engine: {path}: its open times look like seconds, not milliseconds; "
        "allowed: --time-unit s of gaps and load\n"
    )
    assert run_inside(command, path, *where, "--time-unit", "s", "--json").json["rows"] == 5


def test_hours_under_the_name_of_minutes_are_not_loaded(load, write_file, server):
    done = load(write_file("BTC-USD_1m.csv", range(0, 600, 60)))
    assert (done.code, done.out, server.keys()) == (1, "", [])
    assert "its usual step is 1h, not 1m: name the timeframe it has (--timeframe 1h, or in the file's name)" in done.err


def test_the_bad_rows_of_every_file_are_named(load, write_file, server, tmp_path):
    done = load(
        write_file("BTC-USD_1m.csv", [0], "foo\n"), write_file("ETH-USD_1m.csv", [0], "bar\n"), tmp_path / "X-Y_1m.csv"
    )
    assert (done.code, server.keys()) == (1, [])
    assert "BTC-USD_1m.csv: line 3: row 'foo'" in done.err
    assert "ETH-USD_1m.csv: line 3: row 'bar'" in done.err
    assert "X-Y_1m.csv: cannot be read: No such file" in done.err


def test_more_than_the_cache_keeps_is_refused_with_the_arithmetic(load, write_file, server):
    files = write_file("BTC-USD_1m_a.csv", range(300)), write_file("BTC-USD_1m_b.csv", range(299, 501))
    done = load(*files, "--max-candles", 500)
    assert (done.code, done.out, server.keys()) == (78, "", [])
    assert "BTC-USD:1m: 501 candles, but max_candles 500 keeps the newest 500; allowed: a shorter file" in done.err
    assert [line["inserted"] for line in load(*files, "--max-candles", 0).json_lines] == [300, 201]


def test_what_newer_candles_push_out_is_told_and_no_success(load, write_file):
    assert load(write_file("BTC-USD_1m_new.csv", range(1_000, 1_500)), "--max-candles", 500).code == 0
    done = load(write_file("BTC-USD_1m_old.csv", range(10)), "--max-candles", 500)
    assert (done.code, done.json["refused"], done.json["inserted"]) == (3, 10, 0)
    assert "10 candles not loaded: the cache keeps the newest max_candles 500 of a series" in done.err


def test_a_name_without_a_series_and_a_bad_setting_are_faults(load, write_file):
    assert load(write_file("dump.csv", [0])).code == 78
    done = load(write_file("BTC-USD_1m.csv", [0]), "--max-candles", "many")
    assert done.code == 78
    assert "max_candles 'many' (from --max-candles): allowed: candles to keep of each series" in done.err


def test_a_terminal_gets_a_sentence(run_inside, redis_url, write_file):
    done = run_inside("load", write_file("BTC-USD_1m.csv", [0, 1]), "--redis-url", redis_url)
    assert done.out == (
        "BTC-USD_1m.csv: 2 candles loaded as BTC-USD:1m, 0 there already, 0 kept as they were, 0 bad rows skipped\n"
    )


def test_nothing_is_cut_that_is_there_already(run_inside, write_file, tmp_path):
    """One embedded server; a load and a pass with a smaller cap than the load before."""
    where = ("--data-dir", tmp_path / "data", "--json")
    assert run_inside("load", write_file("BTC-USD_1m_a.csv", range(300)), *where).code == 0
    done = run_inside("load", write_file("BTC-USD_1m_b.csv", range(300, 310)), *where, "--max-candles", 50)
    assert (done.code, done.json["inserted"]) == (0, 10)
    arguments = ("--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", 0)
    seen = run_inside("scan", *arguments, "--from", "1970-01-01T00:00", "--to", "1970-01-01T05:10", *where)
    assert (seen.code, seen.json["missing"]) == (0, 0)
