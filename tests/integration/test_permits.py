"""Permits for other programs: from an engine's bucket, behind its breaker, over every kind of client."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Awaitable
from contextlib import suppress

import pytest
import redis as redis_py
from tests.conftest import plain_client
from tests.every_client import cancelled_at, have

from reconciler_engine import TrioRedis, permit
from reconciler_engine.errors import ConfigError, IdentityStopped, PermitRefused
from reconciler_engine.limiting.breaker import Fate
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.redis_bucket import TokenBucket, script_text
from reconciler_engine.store.bucket_script import bucket_script

KEY = "recon:{api.coinbase.com}:budget:public"
BREAKER = f"{KEY}:breaker"
USE = "recon:{api.coinbase.com}:use"
FAST = Budget(burst=20, period_ms=1_000)
SLOW = Budget(burst=2, period_ms=1_000)
each_way = pytest.mark.parametrize("kind", ["sync", "asyncio", "asyncio text", "trio"])


async def engine_bucket(client, budget, key=KEY, breaker=None):
    """An engine's share in the bucket, from which it has taken a permit."""
    bucket = TokenBucket(bucket_script(client), key, budget, breaker=breaker)
    await bucket.converse(bucket.steps.report(await bucket.wait_permit(), Fate.SERVED, 200))
    return bucket


def made(redis_url, budget=FAST, **names):
    have("trio", redis_url, lambda c: engine_bucket(c, budget, **names))


def statistics(redis_url, budget=FAST):
    async def read(client):
        return await TokenBucket(bucket_script(client), KEY, budget).statistics()

    return have("trio", redis_url, read)


def send(client, act, **options):
    """Ask for a permit as the client wants it, and act in its block."""
    if isinstance(client, TrioRedis) or hasattr(client, "aclose"):
        return _send_awaited(client, act, options)
    with permit(client, **options) as request:
        assert request.is_valid()
        act(request)
    return None


async def _send_awaited(client, act, options):
    async with permit(client, **options) as request:
        assert request.is_valid()
        done = act(request)
        if isinstance(done, Awaitable):
            await done


@pytest.mark.contract
@each_way
def test_another_program_takes_from_the_engines_bucket(redis_url, kind):
    made(redis_url)
    before = statistics(redis_url).granted
    for _ in range(3):
        have(kind, redis_url, lambda c: send(c, lambda r: r.answered(200), name="my bot"))
    assert statistics(redis_url).granted == before + 3
    with plain_client(redis_url) as client:
        (found,) = client.hgetall(USE).items()
    assert found[0].endswith(b"|-|my bot")
    assert found[1] == b"3"


def let_out_after(client, wait_us):
    """End the pause after a refusal, so that the next permit comes after so long (us)."""
    seconds, us = client.time()
    tat = seconds * 1_000_000 + us + wait_us + FAST.limits[0].tolerance_us
    client.hset(KEY, mapping={"until": 0, "tat1": tat, "share": 1_000_000})
    client.hset(BREAKER, "probe", 0)


@each_way
def test_refusals_slow_everybody_down_and_blocks_let_one_probe(redis_url, kind):
    made(redis_url)
    have(kind, redis_url, lambda c: send(c, lambda r: r.answered(429, {"Retry-After": "2"})))
    seen = statistics(redis_url)
    assert (seen.share < 0.6, seen.breaker.throttled, seen.slowed_by) == (True, 1, 429)
    assert 1_000 < seen.paused_ms <= 2_000
    with plain_client(redis_url) as client:
        let_out_after(client, 0)
    blocked = b'{"error": "Too many errors"}'
    have(kind, redis_url, lambda c: send(c, lambda r: r.answered(403, {}, blocked), priority="live"))
    assert statistics(redis_url).state == "probing"


@each_way
def test_no_answer_counts_as_the_engines_own(redis_url, kind):
    made(redis_url)
    for _ in range(3):
        have(kind, redis_url, lambda c: send(c, lambda r: r.unanswered()))
    assert statistics(redis_url).breaker.silent == 3


@each_way
def test_a_budget_without_an_engine_is_refused(redis_url, kind):
    with pytest.raises(ConfigError, match=r"budget recon:\{api.coinbase.com\}:budget:egress:b .* no engine"):
        have(kind, redis_url, lambda c: send(c, ignore, egress="b"))


@each_way
def test_a_permit_beyond_the_wait_is_refused(redis_url, kind):
    made(redis_url, SLOW)
    with pytest.raises(PermitRefused):
        have(kind, redis_url, lambda c: send(c, ignore, max_wait_s=0.05, priority="live"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": "first"}, "priority 'first' is not allowed; allowed: low, live"),
        ({"max_wait_s": -1}, "max_wait_s -1 is not allowed; allowed: seconds from 0 to 3600"),
    ],
)
def test_bad_arguments_are_refused(redis_url, options, message):
    with plain_client(redis_url) as client, pytest.raises(ValueError, match=message):
        permit(client, **options)


async def test_the_block_is_that_of_its_client(redis, redis_url):
    with pytest.raises(TypeError, match="async with permit"), permit(redis):
        pass
    with plain_client(redis_url) as client, pytest.raises(TypeError, match="allowed: `with permit"):
        async with permit(client):
            pass


def test_a_key_is_known_by_its_id_and_stopped_for_all(redis_url):
    # As `Credentials.identity` names it.
    key = "recon:{api.coinbase.com}:budget:key-ba7816bf8f01cfea"
    made(redis_url, key=key, breaker="recon:{api.coinbase.com}:breaker:key-ba7816bf8f01cfea-1")

    def refuse(client):
        return send(client, lambda r: r.answered(401), api_key_id="abc", priority="live")

    for _ in range(4):
        have("sync", redis_url, refuse)
    with pytest.raises(IdentityStopped):
        have("sync", redis_url, refuse)


def test_low_priority_leaves_the_last_permit_to_others(redis_url):
    made(redis_url, SLOW)
    wait_full(redis_url)
    taken: list[object] = []
    # Of two permits one is spare; the next comes after half a second, and is the bucket's last one again.
    have("sync", redis_url, lambda c: send(c, taken.append))
    with pytest.raises(PermitRefused):
        have("sync", redis_url, lambda c: send(c, taken.append, max_wait_s=0.2))
    have("sync", redis_url, lambda c: send(c, taken.append, max_wait_s=0.2, priority="live"))
    assert len(taken) == 2


def wait_full(redis_url):
    deadline = time.monotonic() + 20
    while statistics(redis_url, SLOW).available < 2 and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_cancel_at_any_await_holds_no_probe(redis_url, kind):
    made(redis_url)
    have("sync", redis_url, lambda c: send(c, lambda r: r.answered(403, {}, b"Too many errors"), priority="live"))

    async def cancel_everywhere(client):
        number, cancelled = 1, True
        while cancelled:
            with plain_client(redis_url) as plain:
                let_out_after(plain, 20_000)
                cancelled = await cancelled_at(number, lambda: send(client, ignore, priority="live"))
                assert plain.hget(BREAKER, "probe") == b"0", number
            number += 1
        return number

    assert have(kind, redis_url, cancel_everywhere) > 4


@each_way
def test_a_budget_that_is_lost_under_a_request_is_told_nothing(redis_url, kind):
    made(redis_url)

    def lose(request):
        request.answered(429)
        with plain_client(redis_url) as client:
            client.flushall()

    have(kind, redis_url, lambda c: send(c, lose))
    with plain_client(redis_url) as client:
        assert client.exists(KEY, BREAKER) == 0


def test_a_program_that_dies_leaves_its_permit_spent_and_nothing_else(redis_url):
    made(redis_url)
    with suppress(KeyboardInterrupt):
        have("sync", redis_url, lambda c: send(c, _die))
    have("sync", redis_url, lambda c: send(c, lambda r: r.answered(200)))
    assert statistics(redis_url).state == "closed"


def ignore(_):
    """Send nothing, and say nothing."""


def _die(_):
    raise KeyboardInterrupt


def test_redis_cli_takes_a_permit_and_reports(redis_url, redis_server, tmp_path):
    made(redis_url)
    script = tmp_path / "permit.lua"
    script.write_text(script_text())

    def cli(*words):
        command = ("redis-cli", "-s", redis_server.plan.socket, "--eval", script, KEY, BREAKER, ",", *words)
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [line for line in told.splitlines() if line]

    lateness_us, breaker, *limits = cli("terms")
    assert (lateness_us, breaker, limits) == ("250000", BREAKER, ["50000", "750000"])
    time.sleep(0.1)
    granted, wait_us, _, _, turn = cli("reserve", "0")
    assert (granted, wait_us) == ("1", "0")
    assert cli("report", turn, "throttled", "429") == ["1", "0"]
    assert statistics(redis_url).breaker.throttled == 1


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["take"], "operation take is not allowed; allowed: reserve, "),
        ([], "operation nil is not allowed"),
        (["reserve", "soon"], "max_wait_us soon is not allowed; allowed: a number of microseconds"),
        (["spare"], "max_wait_us nil is not allowed"),
        (["report", "x", "served", 200], "turn x is not allowed; allowed: the one that came with the permit"),
        (["report", 1, "stopped", 200], "answer stopped is not allowed; allowed: served, unclear, silent, "),
        (["report", 1, "throttled"], "status nil is not allowed; allowed: the number of the HTTP status"),
    ],
)
def test_the_script_names_what_is_wrong_with_a_call(redis_url, words, fault):
    made(redis_url)
    with redis_py.Redis.from_url(redis_url) as client, pytest.raises(redis_py.ResponseError, match=fault):
        client.eval(script_text(), 2, KEY, BREAKER, *words)
