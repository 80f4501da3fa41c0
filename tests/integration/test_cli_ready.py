"""`ready` as a user runs it: yes, no and why, and the script for others."""

from __future__ import annotations

import json

import pytest
import redis as redis_py
from tests.integration.engines import MINUTE
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import iso
from reconciler_engine.planning.ledger import Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.store.findings import DAY_MS, encode_day, span_of
from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.scope import Scope

SERIES = Series("BTC-USD", Timeframe.D1)
SCOPE = Scope(1, 1, "")
QUESTION = ("BTC-USD", "1d", "--bars", 5)


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def grace_ms(server):
    """A grace with which no day closes in the middle of a test."""
    since_midnight = int(server.time()[0]) * 1_000 % DAY_MS
    return 600_000 if min(since_midnight, DAY_MS - since_midnight) < 300_000 else 0


@pytest.fixture
def newest(server, grace_ms):
    """The open time of the newest closed day."""
    return (int(server.time()[0]) * 1_000 - grace_ms) // DAY_MS * DAY_MS - DAY_MS


@pytest.fixture
def run(run_inside, redis_url):
    return lambda *arguments: run_inside("ready", *arguments, RECONCILER_REDIS_URL=redis_url)


@pytest.fixture
def ask(run, grace_ms):
    return lambda *arguments: run(*QUESTION, "--grace-ms", grace_ms, *arguments)


@pytest.fixture
def hold(server, newest):
    """Put in the candles of days of these ages, as verified but for some, and what is known of others."""

    def put(ages, reason=Reason.BY_HAND, unverified=(), **notes):
        verified = {}
        for age in ages:
            at = newest - age * DAY_MS
            values = dict.fromkeys(("open", "high", "low", "close", "volume"), 1) | {"timestamp": at}
            member = json.dumps(values | {"symbol": "BTC-USD", "timeframe": "1d"}).encode()
            server.zadd(SCOPE.candle_key(SERIES), {member: at})
            if age not in unverified:
                verified[at] = member
        server.hset(SCOPE.evidence_key(SERIES), mapping=block_fields_of(verified, DAY_MS))
        for state, age in notes.items():
            day = newest // DAY_MS - age
            span = span_of(day)
            stretch = FindingInterval(span.start, span.stop, Finding(State(state), reason, 0, 0, 1, None))
            body = encode_day(Ledger([stretch]).within(span), day, DAY_MS)
            server.hset(SCOPE.evidence_key(SERIES), str(day), body)

    return put


def test_a_series_that_is_ready(ask, hold, newest):
    hold([0, 1, 3, 4], halted=2)
    done = ask()
    assert (done.code, done.err) == (0, "")
    reach = f"the last 5 closed bars, {iso(newest - 4 * DAY_MS)} to {iso(newest + DAY_MS)}"
    assert done.out == f"BTC-USD:1d is ready: {reach}, 1 proved not to exist\n"
    assert ask("--json").json == {
        "symbol": "BTC-USD", "timeframe": "1d", "ready": True, "bars": 5, "start": newest - 4 * DAY_MS,
        "stop": newest + DAY_MS, "ready_until": newest + DAY_MS, "missing": 0, "first_missing": None, "suspect": 0,
        "first_suspect": None, "malformed": 0, "first_malformed": None, "overdue": 0, "first_overdue": None,
        "lacking": 0, "first_reason": None, "confirmed": 1, "unverified": 0,
    }  # fmt: skip


def test_a_yes_tells_how_many_bars_it_took_unverified(ask, hold):
    hold([0, 1, 2, 3, 4], unverified={1, 3})
    done = ask("--max-unverified-ms", 5 * DAY_MS)
    assert (done.code, done.out.endswith("Z, 2 not verified yet\n")) == (0, True)
    assert ask("--max-unverified-ms", "any", "--json").json["unverified"] == 2


def test_the_setting_says_how_long_a_bar_may_be_unverified(run_inside, redis_url, hold, grace_ms):
    hold([0, 1, 2, 3, 4], unverified={1, 3})
    settings = {"RECONCILER_REDIS_URL": redis_url, "RECONCILER_MAX_UNVERIFIED_MS": str(5 * DAY_MS)}
    assert run_inside("ready", *QUESTION, "--grace-ms", grace_ms, **settings).code == 0


def test_a_bar_unverified_for_half_an_hour_is_not_ready_by_default(ask, hold, newest):
    hold([0, 1, 2, 3, 4], unverified={1, 3})
    third = newest - 3 * DAY_MS
    done = ask()
    assert done.code == 3
    assert done.out.endswith(f": 2 unverified, the first {iso(third)}; ready before {iso(third)}\n")
    told = ask("--json").json
    assert (told["overdue"], told["first_overdue"], told["first_reason"]) == (2, third, "unverified")
    assert told["ready_until"] == third


def test_a_member_that_is_not_a_candle_is_told(ask, hold, server, newest):
    hold([0, 1, 2, 3, 4])
    server.zadd(SCOPE.candle_key(SERIES), {"x": newest - DAY_MS + 1})
    done = ask()
    assert done.code == 3
    assert f": 1 not a candle, the first {iso(newest - DAY_MS)}; " in done.out


def test_young_slots_and_members_are_asked_about_on_demand(ask, hold, newest):
    hold([1, 2, 4, 5, 6], empty=3)
    assert ask().code == 3
    assert ask("--young-ms", 2 * DAY_MS).code == 0
    told = ask("--young-ms", 2 * DAY_MS, "--members", "--json")
    assert (told.code, told.json["start"]) == (0, newest - 6 * DAY_MS)
    few = ask("--members", "--bars", 6, "--young-ms", 2 * DAY_MS)
    assert few.code == 3
    assert "of the last 6 members, " in few.out
    assert ": 1 lacking" in few.out


def test_a_series_that_is_not_says_why(ask, hold, newest):
    hold([0, 2], suspect=2, unlisted=4)
    done = ask()
    assert (done.code, done.err) == (3, "")
    assert done.out.startswith("BTC-USD:1d is not ready: of the last 5 closed bars, ")
    assert done.out.endswith(
        f": 2 missing, the first {iso(newest - 3 * DAY_MS)} (not asked for); "
        f"1 suspect, the first {iso(newest - 2 * DAY_MS)}; 1 proved not to exist; "
        f"ready before {iso(newest - 3 * DAY_MS)}\n"
    )
    told = ask("--json")
    assert told.code == 3
    assert {name: told.json[name] for name in ("ready", "missing", "first_missing", "suspect", "first_suspect")} == {
        "ready": False, "missing": 2, "first_missing": newest - 3 * DAY_MS, "suspect": 1,
        "first_suspect": newest - 2 * DAY_MS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ages", "reason", "state", "age", "words"),
    [
        ([0, 1, 2, 3], Reason.ROW_UNUSABLE, "missing", 4, "row unusable"),
        ([0, 1, 2, 3], Reason.ABSENT_ONCE, "missing", 4, "waiting for a second sighting"),
        ([0, 1, 2, 3, 4], Reason.VALUES_DIFFER, "suspect", 3, "values differ"),
        ([0, 1, 2, 3, 4], Reason.CONTESTED, "suspect", 3, "contested"),
        ([0, 1, 2, 3, 4], Reason.NOT_AT_EXCHANGE, "suspect", 3, "not at the exchange"),
    ],
)
def test_the_first_doubt_is_named_with_its_reason(ask, hold, newest, ages, reason, state, age, words):
    hold(ages, reason, **{state: age})
    assert f": 1 {state}, the first {iso(newest - age * DAY_MS)} ({words})" in ask().out
    told = ask("--json").json
    assert (told["first_reason"], told[f"first_{state}"]) == (words, newest - age * DAY_MS)


def test_a_hundred_bars_and_the_grace_are_asked_for_by_default(run):
    done = run("BTC-USD", "1m", "--json")
    assert (done.code, done.json["bars"], done.json["missing"]) == (3, 100, 100)
    assert done.json["stop"] - done.json["start"] == 100 * MINUTE


def test_every_fault_of_a_question_is_named(run):
    done = run("btc", "3m", "--bars", "0", "--grace-ms", "-1", "--max-unverified-ms", "all", "--young-ms", "-2")
    assert (done.code, done.out) == (78, "")
    for said in (
        "symbol 'btc' is not a product id",
        "timeframe '3m' is not supported",
        "--bars '0' is not",
        "grace_ms",
        "--max-unverified-ms 'all' is not allowed; allowed: a whole number of ms from 0, or any",
        "--young-ms '-2' is not",
    ):
        assert said in done.err


def test_a_count_of_thousands_of_digits_is_a_fault(run):
    done = run("BTC-USD", "5m", "--bars", "9" * 5_000)
    assert (done.code, done.out) == (78, "")
    assert f"--bars '{'9' * 60}' is not allowed; allowed: a whole number from 1 to " in done.err


def test_no_answer_is_no_readiness(run, run_inside, server):
    server.set(SCOPE.candle_key(SERIES), "x")
    done = run(*QUESTION)
    assert (done.code, done.out) == (1, "")
    assert "WRONGTYPE" in done.err
    away = run_inside("ready", *QUESTION, RECONCILER_REDIS_URL="redis://127.0.0.1:1")
    assert (away.code, away.out) == (69, "")


def test_the_script_is_printed_as_it_is_and_needs_no_cache(run_inside):
    done = run_inside("ready", "--script", RECONCILER_REDIS_URL="redis://127.0.0.1:1")
    assert (done.code, done.out, done.err) == (0, READY_TEXT, "")


def test_a_server_that_runs_is_found_and_one_is_started_where_none_runs(run_inside, tmp_path):
    done = run_inside("ready", "BTC-USD", "1m", "--data-dir", tmp_path / "data", "--json")
    assert (done.code, done.json["missing"]) == (3, 100)
