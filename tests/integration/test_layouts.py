"""The feeder's layouts: each filled under its own names, a wrong choice told, and what the feeder's deletions leave."""

from __future__ import annotations

import pytest
import redis as redis_py
import trio
from tests.integration.engines import DENSE, MARKET, MINUTE, T0, Engine, engine, span, truth

from reconciler_engine import is_ready
from reconciler_engine.cli.manual import PAGES
from reconciler_engine.engine.parts import make_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.journal import Journal
from reconciler_engine.store.rights import check_rights
from reconciler_engine.store.scope import Layout, Scope

MANUAL = PAGES["layouts"].read_text("utf-8")
SPAN = span(90)
NOW = SPAN.stop + 90 * MINUTE
HOLE = span(5, 40)


def candles(interval: Interval = SPAN) -> list[Candle]:
    found = MARKET.bars("BTC-USD", DENSE.timeframe, interval, interval.stop)
    return [Candle(at, float(o), float(h), float(low), float(c), float(v)) for at, o, h, low, c, v in sorted(found)]


async def repair(run: Engine, *, repair: bool = True) -> ReconciliationResult:
    return await run.parts.reconciler.run_pass(PassRequest("test", [DENSE], SPAN, repair=repair))


async def put(run: Engine, layout: Layout, *, without: Interval = HOLE) -> None:
    """Write candles in some layout, as a feeder would."""
    key = run.parts.scope.candle_key(DENSE, layout)
    here = run.parts.scope.candle_key(DENSE)
    await run.put(DENSE, *(one for one in candles() if not without.start <= one.timestamp < without.stop))
    if key != here:
        await run.parts.client.execute_command("RENAME", here, key)


@pytest.mark.parametrize("layout", Layout)
async def test_a_pass_fills_the_layouts_key_and_the_gate_says_so(redis_url, layout):
    async with engine(redis_url, layout=layout.value, ttl=600) as run:
        await run.turn_to(NOW)
        await put(run, layout)
        client, scope = run.parts.client, run.parts.scope
        # a duplicate that gives way, for the journal
        await run.put(DENSE, Candle(T0, 1.0, 1.0, 1.0, 1.0, 1e-6, None))
        with redis_py.Redis.from_url(redis_url) as reader:
            grace = await run.parts.clock.redis_now() - SPAN.stop - MINUTE // 2
            gate = {"grace_ms": grace, "layout": layout}
            # the feeder's candles are not verified
            fed = gate | {"max_unverified_ms": "any"}
            assert not is_ready(reader, "BTC-USD", "1m", 60, **fed)
            listener = reader.pubsub(ignore_subscribe_messages=True)
            listener.subscribe(scope.repaired_channel(DENSE))
            listener.get_message(timeout=5)
            result = await repair(run)
            assert (result.filled, result.errors) == (5, ())
            assert await run.held(DENSE) == truth(DENSE, SPAN)
            told = listener.get_message(timeout=5)
            assert is_ready(reader, "BTC-USD", "1m", 60, **fed)
            # the others' keys are not there
            assert [is_ready(reader, "BTC-USD", "1m", 60, **fed | {"layout": one}) for one in Layout].count(True) == 1
        assert told is not None
        assert b'"count":5}' in told["data"]
        (change,) = await Journal(client, scope).read([DENSE], since=0, limit=9)
        assert change.start == T0
        assert await client.execute_command("PTTL", run.key(DENSE)) == -1
        assert await client.exists(scope.evidence_key(DENSE)) == 1
        # a key made anew has the layout's life
        await client.delete(run.key(DENSE))
        await repair(run)
        with redis_py.Redis.from_url(redis_url) as reader:
            assert is_ready(reader, "BTC-USD", "1m", 60, **gate)
        assert (await client.execute_command("PTTL", run.key(DENSE)) == -1) is (layout is Layout.EXCHANGE)


@pytest.mark.parametrize(
    ("layout", "there", "said"),
    [
        (Layout.USER, Layout.EXCHANGE, "readers look first at candles:1:BTC-USD:1m"),
        (Layout.OVERFLOW, Layout.USER, "readers look first at candles:1:1:BTC-USD:1m"),
        (Layout.EXCHANGE, Layout.USER, "candles:1:BTC-USD:1m is empty, and filling it would move readers to it"),
    ],
)
async def test_a_layout_that_helps_no_reader_is_told_and_not_filled(redis_url, layout, there, said):
    async with engine(redis_url, layout=layout.value) as run:
        await run.turn_to(NOW)
        await put(run, there)
        result = await repair(run)
        assert (result.filled, result.requests) == (0, 0)
        assert said in result.errors[0]
        assert (
            f"layout {layout} is the wrong choice; allowed: layout {there}, or allow_other_layout" in result.errors[0]
        )
        survey = await run.parts.surveyor.survey([DENSE], SPAN)
        assert (survey.plan.requests, said in (survey.series[0].error or "")) == (0, True)
        # a backfill's pages look for themselves
        filled = await run.backfill([DENSE], SPAN)
        assert (filled.filled, filled.requests, await run.held(DENSE)) == (0, 0, {})
        assert any(said in error for error in filled.errors)
    async with engine(redis_url, layout=layout.value, allow_other_layout=True) as run:
        await run.turn_to(NOW)
        assert (await repair(run)).filled == 90


async def test_the_shared_key_is_filled_beside_old_keys_of_users(redis_url):
    async with engine(redis_url, layout="exchange") as run:
        await run.turn_to(NOW)
        await put(run, Layout.USER)
        await put(run, Layout.EXCHANGE)
        result = await repair(run)
        assert (result.filled, result.errors) == (5, ())


@pytest.mark.parametrize("layout", Layout)
async def test_what_the_feeder_deletes_is_missing_and_filled_again(redis_url, layout):
    async with engine(redis_url, layout=layout.value) as run:
        await run.turn_to(NOW)
        await repair(run)
        companions = await run.parts.client.execute_command("KEYS", "{*")
        for pattern in ("candles:1:*", "usercandles:1:1:*"):
            for key in await run.parts.client.execute_command("KEYS", pattern):
                await run.parts.client.execute_command("DEL", key)
        assert await run.held(DENSE) == {}
        assert sorted(await run.parts.client.execute_command("KEYS", "{*")) == sorted(companions) != []
        (read,) = await run.parts.evidence.read([(DENSE, SPAN)])
        assert not Intervals((SPAN,)) - read.known.exists
        assert (await repair(run, repair=False)).missing == 90
        result = await repair(run)
        assert (result.filled, result.confirmed_empty, result.errors) == (90, 0, ())


def test_load_and_doctor_tell_a_wrong_choice(run_inside, redis_url, tmp_path, start_exchange):
    file = tmp_path / "BTC-USD_1m.csv"
    file.write_text(f"start_ms,open,high,low,close,volume\n{T0},1,1,1,1,1\n")
    where = ("--redis-url", redis_url)
    with redis_py.Redis.from_url(redis_url) as client:
        client.zadd("candles:1:BTC-USD:1m", {"x": 1})
        done = run_inside("load", file, *where, "--max-candles", "0")
        assert (done.code, client.exists("candles:1:1:BTC-USD:1m")) == (78, 0)
        assert "layout user is the wrong choice; allowed: layout exchange, or allow_other_layout true" in done.err
        asked = ("--base-url", start_exchange().url, "--symbols", "BTC-USD", "--timeframes", "1m,5m")
        (check,) = [
            one for one in run_inside("doctor", *where, *asked, "--json").json["checks"] if one["name"] == "layout"
        ]
        assert check["status"] == "warn"
        assert (
            "keys of 2 series by layout: user 0, exchange 1, overflow 0; set is user; 1 are not filled"
            in check["detail"]
        )
        assert run_inside("load", file, *where, "--layout", "overflow", "--allow-other-layout", "true").code == 0
        assert client.zcard("usercandles:1:1:BTC-USD:1m") == 1
        assert run_inside("load", file, *where, "--layout", "exchange").code == 0
        assert (client.zcard("candles:1:BTC-USD:1m"), client.ttl("candles:1:BTC-USD:1m")) == (2, -1)


async def test_engines_of_all_scopes_behind_one_address_share_one_budget(redis_url):
    async with engine(redis_url) as run:
        for user_id, layout in ((2, "user"), (1, "exchange"), (3, "overflow")):
            config = run.parts.config.model_copy(update={"user_id": user_id, "layout": layout})
            other = make_parts(config, run.parts.client, owns_server=False, consumer="other")
            before = (await run.parts.bucket.statistics()).granted
            await other.bucket.wait_permit()
            assert (await run.parts.bucket.statistics()).granted == before + 1


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("bars", "told"), [(0, 0), (20, 0), (60, 1)])
async def test_a_repair_among_the_newest_bars_is_told_on_the_channel_of_closes(redis_url, layout, bars, told):
    async with engine(redis_url, layout=layout.value, announce_close=bars) as run:
        await run.turn_to(SPAN.stop + MINUTE // 2)
        await put(run, layout)
        with redis_py.Redis.from_url(redis_url) as reader:
            listener = reader.pubsub(ignore_subscribe_messages=True)
            channel = run.parts.scope.close_channel(DENSE)
            listener.subscribe(channel)
            listener.get_message(timeout=5)
            assert (await repair(run)).filled == 5
            reader.publish(channel, "end")
            messages = []
            while b"end" not in messages:
                message = listener.get_message(timeout=5)
                messages += [message["data"]] if message else []
        newest = await run.parts.client.execute_command("ZRANGE", run.key(DENSE), -1, -1)
        assert messages[:-1] == newest * told


@pytest.mark.parametrize("layout", Layout)
def test_every_command_speaks_of_the_layouts_keys(run_inside, redis_url, start_exchange, layout):
    where = ("--redis-url", redis_url, "--layout", layout)
    series = ("--base-url", start_exchange(public_rate=0).url, "--symbols", "BTC-USD", "--timeframes", "1d")
    for command, code in (("scan", 3), ("reconcile", 0), ("scan", 0), ("coverage", 0), ("journal", 0)):
        done = run_inside(command, *where, *(series if command != "journal" else series[2:]))
        assert done.code == code, (command, done.err)
    gate = ("ready", "BTC-USD", "1d", "--bars", "100", "--max-unverified-ms", "any")
    assert run_inside(*gate, *where).code == 0
    assert run_inside(*gate, "--redis-url", redis_url).code == (0 if layout is Layout.USER else 3)
    assert run_inside("evidence", "BTC-USD", "1d", *where, *series[:2]).code == 0
    with redis_py.Redis.from_url(redis_url) as client:
        assert [key for key in client.keys("*candles:*") if not key.startswith(b"{")] == [
            Scope(1, 1, "", layout).candle_key(Series("BTC-USD", Timeframe.D1)).encode()
        ]


async def test_a_bucket_of_an_engine_of_before_is_inherited_once(redis_url):
    async with engine(redis_url) as run:
        client, scope = run.parts.client, run.parts.scope
        await run.parts.bucket.wait_permit()
        bucket, older = scope.shared_key("budget:public"), scope.key("budget:public")
        fields = await client.execute_command("HGETALL", bucket)
        await client.execute_command("HSET", older, *(one for pair in fields.items() for one in pair), "granted", 77)
        for others, granted in ((0, 1), (1, 77)):
            if others:
                await client.delete(bucket)
            other = make_parts(run.parts.config, client, owns_server=False, consumer="other")
            assert (await other.bucket.statistics()).granted == granted


KEYS = ("~candles:*", "~{candles:*", "~recon:*")
RIGHTS = {
    Layout.USER: (*KEYS, "&channel:candle:repaired:*", "&channel:candle:close:*"),
    Layout.EXCHANGE: (*KEYS, "&channel:exchange:*"),
    Layout.OVERFLOW: (
        *(*KEYS, "~usercandles:*", "~{usercandles:*"),
        *("&channel:candle:repaired:*", "&channel:candle:close:*"),
    ),
}


@pytest.mark.parametrize("layout", Layout)
async def test_the_rights_that_the_manual_names_are_enough(redis_url, layout):
    for one in (
        "candles",
        "recon",
        "channel:candle:repaired",
        "channel:exchange",
        "usercandles",
        "channel:candle:close",
    ):
        assert f"`{one}:*`" in MANUAL
    async with TrioRedis.from_url(redis_url) as admin:
        rules = ("on", ">pw", "resetkeys", "resetchannels", *RIGHTS[layout], "+@all", "-@admin")
        await admin.execute_command("ACL", "SETUSER", f"engine-{layout}", *rules)
        try:
            url = redis_url.replace("unix://", f"unix://engine-{layout}:pw@")
            async with engine(url, layout=layout.value, announce_close=100) as run:
                await check_rights(run.parts.client, run.parts.scope)
                await run.turn_to(SPAN.stop + MINUTE // 2)
                result = await run.parts.reconciler.run_pass(PassRequest("full", [DENSE], 90 * MINUTE, bars=60))
                assert (result.filled, result.errors) == (90, ())
        finally:
            await admin.execute_command("ACL", "DELUSER", f"engine-{layout}")


async def test_tasks_that_ask_for_permits_at_once_inherit_together(redis_url):
    async with engine(redis_url) as run, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(run.parts.bucket.statistics)
