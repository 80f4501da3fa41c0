"""`backfill` as an operator meets it."""

from __future__ import annotations

import json
import signal

import pytest
import redis as redis_py
from tests.integration.conftest import wait_until
from tests.integration.engines import T0

RANGE = ("--from", "2025-01-01", "--to", "2025-01-08")
SLOTS = 7 * 1_440
PAGES = 34


@pytest.fixture
def command(redis_url, start_exchange):
    """The exchange, and what every call of these tests says."""
    exchange = start_exchange(public_rate=0)
    where = ("--base-url", exchange.url, "--redis-url", redis_url, "--max-candles", "0")
    return exchange, lambda *more: ("backfill", *map(str, (*more, *where)))


def test_a_week_is_planned_filled_and_found_complete(command, run_inside):
    exchange, words = command
    plan = run_inside(*words("BTC-USD", "1m", *RANGE, "--dry-run"))
    assert plan.code == 0, plan.err
    assert (
        f"{SLOTS} slots missing, 0 confirmed empty: {PAGES} requests, 7 s at 5 per 1000 ms; nothing was asked"
        in plan.out
    )
    assert "new keys expire 1 d after their last write (ttl); --ttl 0: never" in plan.out
    assert exchange.requests() == []
    done = run_inside(*words("BTC-USD", "1m", *RANGE, "--batch-size", 200, "--ttl", 0))
    assert done.code == 0, done.err
    assert f"{SLOTS} of {SLOTS} missing slots filled, 0 confirmed empty, 0 unresolved, {PAGES} requests" in done.out
    assert "expire" not in done.out
    assert len(exchange.requests()) == PAGES
    again = run_inside(*words("1m", "BTC-USD", *RANGE, "--dry-run", "--json"))
    assert (again.json["requests"], again.json["missing"], again.json["duration_ms"]) == (0, 0, 0)
    assert again.json["series"][0]["expected"] == SLOTS


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was(command, run_inside, start_process):
    exchange, words = command
    running = start_process(*words("BTC-USD", "1m", *RANGE, "--batch-size", 10), output="stdout")
    exchange.wait_requests(20)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    asked = len(exchange.requests())
    done = run_inside(*words("BTC-USD", "1m", *RANGE, "--batch-size", 200, "--json"))
    assert done.code == 0, done.err
    (row,) = done.json["series"]
    # a mark was saved within the last second, which is ten requests
    assert row["resumed_at"] >= row["start"] + (asked - 10 - 16) * 300 * 60_000
    assert (row["verified_to"], row["unresolved"]) == (row["stop"], 0)
    # at most the pages in hand at the kill are asked for twice
    assert len(exchange.requests()) <= PAGES + 16
    scan = run_inside(*words("BTC-USD", "1m", *RANGE, "--dry-run", "--json"))
    assert scan.json["missing"] == 0


def has_come_far(client) -> bool:
    """Whether a mark says that a page is verified."""
    marks = [json.loads(client.get(key)) for key in client.scan_iter("*:backfill:*")]
    return any(mark["verified_to"] > T0 for mark in marks)


def test_interrupted_it_says_so_and_goes_on(command, run_inside, start_process, redis_url):
    exchange, words = command
    running = start_process(*words("BTC-USD", "1m", *RANGE), output="stderr")
    with redis_py.Redis.from_url(redis_url) as client:
        wait_until(lambda: has_come_far(client))
    running.process.send_signal(signal.SIGINT)
    running.wait_line(lambda line: "the same command goes on where it was" in line)
    assert running.process.wait(30) == 130
    done = run_inside(*words("BTC-USD", "1m", *RANGE, "--batch-size", 200, "--json"))
    assert done.json["series"][0]["resumed_at"] > done.json["series"][0]["start"]
    assert len(exchange.requests()) <= PAGES + 16


def test_a_product_the_exchange_does_not_know_fails_alone(start_exchange, run_inside, tmp_path):
    # Symbols are checked where there is a list to check them against.
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "status"\nstatus = 503\npath = "*/market/products"\n')
    exchange = start_exchange(public_rate=0, faults=faults)
    where = ("--base-url", exchange.url, "--data-dir", tmp_path / "data", "--max-candles", "0")

    def words(*more):
        return ("backfill", *map(str, (*more, *where)))

    done = run_inside(*words("NOPE-USD", "BTC-USD", "1h", *RANGE, "--batch-size", 200, "--json"))
    assert done.code == 3
    rows = {row["symbol"]: row for row in done.json["series"]}
    assert rows["BTC-USD"]["filled"] == 168
    assert "404" in rows["NOPE-USD"]["errors"][0]
    assert len(exchange.requests()) == 2


def test_an_unknown_product_is_refused_before_anything_is_asked_for(command, run_inside):
    exchange, words = command
    done = run_inside(*words("BTC-UDS", "ETH-USD", "1h", *RANGE, "--json"))
    assert (done.code, done.out) == (78, "")
    assert "symbol BTC-UDS is not a product of the exchange; near: BTC-USD" in done.err
    assert exchange.requests() == []


@pytest.mark.parametrize(
    ("arguments", "complaints"),
    [
        (("BTC-USD", "7m", "--from", "2025-01-01"), ["'7m'", "or a timeframe: 1m, 5m"]),
        (("btc-usd", "1m"), ["'btc-usd'", "--from is missing"]),
        (("BTC-USD", "1m", "--from", "2025-01-02", "--to", "2025-01-01"), ["lies not after"]),
        (("BTC-USD", "1m", "--from", "soon", "--to", "later"), ["'soon'", "'later'"]),
        (("1m", "--from", "2025-01-01"), ["symbols is empty"]),
    ],
)
def test_faults_are_named_together(run_inside, arguments, complaints):
    refused = run_inside("backfill", *arguments, "--max-candles", "0")
    assert refused.code == 78
    assert all(complaint in refused.err for complaint in complaints), refused.err


def test_a_range_that_retention_drops_is_refused(run_inside, tmp_path):
    refused = run_inside("backfill", "BTC-USD", "1m", *RANGE, "--data-dir", tmp_path / "data")
    assert refused.code == 78
    assert "max_candles 1000 keeps the newest 1000" in refused.err
