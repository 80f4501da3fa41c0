"""The digest look: what a scan takes longer where it holds every candle against the digest of the verified one.

Workload: the newest 300 bars of 1,000 products in six timeframes (6,000 series, 1.8m members of the feeder's form),
all verified. Each way reads the same windows, in tasks of 2,000 members as workers do.

    members    `perform_scan` without digests: each member is parsed
    digests    `perform_scan` with them: five or six fields a series are read beside its members, and each is hashed

Goal: digests <= 1.4x members. Told is the CPU, too: of the scan, of the server, and of each command in there. As a test
(2 products, one round) nothing is timed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from random import Random
from typing import Any

import redis as redis_py
import trio
from benches.bench_scan import NOW, SCOPE, TIMEFRAMES, tasks_of
from benches.feeder_members import feeder_member
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.engine.tasks.messages import ScanTask
from reconciler_engine.engine.tasks.scan import perform_scan
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore

BARS = 300


def windows_of(products: int) -> list[tuple[Series, Interval]]:
    series = [Series(f"P{number:04}-USD", timeframe) for number in range(products) for timeframe in TIMEFRAMES]
    stops = (NOW // one.timeframe.step_ms * one.timeframe.step_ms for one in series)
    return [(one, Interval(stop - BARS * one.timeframe.step_ms, stop)) for one, stop in zip(series, stops, strict=True)]


def fill(url: str, wanted: list[tuple[Series, Interval]]) -> None:
    random = Random(8)
    with redis_py.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipe:
        for series, interval in wanted:
            step = series.timeframe.step_ms
            members = {}
            for at in interval.grid(step):
                low, volume = round(60_000 + random.random() * 5_000, 2), round(random.random() * 100, 8)
                candle = Candle(at, low, round(low + 17.25, 2), low, low, volume)
                members[at] = feeder_member(series, candle).encode()
            pipe.zadd(SCOPE.candle_key(series), {member: at for at, member in members.items()})
            pipe.hset(SCOPE.evidence_key(series), mapping=block_fields_of(members, step))
            if len(pipe) >= 100:
                pipe.execute()
        pipe.execute()


def spent(url: str) -> Mapping[str, float]:
    """Seconds of CPU so far: of this process, of the server, and of the commands of a scan in there."""
    with redis_py.Redis.from_url(url) as client:
        cpu: Any = client.info("cpu")
        commands: Any = client.info("commandstats")
    asked = {name: commands.get(f"cmdstat_{name}", {}).get("usec", 0) / 1e6 for name in ("zrangebyscore", "hmget")}
    return {"scan": time.process_time(), "server": cpu["used_cpu_user"] + cpu["used_cpu_sys"], **asked}


def test_the_digest_look(redis_url, comparison):
    wanted = windows_of(1_000 if comparison.is_timed else 2)
    fill(redis_url, wanted)
    plain = tasks_of(wanted)
    asking = [task.model_copy(update={"digests": True}) for task in plain]

    async def main() -> None:
        async with TrioRedis.from_url(redis_url) as client:
            store, evidence = CandleStore(client, SCOPE), EvidenceStore(client, SCOPE)

            async def perform(tasks: list[ScanTask]) -> None:
                for task in tasks:
                    assert (await perform_scan(store, evidence, task)).findings == ()

            ways = {"members": lambda: perform(plain), "digests": lambda: perform(asking)}
            title = f"digest look: {len(wanted)} series, {BARS * len(wanted)} members, all verified"
            await comparison.run(title, ways, rounds=7)
            for name, way in ways.items():
                before = spent(redis_url)
                await way()
                used = [f"{what} {seconds - before[what]:.2f} s" for what, seconds in spent(redis_url).items()]
                comparison.tell(f"  CPU, {name}: {', '.join(used)}")
            # The look does look: without the digests all candles are told of.
            (series, _), *_ = wanted
            await client.execute_command("DEL", SCOPE.evidence_key(series))
            (found,) = (await perform_scan(store, evidence, asking[0])).findings
            assert (found.symbol, sum(count for _, count in found.unverified)) == (series.symbol, BARS)

    trio.run(main)
