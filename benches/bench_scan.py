"""Scan: what a pass reads to say that every series is complete, or what it lacks.

Workload ("mix"): 1,000 products in 1m, 5m, 15m, 1h, 4h and 1d, windows as a pass computes them for a look-back of 30
minutes (48k members) and of 6 hours (468k). 4 % of the series lack up to three bars, 1 % hold as many duplicates as
they lack bars, so that counting would find them complete. Every key holds 30 members older than its window. All are
as the feeder writes them.

    bare       a blocking socket and hiredis.Reader; commands packed beforehand; turns the scores into ints. No member
               is looked at, no gap looked for: the least that reading over the wire costs in Python
    scan       CandleStore.read and the engine's examination, without the confirming second read
    whole      the same for `perform_scan` of tasks of 2,000 members, as workers run it: with findings

The pipelines are the same: at most 2,000 members each. Goals: scan <= 2.0x bare at 30 minutes, <= 1.5x at 6 hours.
As a test (10 products, one round) the gaps found by both are compared and nothing is timed.
"""

from __future__ import annotations

import socket
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import hiredis
import pytest
import trio
from benches.feeder_members import feeder_member

from reconciler_engine.detection import Gap
from reconciler_engine.engine.tasks.messages import ScanTask, SeriesSpan
from reconciler_engine.engine.tasks.scan import perform_scan, scan
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import shards
from reconciler_engine.planning.window import scan_window
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.connection import pack
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
TIMEFRAMES = tuple(map(Timeframe, ("1m", "5m", "15m", "1h", "4h", "1d")))
NOW = 1_763_900_000_000
OLDER = 30
MINUTE_MS = 60_000

Wanted = list[tuple[Series, Interval]]


@dataclass(frozen=True)
class Workload:
    """Slots asked about, with those missing and those stored twice."""

    wanted: Wanted
    missing: list[list[int]]
    duplicated: list[list[int]]

    @property
    def members(self) -> int:
        return sum(
            len(grid_of(one)) - len(missing) + len(duplicated)
            for one, missing, duplicated in zip(self.wanted, self.missing, self.duplicated, strict=True)
        )


def grid_of(one: tuple[Series, Interval]) -> range:
    return one[1].grid(one[0].timeframe.step_ms)


def make_workload(products: int, window_ms: int) -> Workload:
    random = Random(7)
    series = [Series(f"P{number:04}-USD", timeframe) for number in range(products) for timeframe in TIMEFRAMES]
    wanted = [(one, scan_window(NOW, one.timeframe, window_ms, max_candles=1_000)) for one in series]
    missing: list[list[int]] = []
    duplicated: list[list[int]] = []
    for one in wanted:
        grid = grid_of(one)
        lacking = (
            sorted(random.sample(grid, min(random.randint(1, 3), len(grid) - 2))) if random.random() < 0.04 else []
        )
        held = sorted(set(grid) - set(lacking))
        missing.append(lacking)
        duplicated.append(sorted(random.sample(held, min(len(lacking), len(held)))) if random.random() < 0.25 else [])
    return Workload(wanted, missing, duplicated)


def members_of(workload: Workload) -> Iterator[tuple[str, list[str | int]]]:
    """Key by key, the arguments of the ZADD that fills it."""
    random = Random(8)
    for (series, interval), missing, duplicated in zip(
        workload.wanted, workload.missing, workload.duplicated, strict=True
    ):
        step = series.timeframe.step_ms
        absent = set(missing)
        arguments: list[str | int] = []
        for at in range(interval.start - OLDER * step, interval.stop, step):
            copies = 0 if at in absent else 2 if at in duplicated else 1
            for _ in range(copies):
                low = round(60_000 + random.random() * 5_000, 2)
                high = round(low + random.random() * 50, 2)
                volume = round(random.random() * 100, 8)
                arguments += (at, feeder_member(series, Candle(at, low, high, low, high, volume)))
        yield SCOPE.candle_key(series), arguments


async def fill(url: str, workload: Workload) -> None:
    async with TrioRedis.from_url(url) as client:
        batch = []
        for key, arguments in members_of(workload):
            batch.append(("ZADD", key, *arguments))
            if len(batch) == 100:
                await client.pipe(batch, timeout_s=30)
                batch = []
        await client.pipe(batch, timeout_s=30)


class Bare:
    """The least a client in Python can do: write a pipeline, parse the replies, read the scores."""

    def __init__(self, url: str, wanted: Wanted) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(Address.parse(url).path or "")
        self._reader = hiredis.Reader()
        self._pipelines: list[tuple[bytes, int]] = []
        for shard in shards((len(grid_of(one)) for one in wanted), PIPELINE_MEMBERS):
            commands = [
                ("ZRANGEBYSCORE", SCOPE.candle_key(series), interval.start, f"({interval.stop}", "WITHSCORES")
                for series, interval in wanted[shard.start : shard.stop]
            ]
            self._pipelines.append((b"".join(map(pack, commands)), len(commands)))

    def read(self) -> list[array[int]]:
        found: list[array[int]] = []
        reader = self._reader
        for payload, commands in self._pipelines:
            self._socket.sendall(payload)
            wanted = len(found) + commands
            while len(found) < wanted:
                reader.feed(self._socket.recv(65_536))
                while (reply := reader.gets()) is not False:
                    found.append(array("q", map(int, reply[1::2])))
        return found

    def close(self) -> None:
        self._socket.close()


def expected_gaps(grid: range, present: Sequence[int]) -> list[Gap]:
    """The gaps, by the plainest means."""
    held = set(present)
    gaps: list[Gap] = []
    for at in grid:
        if at in held:
            continue
        if gaps and gaps[-1].end == at - grid.step:
            gaps[-1] = Gap(gaps[-1].start, at, gaps[-1].count + 1)
        else:
            gaps.append(Gap(at, at, 1))
    return gaps


def tasks_of(wanted: Wanted) -> list[ScanTask]:
    keeping = Retention(max_candles=1_000, ttl_s=86_400, trim=False)
    return [
        ScanTask(
            run="run",
            id=f"scan-{number}",
            now=NOW,
            spans=tuple(SeriesSpan.of(series, window) for series, window in wanted[shard.start : shard.stop]),
            confirm_ms=0,
            repair=False,
            keeping=keeping,
        )
        for number, shard in enumerate(shards((len(grid_of(one)) for one in wanted), PIPELINE_MEMBERS))
    ]


@pytest.mark.parametrize(("window", "minutes", "rounds"), [("30min", 30, 15), ("6h", 360, 7)])
def test_scan(redis_url, comparison, window, minutes, rounds):
    workload = make_workload(1_000 if comparison.is_timed else 3, minutes * MINUTE_MS)
    wanted = workload.wanted

    async def main() -> None:
        await fill(redis_url, workload)
        bare = Bare(redis_url, wanted)
        async with TrioRedis.from_url(redis_url) as client:
            store, evidence = CandleStore(client, SCOPE), EvidenceStore(client, SCOPE)

            async def scan_all() -> object:
                return await scan(store, wanted, confirm_ms=0)

            tasks = tasks_of(wanted)

            async def perform_all() -> object:
                return [await perform_scan(store, evidence, task) for task in tasks]

            scores = bare.read()
            scans = await scan(store, wanted, confirm_ms=0)
            for one, present, found, lacking, twice in zip(
                wanted, scores, scans, workload.missing, workload.duplicated, strict=True
            ):
                assert list(found.gaps) == expected_gaps(grid_of(one), present)
                assert [at for gap in found.gaps for at in range(gap.start, gap.end + 1, grid_of(one).step)] == lacking
                assert (list(found.duplicates), list(found.malformed), found.error) == (twice, [], None)
            assert sum(map(len, scores)) == workload.members
            findings = [finding for task in tasks for finding in (await perform_scan(store, evidence, task)).findings]
            assert len(findings) == sum(not found.is_clean for found in scans) > 0
            await comparison.run(
                f"scan mix {window}: {len(wanted)} series, {workload.members} members",
                {"bare: blocking socket + hiredis, scores only": bare.read, "scan": scan_all, "whole": perform_all},
                rounds=rounds,
            )
        bare.close()

    trio.run(main)
