"""`evidence` and `journal` as an operator uses them: look, mark, forget, and see who changed what."""

from __future__ import annotations

import getpass
import hashlib
import json
import time

import pytest
import redis as redis_py
import trio

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason, Repaired, State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
FIRST = 1_767_225_600_000  # 2026-01-01
KEY = "candles:1:1:BTC-USD:1m"
BTC = Series("BTC-USD", Timeframe.M1)
RANGE = ("--from", "2026-01-01T00:00", "--to", "2026-01-01T00:10")


def member(slot, volume=1.0, **changed):
    prices = dict.fromkeys(("open", "high", "low", "close"), 88_000)
    fields = {"timestamp": FIRST + slot * MINUTE, **prices, "volume": volume, "symbol": "BTC-USD", "timeframe": "1m"}
    return json.dumps({**fields, **changed})


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def run(run_inside, redis_url):
    """Run a command over the cache, whose feeder does not trim."""
    return lambda *words: run_inside(*words, "--redis-url", redis_url, "--max-candles", 0)


@pytest.fixture
def clean(redis_url):
    """Leave one member in each of these slots, as a scan does; note that a pass has looked, where it has."""

    async def work(slots, passed):
        scope = Scope.of(1, 1, "https://api.coinbase.com")
        async with TrioRedis.from_url(redis_url) as client:
            duplicated = [FIRST + slot * MINUTE for slot in slots]
            await CandleStore(client, scope).merge(BTC, (), Retention(0, 0), duplicated=duplicated, by="gap_scan-1-ab")
            if passed:
                looked = Checked(BTC, Interval(FIRST, FIRST + 3 * MINUTE), NOTHING)
                await Coverage(client, scope).record([looked], FIRST)

    return lambda *slots, passed=False: trio.run(work, slots, passed)


def stretches(run, *words):
    listed = run("evidence", "BTC-USD", "1m", *words, "--json").json
    return [((one["start"] - FIRST) // MINUTE, one["slots"], one["state"]) for one in listed["stretches"]]


def test_slots_are_marked_listed_and_forgotten(server, run):
    server.zadd(KEY, {member(3): FIRST + 3 * MINUTE, "{broken": FIRST + 4 * MINUTE})
    marked = run("evidence", "mark", "BTC-USD", "1m", "--state", "halted", *RANGE)
    assert (marked.code, marked.out) == (
        0, "BTC-USD:1m: 9 slots marked halted; 1 slot with a candle left out\n",
    )  # fmt: skip
    assert stretches(run) == [(0, 3, "halted"), (4, 6, "halted")]
    listed = run("evidence", "BTC-USD", "1m")
    head, first, *_, last = listed.out.splitlines()
    assert head.split("  ")[0] == "from"
    assert first.startswith("2026-01-01T00:00Z  2026-01-01T00:03Z  3      halted  ")
    assert first.endswith("  marked by hand")
    assert last == "BTC-USD:1m: 9 slots halted; 0 candles came after an answer without them"
    part = ("--from", "2026-01-01T00:02", "--to", "2026-01-01T00:06")
    assert run("evidence", "forget", "BTC-USD", "1m", *part).out == "BTC-USD:1m: 3 slots forgotten\n"
    assert stretches(run) == [(0, 2, "halted"), (6, 4, "halted")]
    assert stretches(run, "--from", "2026-01-01T00:01:30", "--to", "2026-01-01T00:08") == [(6, 2, "halted")]
    assert run("evidence", "forget", "BTC-USD", "1m", "--from", "1971-01-01", "--to", "2200-01-01", "--json").json == {
        "forgotten": 6
    }
    assert run("evidence", "BTC-USD", "1m").out.startswith("BTC-USD:1m: nothing known; 0 candles")
    nothing = run("evidence", "forget", "BTC-USD", "1m", *RANGE)
    assert (nothing.code, nothing.out) == (0, "BTC-USD:1m: 0 slots forgotten\n")


def test_a_relative_time_is_rounded_down_to_the_open_time_of_a_bar(run):
    halt = ("--state", "halted", "--from", "-2h", "--to", "-1h")
    assert run("evidence", "mark", "BTC-USD", "5m", *halt).out == "BTC-USD:5m: 12 slots marked halted\n"
    (stretch,) = run("evidence", "BTC-USD", "5m", "--json").json["stretches"]
    assert stretch["start"] % (5 * MINUTE) == 0
    forgotten = run("evidence", "forget", "BTC-USD", "5m", "--from", "-3h", "--to", "now", "--json")
    assert forgotten.json == {"forgotten": 12}


@pytest.fixture
def learn(redis_url):
    """Have the evidence hold this knowledge."""

    async def work(known):
        async with TrioRedis.from_url(redis_url) as client:
            store = EvidenceStore(client, Scope.of(1, 1, "https://api.coinbase.com"))
            await store.change(BTC, Interval(FIRST, FIRST + 10 * MINUTE), Retention(0, 0), lambda _: known)

    return lambda known: trio.run(work, known)


def slots(*numbers):
    return Intervals.of_slots([FIRST + number * MINUTE for number in numbers], MINUTE)


def pairs(*numbers):
    return [[one.start, one.stop] for one in slots(*numbers)]


def test_everything_that_is_known_is_listed_and_forgotten(server, run, learn):
    since, hour = FIRST + 86_400_000, 3_600_000
    doubts = {
        0: (State.SUSPECT, Reason.NOT_AT_EXCHANGE, since + hour, "not at the exchange"),
        1: (State.SUSPECT, Reason.LACKED_ONCE, since + 240_000, "lacked once"),
        2: (State.SUSPECT, Reason.CONTESTED, since + 24 * hour, "contested"),
        3: (State.SUSPECT, Reason.VALUES_DIFFER, since, "values differ"),
        4: (State.MISSING, Reason.ROW_UNUSABLE, since + hour, "row unusable"),
        5: (State.MISSING, Reason.WITHDRAWN, since, "withdrawn"),
        6: (State.EMPTY, Reason.WITH_REFERENCE, None, None),
    }
    findings = [
        FindingInterval(
            FIRST + slot * MINUTE, FIRST + (slot + 1) * MINUTE, Finding(state, reason, since, since, 1, due)
        )
        for slot, (state, reason, due, _) in doubts.items()
    ]
    repaired = (Repaired(FIRST + 2 * MINUTE, 3, since),)
    learn(Knowledge(Ledger(findings), slots(1, 2, 3), repaired=repaired, accepted={FIRST + 8 * MINUTE: "00" * 8}))
    server.zadd(KEY, {member(6, volume=0): FIRST + 6 * MINUTE})
    told = run("evidence", "BTC-USD", "1m", "--json").json
    assert [one["obstacle"] for one in told["stretches"]] == [words for *_, words in doubts.values()]
    due = [one["next_check"] for one in told["stretches"]]
    # a doubt about values rests for an hour, unless repair comes first
    assert due == [since + hour if slot == 3 else wanted for slot, (_, _, wanted, _) in doubts.items()]
    assert (told["exists"], told["fillers"]) == (pairs(1, 2, 3), pairs(6))
    assert (told["accepted"], told["repaired"]) == (
        pairs(8), [{"slot": FIRST + 2 * MINUTE, "times": 3, "first": since}],
    )  # fmt: skip
    shown = run("evidence", "BTC-USD", "1m").out
    for words in (
        "not at the exchange", "an answer lacked it", "replaced three times within a day",
        "by repair, or 2026-01-02T01",
        "2026-01-01T00:01Z  2026-01-01T00:04Z  3      known to exist", "accepted by hand", "filler, judged empty",
        "repaired 3 times within a day",
    ):  # fmt: skip
        assert words in shown
    part = run("evidence", "BTC-USD", "1m", "--from", "2026-01-01T00:02", "--to", "2026-01-01T00:03", "--json").json
    assert (part["exists"], part["fillers"], part["accepted"]) == (pairs(2), [], [])
    sound = run("evidence", "BTC-USD", "1m", "--from", "2026-01-01T00:08", "--to", "2026-01-01T00:09").out
    assert "\nBTC-USD:1m: no slot in doubt or proved empty; 0 candles" in sound
    assert run("evidence", "forget", "BTC-USD", "1m", *RANGE).out == "BTC-USD:1m: 8 slots forgotten\n"
    assert run("evidence", "BTC-USD", "1m").out.startswith("BTC-USD:1m: nothing known")
    assert server.hkeys(f"{{{KEY}}}:evidence") == []


def test_a_candle_is_accepted_until_it_changes(server, run, learn):
    doubt = Finding(State.SUSPECT, Reason.VALUES_DIFFER, FIRST, FIRST, 1, FIRST)
    learn(Knowledge(Ledger([FindingInterval(FIRST + 3 * MINUTE, FIRST + 4 * MINUTE, doubt)])))
    server.zadd(KEY, {member(3): FIRST + 3 * MINUTE, member(6, volume=0): FIRST + 6 * MINUTE})
    marked = run("evidence", "mark", "BTC-USD", "1m", "--state", "accepted", *RANGE)
    assert (marked.code, marked.out) == (
        0, "BTC-USD:1m: 1 slot marked accepted; 9 slots without a candle left out\n",
    )  # fmt: skip
    digest = hashlib.sha1(member(3).encode(), usedforsecurity=False).hexdigest()[:16]
    assert json.loads(server.hget(f"{{{KEY}}}:evidence", "accepted")) == {str(FIRST + 3 * MINUTE): digest}
    assert run("evidence", "BTC-USD", "1m", "--json").json["stretches"] == []
    (change,) = run("journal", "BTC-USD", "1m", "--json").json["changes"]
    assert (change["why"], change["old"], change["new"]) == ("marked", {"suspect": 1}, {"accepted": 1})
    assert change["by"] == f"evidence mark, {getpass.getuser()}"
    assert run("evidence", "forget", "BTC-USD", "1m", *RANGE).out == "BTC-USD:1m: 1 slot forgotten\n"
    assert server.exists(f"{{{KEY}}}:evidence") == 0


def test_more_candles_than_can_be_accepted_are_refused(server, run):
    server.zadd(KEY, {member(slot): FIRST + slot * MINUTE for slot in range(1_001)})
    day = ("--from", "2026-01-01", "--to", "2026-01-02")
    refused = run("evidence", "mark", "BTC-USD", "1m", "--state", "accepted", *day)
    assert (refused.code, "allowed: at most 1000 accepted in a series" in refused.err) == (78, True)


def test_changes_by_hand_are_in_the_journal_with_who_made_them(run):
    run("evidence", "mark", "BTC-USD", "1m", "--state", "empty", *RANGE)
    run("evidence", "forget", "BTC-USD", "1m", *RANGE)
    marked, forgotten = run("journal", "BTC-USD", "1m", "--json").json["changes"]
    who = getpass.getuser()
    assert (marked["why"], marked["old"], marked["new"]) == ("marked", {}, {"empty": 10})
    assert (marked["start"], marked["stop"], marked["by"]) == (FIRST, FIRST + 10 * MINUTE, f"evidence mark, {who}")
    assert (forgotten["why"], forgotten["old"], forgotten["new"]) == ("forgotten", {"empty": 10}, {})
    assert abs(forgotten["at"] - time.time() * 1_000) < 600_000
    shown = run("journal", "BTC-USD", "1m").out.splitlines()
    assert [line.split()[0] for line in shown[:1]] == ["when"]
    assert shown[1].endswith("nothing known -> 10 empty")
    assert shown[2].endswith("10 empty -> nothing known")
    assert "2026-01-01T00:00Z to 2026-01-01T00:10Z" in shown[1]


def test_a_removed_duplicate_is_in_the_journal(server, run, clean):
    rivals = [member(3, volume=1.0), member(3, volume=2.5, close=88_001, sequenceNum=7)]
    server.zadd(KEY, dict.fromkeys(rivals, FIRST + 3 * MINUTE))
    clean(3)
    pair = ("--symbols", "BTC-USD,ETH-USD", "--timeframes", "1m")
    (change,) = run("journal", *pair, "--json").json["changes"]
    assert (change["symbol"], change["start"], change["why"]) == ("BTC-USD", FIRST + 3 * MINUTE, "duplicate")
    assert (change["old"], change["new"]) == tuple(map(json.loads, rivals))
    assert change["by"] == "gap_scan-1-ab"
    _, line = run("journal", *pair).out.splitlines()
    assert line.endswith("close 88000 -> 88001, volume 1.0 -> 2.5, sequenceNum none -> 7")
    assert run("journal", *pair, "--until", "2000-01-01").out == (
        "nothing was added, and nothing that was there was changed\n"
    )
    assert run("journal", *pair, "--since", "2199-01-01").code == 78


def test_what_a_terminal_must_not_see_is_written_out(server, run, clean):
    server.zadd(KEY, {member(0): FIRST, "\x1b[2J" + "x" * 100: FIRST, "[1, 2]": FIRST})
    clean(0)
    lines = run("journal", "BTC-USD", "1m").out.splitlines()
    assert {line.split("  ")[-1] for line in lines[1:]} == {"'\\x1b[2J" + "x" * 56 + "...'", "[1, 2]"}


def test_without_a_series_those_that_passes_looked_at_are_shown(server, run, clean):
    for slot in range(3):
        server.zadd(KEY, {member(slot, volume=volume): FIRST + slot * MINUTE for volume in (1.0, 2.0)})
    clean(0, 1, 2)
    assert run("journal", "--json").json["changes"] == []
    clean(passed=True)
    lines = run("journal", "--last", 2).out.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "the newest 2 rows; --last N shows more"


@pytest.mark.parametrize(
    ("words", "complaints"),
    [
        (("evidence", "btc", "7m", "--from", "soon", "--to", "then"), ["'btc'", "'7m'", "'soon'", "'then'"]),
        (
            ("evidence", "mark", "BTC-USD", "1m", *RANGE),
            ["--state is missing; allowed: empty, halted, unlisted, accepted"],
        ),
        (("evidence", "mark", "BTC-USD", "1m", "--state", "missing", *RANGE), ["'missing': cannot be set by hand"]),
        (("evidence", "mark", "BTC-USD", "1m", "--state", "empty"), ["--from is missing", "--to is missing"]),
        (("evidence", "forget", "BTC-USD", "1m", "--from", "2026-01-02", "--to", "2026-01-01"), ["lies not after"]),
        (
            ("evidence", "forget", "BTC-USD", "5m", "--from", "2026-01-01T00:03", "--to", "2026-01-01T00:10"),
            ["--from 2026-01-01T00:03:00Z: no 5m bar opens there; allowed: 2026-01-01T00:00:00Z or 2026-01-01T00:05"],
        ),
        (
            ("evidence", "mark", "BTC-USD", "1m", "--state", "empty", "--from", "2026-01-01", "--to", "2199-01-01"),
            ["--to 2199-01-01T00:00Z: bars from ", "have not closed; allowed: 20"],
        ),
        (("journal", "BTC-USD"), ["TIMEFRAME is missing; allowed: 1m, 5m, "]),
        (("journal", "BTC-USD", "1m", "--since", "then"), ["--since 'then': no time"]),
    ],
)
def test_faults_are_named_together(run, words, complaints):
    refused = run(*words)
    assert refused.code == 78
    assert all(complaint in refused.err for complaint in complaints), refused.err


def test_slots_whose_evidence_would_be_dropped_are_refused(run_inside, redis_url):
    words = ("evidence", "mark", "BTC-USD", "1m", "--state", "empty", *RANGE, "--redis-url", redis_url)
    refused = run_inside(*words, "--max-candles", 1_000)
    assert refused.code == 78
    assert "max_candles 1000 keeps the newest 1000" in refused.err


def test_nothing_is_done_where_redis_does_not_do_its_part(server, run):
    server.set(KEY, "no sorted set")
    server.set(f"{{{KEY}}}:journal", "no stream")
    failed = run("evidence", "mark", "BTC-USD", "1m", "--state", "empty", *RANGE)
    assert (failed.code, failed.out) == (1, "")
    assert "WRONGTYPE" in failed.err
    assert run("journal", "BTC-USD", "1m").code == 1
    assert server.exists(f"{{{KEY}}}:evidence") == 0
    assert run("evidence", "BTC-USD", "1m").code == 0
