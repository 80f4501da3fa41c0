"""A command beside an engine: its tasks are done by its own settings, whichever worker does them, or it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis as redis_py
import trio
from tests.integration.engines import DENSE, MINUTE, T0, Engine, engine, span, truth

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.terms import find_other_rates, terms_of
from reconciler_engine.market.candle import Candle
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.planning.verification import Verify
from reconciler_engine.store.protocol import PROTOCOL, at_work
from reconciler_engine.store.scope import Layout, Scope
from reconciler_engine.store.status_board import EngineFacts, scope_of

SLOTS = 20
RIGHT = truth(DENSE, span(SLOTS))
WRONG_AT = T0 + 3 * MINUTE


@asynccontextmanager
async def command_beside(run: Engine, redis_url: str, **settings: object) -> AsyncIterator[Parts]:
    """Give the parts of a command with other settings; it has no worker of its own."""
    config = run.parts.config.model_copy(update=settings)
    async with open_parts(config, redis_url, owns_server=False) as parts:
        yield parts


async def reconcile(parts: Parts):
    return await parts.reconciler.run_pass(PassRequest("reconcile", [DENSE], span(SLOTS), verify=Verify.ALL))


async def fill_with_a_wrong_bar(run: Engine) -> None:
    for at, (open_, high, low, close, volume) in RIGHT.items():
        await run.put(DENSE, Candle(at, open_, high, low, close, volume / 2 if at == WRONG_AT else volume))


@pytest.mark.parametrize(("engine_has", "command_has"), [("repair", "report"), ("report", "repair")])
async def test_a_commands_audit_policy_is_what_its_pages_are_merged_by(redis_url, engine_has, command_has):
    async with engine(redis_url, audit_policy=engine_has) as run:
        await fill_with_a_wrong_bar(run)
        before = await run.held(DENSE)
        async with command_beside(run, redis_url, audit_policy=command_has) as parts:
            result = await reconcile(parts)
        repairs = command_has == "repair"
        assert (result.mismatched, result.repaired) == (1, int(repairs))
        assert await run.held(DENSE) == (RIGHT if repairs else before)


async def test_a_backfill_repairs_by_its_own_policy(redis_url):
    async with engine(redis_url, audit_policy="repair") as run:
        await fill_with_a_wrong_bar(run)
        await run.parts.client.zremrangebyscore(run.key(DENSE), T0, T0)
        wrong = (await run.held(DENSE))[WRONG_AT]
        async with command_beside(run, redis_url, audit_policy="report") as parts:
            result = await parts.history.backfill([DENSE], span(SLOTS), lambda _: None)
        assert (result.filled, result.repaired) == (1, 0)
        assert await run.held(DENSE) == RIGHT | {WRONG_AT: wrong}


async def test_a_commands_permission_to_fill_another_layout_goes_with_its_tasks(redis_url):
    async with engine(redis_url, layout="user") as run:
        readers = run.parts.scope.candle_key(DENSE, Layout.EXCHANGE)
        await run.parts.client.zadd(readers, {b"{}": T0})
        refused = await reconcile(run.parts)
        assert (refused.filled, refused.requests, len(refused.errors)) == (0, 0, 1)
        async with command_beside(run, redis_url, allow_other_layout=True) as parts:
            result = await reconcile(parts)
        assert (result.filled, result.errors) == (SLOTS, ())


async def test_a_repair_announces_the_newest_close_where_its_run_was_asked_to(redis_url):
    async with engine(redis_url) as run:
        with redis_py.Redis.from_url(redis_url) as client, client.pubsub() as heard:
            heard.subscribe(run.parts.scope.close_channel(DENSE))
            heard.get_message(timeout=5)
            newest = await run.parts.clock.now() // MINUTE * MINUTE - 2 * MINUTE
            await run.put(DENSE, *(Candle(newest - n * MINUTE, 1, 1, 1, 1, 1) for n in range(1, 5)))
            async with command_beside(run, redis_url, announce_close=100) as parts:
                await parts.reconciler.run_pass(PassRequest("reconcile", [DENSE], 10 * MINUTE))
            assert heard.get_message(timeout=5) is not None


def status_of(source: str, **terms: str) -> EngineStatus:
    """The record of an engine at work that asks the exchange by these settings."""
    return EngineStatus(
        node="there:7:0.0", command="reconciler-engine start", version="9", simulated=False, user_id=1, exchange_id=1,
        source=source, started_at=0, written_at=0, processes=(), jobs=(), budget=None, protocol=PROTOCOL, terms=terms,
    )  # fmt: skip


def enter_engine(redis_url: str, status: EngineStatus) -> None:
    """Write an engine's record, and list it among the engines."""
    key = scope_of(status).key(f"status:{status.node}")
    with redis_py.Redis.from_url(redis_url) as client:
        client.set(key, status.model_dump_json())
        client.hset("recon:engines", key, status.node)


def test_a_command_that_would_ask_otherwise_than_the_engine_refuses(redis_url, run_inside, start_exchange):
    exchange = start_exchange()
    source = exchange.url.removeprefix("http://")

    def command_beside(**terms: str):
        enter_engine(redis_url, status_of(source, **terms))
        return run_inside(
            "reconcile", "--symbols", "BTC-USD", "--timeframes", "1h", "--redis-url", redis_url,
            "--base-url", exchange.url, "--batch-size", 5,
        )  # fmt: skip

    done = command_beside(base_url=f"https://{source}", batch_size="30", key_file="", egress="")
    assert done.code == 78
    assert done.err.count("the engine at work") == done.err.count("base_url ") + done.err.count("batch_size ") == 2
    assert "batch_size 5: the engine at work on these candles (there) has 30" in done.err
    assert exchange.requests() == []
    # as the engine asks, so it may
    assert command_beside(base_url=exchange.url, batch_size="5", key_file="").code != 78


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"batch_size": "7"}, ["batch_size 9: the engine there:7:0.0 has 7"]),
        ({"hourly_limit": "900"}, ["hourly_limit 0: the engine there:7:0.0 has 900"]),
        ({"batch_size": "9"}, []),
        ({"batch_size": "7", "egress": "another address"}, []),
        ({"batch_size": "7", "key_file": "a key"}, []),
    ],
)
async def test_engines_with_other_rates_for_one_budget_are_named(redis_url, terms, told):
    async with engine(redis_url, batch_size=9) as run:
        parts, status = run.parts, status_of("another scope", **(terms_of(run.parts) | terms))
        key = Scope(2, 1, "another scope").key(f"status:{status.node}")
        await parts.client.set(key, status.model_dump_json())
        await parts.client.execute_command("HSET", "recon:engines", key, status.node)
        assert await find_other_rates(parts) == told


async def test_of_two_commands_that_ask_otherwise_the_second_refuses(redis_url, run_inside, start_exchange):
    exchange = start_exchange()
    words = ("reconcile", "--symbols", "BTC-USD", "--timeframes", "1h", "--redis-url", redis_url)
    config = ReconciliationConfig.check({"base_url": exchange.url, "batch_size": 30})
    async with open_parts(config, redis_url, owns_server=False) as first:
        facts, name = EngineFacts("reconciler-engine backfill"), first.queue.consumer

        async def second(batch_size: int) -> Any:
            arguments = (*words, "--base-url", exchange.url, "--batch-size", batch_size)
            return await trio.to_thread.run_sync(lambda: run_inside(*arguments))

        async with at_work(first.client, first.scope, name, facts, terms=terms_of(first)):
            done = await second(5)
            assert (done.code, exchange.requests()) == (78, [])
            assert "batch_size 5: the command at work on these candles (" in done.err
            assert "allowed: the same, or no command at work" in done.err
            assert (await second(30)).code != 78
        # and once it has ended
        assert (await second(5)).code != 78
        assert await first.client.exists(first.scope.key(f"terms:{name}")) == 0
