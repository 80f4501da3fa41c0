"""The printed ACL: enough for all that a role does, on a real server that logs each denial, and not more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import redis as redis_py
import trio
from tests.integration.conftest import PATIENCE_S, wait_until
from tests.integration.engines import DENSE, MINUTE, THIN, engine, span

from reconciler_engine import is_ready, permit, wait_ready
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.planning.verification import Verify
from reconciler_engine.store.members import member_of
from reconciler_engine.store.rights import acl_rules, check_rights
from reconciler_engine.store.scope import Layout, Scope


def denials(admin: redis_py.Redis) -> set[str]:
    """Return the reason and object of each denial."""
    return {f"{one['reason']} {one['object']}" for one in admin.acl_log()}


@pytest.fixture
def users(own_server):
    """Make a user by the printed rules; gives the URL to connect as that user, and the administrator."""
    with redis_py.Redis.from_url(own_server.url, decode_responses=True) as admin:

        def make(role, layout=Layout.USER) -> str:
            name = f"{role}-{layout}"
            admin.execute_command("ACL", "SETUSER", name, "on", ">pw", *acl_rules(role, layout, 1, 1))
            return f"unix://{quote(name)}:pw@{own_server.plan.socket}"

        yield make, admin


@pytest.mark.parametrize("layout", Layout)
async def test_an_engine_works_by_the_printed_rules(users, layout):
    make, admin = users
    async with engine(make("engine", layout), layout=layout.value, announce_close=100) as run:
        await check_rights(run.parts.client, run.parts.scope)
        await run.parts.clock.measure_when_due(run.sources[0], run.parts.bucket)
        for series in (DENSE, THIN):
            request = PassRequest("full_reconcile", [series], 30 * MINUTE, verify=Verify.ALL, bars=60)
            assert (await run.parts.reconciler.run_pass(request)).errors == ()
        assert (await run.backfill([DENSE], span(400))).errors == ()
        await run.parts.coverage.read()
    assert denials(admin) == set()


def test_a_reader_reads_by_the_printed_rules_and_writes_nothing(users, own_server, run_inside):
    make, admin = users

    async def fill() -> str:
        async with engine(own_server.url) as run:
            await run.parts.reconciler.run_pass(PassRequest("full_reconcile", [DENSE], span(100)))
            return run.parts.config.base_url

    source = ("--base-url", trio.run(fill))
    url = make("reader")
    with pytest.raises(redis_py.exceptions.NoPermissionError):
        redis_py.Redis.from_url(url).set("recon:x", 1)
    admin.acl_log_reset()
    status = run_inside("status", RECONCILER_REDIS_URL=url)
    assert status.code == 69
    assert "nothing runs" in status.err
    for command in (
        ("ready", "BTC-USD", "1m"),
        ("evidence", "BTC-USD", "1m", *source),
        ("journal", *source),
        ("changes", *source),
    ):
        done = run_inside(*command, RECONCILER_REDIS_URL=url)
        assert done.code in {0, 3}, done.err
    assert denials(admin) <= {"command config|get", "command config"}


def test_a_gate_asks_by_the_printed_rules_and_reads_nothing_else(users):
    make, admin = users
    with redis_py.Redis.from_url(make("gate")) as client:
        assert is_ready(client, "BTC-USD", "1m", 10) is False
        assert denials(admin) <= {"command client|setinfo", "command client"}
        with pytest.raises(redis_py.exceptions.NoPermissionError):
            client.hgetall("recon:engines")


async def test_a_bot_takes_permits_by_the_printed_rules_and_writes_no_candle(users, own_server):
    make, admin = users
    async with engine(own_server.url) as run:
        assert (await run.backfill([DENSE], span(20))).errors == ()
        with redis_py.Redis.from_url(make("bot")) as client:
            with permit(client, base_url=run.parts.config.base_url) as request:
                request.answered(200)
            assert isinstance(is_ready(client, "BTC-USD", "1m", 10), bool)
            assert denials(admin) <= {"command client|setinfo", "command client"}
            with pytest.raises(redis_py.exceptions.NoPermissionError):
                client.zadd(run.key(DENSE), {"x": 1})
    (account,) = admin.scan_iter("recon:*:use")
    assert [told[1] for told in admin.hgetall(account).items() if told[0].endswith("|other program")] == ["1"]


@pytest.mark.parametrize("layout", Layout)
def test_a_gate_hears_of_repairs_by_the_printed_rules(users, layout):
    make, admin = users
    scope = Scope(1, 1, "", layout)
    channel = scope.repaired_channel(DENSE)
    admin.acl_log_reset()

    def told():
        wait_until(lambda: admin.pubsub_numsub(channel)[0][1] == 1)
        now = time.time_ns() // 1_000_000 // MINUTE * MINUTE
        slots = range(now - 20 * MINUTE, now + 2 * MINUTE, MINUTE)
        admin.zadd(scope.candle_key(DENSE), {member_of(DENSE, Candle(at, 1.0, 1.0, 1.0, 1.0, 1.0)): at for at in slots})
        admin.publish(channel, "{}")

    with redis_py.Redis.from_url(make("gate", layout)) as client, ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(told)
        assert wait_ready(client, "BTC-USD", "1m", 10, PATIENCE_S, layout=layout, max_unverified_ms="any") is True
        hearing.result()
    assert denials(admin) <= {"command client|setinfo", "command client"}


def test_the_command_prints_a_line_that_the_server_takes(own_server, run_inside):
    done = run_inside("config", "acl", "gate", "--layout", "exchange", "--exchange-id", "7")
    assert done.code == 0
    assert done.out.startswith("ACL SETUSER reconciler-gate on >PASSWORD resetkeys resetchannels -@all ~candles:7:* ")
    with redis_py.Redis.from_url(own_server.url) as admin:
        assert admin.execute_command(*done.out.split())
