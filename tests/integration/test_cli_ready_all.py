"""`ready --all`: every series of the settings in one answer, worst first, with reason, since and cure."""

from __future__ import annotations

import json
import time

import pytest
import redis as redis_py
from tests.integration.verified_bars import block_fields_of

from reconciler_engine import TrioRedis, why_not_ready
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import iso
from reconciler_engine.planning.ledger import Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.store.findings import DAY_MS, encode_day, span_of
from reconciler_engine.store.scope import Scope

SCOPE = Scope(1, 1, "")
HOUR = 3_600_000
BTC, ETH, SOL = (Series.parse(f"{name}-USD:1h") for name in ("BTC", "ETH", "SOL"))


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def grace_ms():
    """A grace with which no hour closes in the middle of a test."""
    into = time.time_ns() // 1_000_000 % HOUR
    return 600_000 if min(into, HOUR - into) < 300_000 else 0


@pytest.fixture
def newest(grace_ms):
    """The open time of the newest closed hour."""
    return (time.time_ns() // 1_000_000 - grace_ms) // HOUR * HOUR - HOUR


@pytest.fixture
def hold(server, newest):
    """Put verified candles of these ages in hours into a series."""

    def put(series, ages):
        members = {}
        for age in ages:
            at = newest - age * HOUR
            values = dict.fromkeys(("open", "high", "low", "close", "volume"), 1)
            names = {"timestamp": at, "symbol": series.symbol, "timeframe": series.timeframe.value}
            members[at] = json.dumps({**values, **names}).encode()
        server.zadd(SCOPE.candle_key(series), {member: at for at, member in members.items()})
        server.hset(SCOPE.evidence_key(series), mapping=block_fields_of(members, HOUR))

    return put


@pytest.fixture
def run(run_inside, redis_url, grace_ms):
    settings = {"RECONCILER_SYMBOLS": "BTC-USD,ETH-USD,SOL-USD", "RECONCILER_TIMEFRAMES": "1h"}
    words = ("ready", "--all", "--bars", 5, "--grace-ms", grace_ms)
    return lambda *more: run_inside(*words, *more, RECONCILER_REDIS_URL=redis_url, **settings)


def test_the_worst_series_comes_first_with_reason_since_and_cure(run, hold, newest, grace_ms):
    hold(BTC, range(5))
    hold(ETH, [0, 1, 3, 4])
    done = run("--json")
    assert (done.code, done.json["ready"]) == (3, 1)
    worst, middle, best = done.json["series"]
    assert [one["symbol"] for one in (worst, middle, best)] == ["SOL-USD", "ETH-USD", "BTC-USD"]
    assert (worst["slots"], middle["slots"], best["ready"]) == ({"missing": 5}, {"missing": 1}, True)
    gap = newest - 2 * HOUR
    assert (middle["reason"], middle["first"]) == ("not asked for", gap)
    assert middle["since"] == gap + HOUR + grace_ms
    assert middle["cure"] == "the next pass, or reconcile now"
    assert (middle["complete_from"], best["verified_from"]) == (gap + HOUR, newest - 4 * HOUR)


def test_people_read_a_row_a_series_and_a_total(run, hold):
    hold(BTC, range(5))
    hold(ETH, range(5))
    done = run()
    assert done.code == 3
    head, row, total = done.out.splitlines()
    assert head.split() == ["series", "why", "since", "cure"]
    assert row.startswith("SOL-USD:1h  5 missing  ")
    assert total == "2 of 3 series ready over the newest 5 closed bars"


def test_a_doubted_candle_is_so_since_its_finding_and_is_asked_again_when_that_says(run, hold, server, newest):
    for series in (BTC, ETH, SOL):
        hold(series, range(5))
    first, again = newest - HOUR, newest + 9 * HOUR
    finding = Finding(State.SUSPECT, Reason.CONTESTED, first, first, 1, again)
    at = newest - 2 * HOUR
    day = at // DAY_MS
    body = encode_day(Ledger([FindingInterval(at, at + HOUR, finding)]).within(span_of(day)), day, HOUR)
    server.hset(SCOPE.evidence_key(ETH), str(day), body)
    told = run("--json").json["series"][0]
    assert (told["symbol"], told["reason"], told["since"], told["again_at"]) == ("ETH-USD", "contested", first, again)
    assert "ETH-USD:1h  1 suspect (contested)  " in run().out
    assert f"evidence mark --state accepted; asked again from {iso(again)}" in run().out


def test_a_key_of_another_type_is_the_worst_and_hides_no_other(run, hold, server):
    hold(BTC, range(5))
    server.set(SCOPE.candle_key(ETH), "x")
    done = run("--json")
    assert "WRONGTYPE" in done.json["series"][0]["reason"]
    assert [one["symbol"] for one in done.json["series"]] == ["ETH-USD", "SOL-USD", "BTC-USD"]


def test_the_reach_says_since_when_each_series_is_whole(run, hold, newest):
    hold(BTC, range(8))
    hold(ETH, [0, 1, 3, 4])
    rows = {row["symbol"]: row for row in run("--reach", "--bars", 1_000, "--json").json["series"]}
    assert rows["BTC-USD"]["complete_from"] == newest - 7 * HOUR
    assert rows["ETH-USD"]["verified_from"] == newest - HOUR
    lines = run("--reach", "--bars", 1_000).out.splitlines()
    assert lines[1].startswith("SOL-USD:1h  never ")
    oldest, last = iso(newest - 7 * HOUR), iso(newest)
    assert lines[-2].split() == ["BTC-USD:1h", oldest, last, oldest, "all", "8", "bars"]


def test_the_reach_of_a_series_without_its_newest_bar_is_that_of_the_bars_before(run, hold, newest):
    hold(BTC, [*range(1, 8), 9])
    row = next(row for row in run("--reach", "--bars", 1_000, "--json").json["series"] if row["symbol"] == "BTC-USD")
    assert (row["complete_from"], row["complete_until"]) == (newest - 7 * HOUR, newest)
    assert row["ready"] is False
    (line,) = (line for line in run("--reach", "--bars", 1_000).out.splitlines() if line.startswith("BTC-USD"))
    assert line.split()[1:4] == [iso(newest - 7 * HOUR), iso(newest - HOUR), "never"]
    assert line.endswith("bars: the newest is missing or suspect")


def test_without_symbols_and_an_engine_there_is_nothing_to_ask_about(run_inside, redis_url):
    done = run_inside("ready", "--all", RECONCILER_REDIS_URL=redis_url)
    assert (done.code, done.out) == (78, "")
    assert "symbols is empty, and no pass has looked at a series" in done.err
    for words in ((), ("BTC-USD", "1h", "--all")):
        assert "SYMBOL TIMEFRAME or --all is to be given" in run_inside("ready", *words).err


async def test_python_tells_the_same_by_both_clients(hold, server, redis_url, grace_ms):
    hold(BTC, range(5))
    hold(ETH, [0, 1, 3, 4])
    question = (["BTC-USD", "ETH-USD", "SOL-USD"], ["1h"], 5)
    told = why_not_ready(server, *question, grace_ms=grace_ms)
    assert [(one.series, one.in_words()) for one in told] == [("SOL-USD:1h", "5 missing"), ("ETH-USD:1h", "1 missing")]
    async with TrioRedis.from_url(redis_url) as client:
        assert await why_not_ready(client, *question, grace_ms=grace_ms) == told
        server.set(SCOPE.candle_key(Series.parse("XRP-USD:1h")), "x")
        with pytest.raises(Exception, match="WRONGTYPE"):
            await why_not_ready(client, ["BTC-USD", "XRP-USD"], ["1h"], 5)


def test_the_reach_goes_on_where_the_newest_thousand_bars_are_whole(run, hold, newest):
    hold(BTC, range(1_200))
    hold(ETH, [*range(700), *range(701, 1_200)])
    rows = {row["symbol"]: row for row in run("--reach", "--bars", 10_000, "--json").json["series"]}
    assert rows["BTC-USD"]["verified_from"] == newest - 1_199 * HOUR
    assert rows["ETH-USD"]["verified_from"] == newest - 699 * HOUR
    assert rows["ETH-USD"]["start"] == newest - 999 * HOUR
