"""The ready gate over a real Redis, asked through both kinds of client."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis as redis_py
import redis.asyncio
from tests.conftest import plain_client
from tests.integration.conftest import settled_grace_ms
from tests.integration.verified_bars import block_fields_of

from reconciler_engine import examine, is_ready
from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, FindingInterval, Reason, State
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.findings import encode_day
from reconciler_engine.store.scope import Layout, Scope

pytestmark = pytest.mark.contract(cluster_by_mark=True)

DAY = 86_400_000
KEY = "candles:1:1:BTC-USD:1d"
LEDGER = "{candles:1:1:BTC-USD:1d}:evidence"
GRACE_MS = settled_grace_ms(DAY)
LAYOUT = Layout.USER


@pytest.fixture(params=Layout, autouse=True)
def layout(request, monkeypatch):
    """Give all names of this file the forms of each layout."""
    scope, series = Scope(1, 1, "", request.param), Series("BTC-USD", Timeframe.D1)
    names = {"LAYOUT": request.param, "KEY": scope.candle_key(series), "LEDGER": scope.evidence_key(series)}
    for name, value in names.items():
        monkeypatch.setitem(globals(), name, value)
    return request.param


def newest_closed() -> int:
    """The open time of the newest closed day."""
    return (time.time_ns() // 1_000_000 - GRACE_MS) // DAY * DAY - DAY


def member(open_time: int, **changes: object) -> str:
    values = {"timestamp": open_time, "open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": 3}
    return json.dumps({**values, "symbol": "BTC-USD", "timeframe": "1d", **changes})


def note(client, open_time: int, state: State) -> None:
    """Write what is known of a day."""
    stretch = FindingInterval(open_time, open_time + DAY, Finding(state, Reason.BY_HAND, 0, 0, 1, None))
    client.hset(LEDGER, str(open_time // DAY), encode_day([stretch], open_time // DAY, DAY))


@pytest.fixture(params=["bytes", "text", "resp3"])
def sync_client(redis_url, request):
    kinds: dict[str, dict[str, Any]] = {"bytes": {}, "text": {"decode_responses": True}, "resp3": {"protocol": 3}}
    options = kinds[request.param]
    with plain_client(redis_url, **options) as client:
        yield client


@pytest.fixture
def fill(redis_url):
    """Write the candles of the newest days, but for some, and note them as verified."""

    def write(days, *, without=()):
        newest = newest_closed()
        members = {newest - age * DAY: member(newest - age * DAY).encode() for age in set(range(days)) - set(without)}
        with plain_client(redis_url) as client:
            client.zadd(KEY, {text: open_time for open_time, text in members.items()})
            client.hset(LEDGER, mapping=block_fields_of(members, DAY))
        return newest

    return write


def ask(client, bars, **options):
    return is_ready(client, "BTC-USD", "1d", bars, grace_ms=GRACE_MS, layout=LAYOUT, **options)


# One question goes to a cluster by default.
@pytest.mark.contract
def test_it_is_ready_when_each_of_the_last_bars_is_there(sync_client, fill):
    fill(5)
    assert ask(sync_client, 5) is True
    assert ask(sync_client, 6) is False


@pytest.mark.parametrize("age", [0, 2, 4])
def test_one_missing_bar_is_enough(sync_client, fill, age):
    fill(5, without={age})
    assert ask(sync_client, 5) is False
    # bars newer than the hole
    if age:
        assert ask(sync_client, age) is True


def test_nothing_cached_is_not_ready(sync_client):
    assert ask(sync_client, 1) is False


def test_the_forming_bar_is_not_asked_about_and_does_not_help(sync_client, fill):
    newest = fill(3, without={0})
    sync_client.zadd(KEY, {member(newest + DAY): newest + DAY})
    assert ask(sync_client, 1) is False


def test_a_bar_within_its_grace_is_not_closed_yet(sync_client, fill):
    fill(3, without={0})
    assert is_ready(sync_client, "BTC-USD", "1d", 2, grace_ms=GRACE_MS + DAY, layout=LAYOUT) is True
    assert is_ready(sync_client, "BTC-USD", "1d", 2, grace_ms=GRACE_MS, layout=LAYOUT) is False


@pytest.mark.parametrize("change", [{"close": "1.5"}, {"symbol": "ETH-USD"}, {"timestamp": 1}, {"volume": None}])
def test_a_member_that_is_no_candle_fills_no_slot(sync_client, fill, change):
    newest = fill(3, without={1})
    sync_client.zadd(KEY, {member(newest - DAY, **change): newest - DAY})
    assert ask(sync_client, 3) is False


def test_a_duplicate_hides_no_hole(sync_client, fill):
    newest = fill(3, without={1})
    sync_client.zadd(KEY, {member(newest, close=1.6): newest})
    assert sync_client.zcard(KEY) == 3
    assert ask(sync_client, 3) is False


def test_evidence_settles_what_no_candle_can_fill(sync_client, fill):
    newest = fill(5, without={1, 2, 3})
    note(sync_client, newest - DAY, State.EMPTY)
    note(sync_client, newest - 2 * DAY, State.HALTED)
    assert ask(sync_client, 5) is False
    note(sync_client, newest - 3 * DAY, State.UNLISTED)
    assert ask(sync_client, 5) is True


@pytest.mark.parametrize("state", [State.MISSING, State.SUSPECT])
def test_evidence_of_a_hole_or_a_doubt_settles_nothing(sync_client, fill, state):
    newest = fill(3, without={1})
    note(sync_client, newest - DAY, state)
    assert ask(sync_client, 3) is False


def test_a_suspect_candle_is_not_trusted(sync_client, fill):
    newest = fill(3)
    note(sync_client, newest - DAY, State.SUSPECT)
    assert ask(sync_client, 3) is False
    assert ask(sync_client, 1) is True


@pytest.mark.parametrize("body", [b"\xff\xfe no findings", b""])
def test_evidence_that_cannot_be_read_is_none(sync_client, fill, body):
    newest = fill(3, without={1})
    for day in range(3):
        sync_client.hset(LEDGER, str(newest // DAY - day), body)
    assert ask(sync_client, 3) is False
    assert ask(sync_client, 1) is True


def test_a_member_of_any_bytes_is_no_candle_for_any_client(sync_client, fill):
    newest = fill(1)
    sync_client.zadd(KEY, {b"\xff": newest - DAY})
    assert ask(sync_client, 2) is False
    assert ask(sync_client, 1) is True


def test_other_users_have_other_candles(sync_client, redis_url, fill):
    fill(3)
    assert ask(sync_client, 3, user_id=2) is (LAYOUT is Layout.EXCHANGE)
    other, series = Scope(7, 9, "", LAYOUT), Series("BTC-USD", Timeframe.D1)
    with plain_client(redis_url) as client:
        # Their names may lie at another node.
        for old, new in ((KEY, other.candle_key(series)), (LEDGER, other.evidence_key(series))):
            client.restore(new, 0, client.dump(old))
            client.delete(old)
    assert ask(sync_client, 3, user_id=7, exchange_id=9) is True


def test_why_not_is_told_to_any_client(sync_client, fill):
    newest = fill(4, without={1, 3})
    told = examine(sync_client, "BTC-USD", "1d", 4, grace_ms=GRACE_MS, layout=LAYOUT)
    assert (told.is_ready, told.reason, told.ready_until) == (False, "not asked for", newest - 3 * DAY)
    assert told.missing == (2, newest - 3 * DAY)


async def test_a_trio_client_is_awaited(redis, fill):
    fill(5, without={4})
    assert await ask(redis, 4) is True
    assert await ask(redis, 5) is False


async def test_a_forgotten_await_is_no_yes(redis, fill):
    fill(1)
    with pytest.raises(TypeError, match="await is_ready"):
        bool(ask(redis, 1))


async def test_an_error_is_no_answer(redis):
    await redis.set(KEY, "x")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await ask(redis, 1)


def test_redis_py_errors_are_redis_py_s(sync_client):
    sync_client.set(KEY, "x")
    with pytest.raises(redis_py.ResponseError, match="WRONGTYPE"):
        ask(sync_client, 1)


def test_clients_of_other_kinds_are_refused(sync_client):
    with pytest.raises(TypeError, match=r"redis\.asyncio.*allowed: reconciler_engine's TrioRedis, or a client"):
        is_ready(redis.asyncio.Redis().pipeline(), "BTC-USD", "1d", 1)
    with pytest.raises(TypeError, match="no pipeline"):
        examine(sync_client.pipeline(), "BTC-USD", "1d", 1)
    with pytest.raises(TypeError, match="NoneType"):
        is_ready(None, "BTC-USD", "1d", 1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="no pipeline"):
        ask(sync_client.pipeline(), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("btc", "1d", 1), "btc"),
        (("BTC-USD", "3m", 1), "allowed: 1m, 5m"),
        (("BTC-USD", "1d", 0), "bars 0 .* from 1 to 10000"),
        (("BTC-USD", "1d", 10_001), "bars 10001"),
        (("BTC-USD", "1d", True), "bars True"),
        (("BTC-USD", "1d", 1.0), "bars 1.0"),
    ],
)
def test_bad_arguments_are_refused(redis_url, arguments, message):
    with pytest.raises(ValueError, match=message):
        is_ready(TrioRedis.from_url(redis_url), *arguments)


def test_a_layout_that_there_is_not_is_refused(redis_url):
    with pytest.raises(ValueError, match="layout 'shared' is not allowed; allowed: user, exchange, overflow"):
        is_ready(TrioRedis.from_url(redis_url), "BTC-USD", "1d", 1, layout="shared")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace_ms": -1}, "grace_ms -1 is not allowed; allowed: a whole number of ms from 0$"),
        ({"young_ms": "any"}, "young_ms 'any' is not allowed; allowed: a whole number of ms from 0$"),
        ({"max_unverified_ms": "all"}, "max_unverified_ms 'all' is not allowed; allowed: .* from 0, or any$"),
        ({"max_unverified_ms": True}, "max_unverified_ms True is not allowed"),
    ],
)
def test_bad_options_are_refused(redis_url, options, message):
    with pytest.raises(ValueError, match=message):
        is_ready(TrioRedis.from_url(redis_url), "BTC-USD", "1d", 1, **options)
