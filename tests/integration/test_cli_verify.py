"""`verify` as an operator meets it."""

from __future__ import annotations

import json

import pytest
import redis as redis_py
from tests.integration.engines import T0

RANGE = ("BTC-USD", "1m", "--from", "2025-01-01", "--to", "2025-01-02")
SLOTS, PAGES = 1_440, 5
FAST = ("--batch-size", "200")


@pytest.fixture
def command(redis_url, start_exchange, run_inside):
    """The exchange, and a call of a command over the day."""
    exchange = start_exchange(public_rate=0)
    where = ("--base-url", exchange.url, "--redis-url", redis_url, "--max-candles", "0", "--ttl", "0")
    return exchange, lambda name, *more: run_inside(name, *RANGE, *more, *where)


def spoil(redis_url: str) -> None:
    """Give one member of the day another volume."""
    with redis_py.Redis.from_url(redis_url) as client:
        (key,) = client.keys("candles:*BTC-USD:1m")
        at = T0 + 700 * 60_000
        (member,) = client.zrangebyscore(key, at, at)
        client.zrem(key, member)
        client.zadd(key, {json.dumps({**json.loads(member), "volume": 0.125}): at})


def test_a_day_is_planned_and_compared_again(command):
    exchange, call = command
    assert call("backfill", *FAST).code == 0
    before = len(exchange.requests())
    assert "0 requests" in call("backfill", "--dry-run").out
    plan = call("verify", "--dry-run")
    assert plan.code == 0, plan.err
    assert f"0 confirmed empty: {PAGES} requests and at most {PAGES} references, 1 s at 5 per 1000 ms" in plan.out
    assert len(exchange.requests()) == before
    done = call("verify", *FAST)
    assert done.code == 0, done.err
    assert f"{SLOTS} candles verified, 0 of 0 missing slots filled" in done.out
    assert len(exchange.requests()) == before + PAGES


def test_what_differs_is_repaired_or_ends_the_command_with_3(command, redis_url):
    _, call = command
    call("backfill", *FAST)
    spoil(redis_url)
    for _ in range(2):
        told = call("verify", *FAST, "--audit-policy", "report")
        assert told.code == 3, told.err
        assert "1 differing from the exchange, 0 of them repaired" in told.out
    done = call("verify", *FAST, "--json")
    assert done.code == 0, done.err
    assert (done.json["mismatched"], done.json["repaired"], done.json["rewritten"]) == (1, 1, 0)


def test_a_range_is_asked_for_by_name(run_inside):
    done = run_inside("verify", "BTC-USD", "1m")
    assert done.code == 78
    assert "--from is missing; allowed: an ISO 8601 time from 1970 on" in done.err
