"""Merge: candles into a key that holds 4,000 others.

Workload: 40 keys of 4,000 candles, 300 more for each in one call (a page), as the exchange's answer gives them; no
cap, a TTL, repairs announced. In "empty" the slots hold nothing, in "full" they hold the same candles already,
as the feeder writes them.

    bare       a blocking socket sends ten EVALSHA calls of the same script in a write; commands packed beforehand,
               replies parsed by hiredis and not looked at
    merge      CandleStore.merge in four tasks at a time (a worker runs up to 16 pages): members written, command
               packed, outcome told slot by slot
    one task   the same one call after the other: the client's own work adds to the server's

Goal: merge >= 0.8x of the candles a second of bare, which is x1.25 of its time. As a test (2 keys of 50 candles, 20
more each) both leave the same keys behind and the outcome names each slot.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import hiredis
import pytest
import trio
from benches.feeder_members import feeder_pairs

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.connection import pack
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.merge_script import MERGE, MergeOutcome, SeriesWrite
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
STEP = Timeframe.M1.step_ms
FIRST = 1_763_000_040_000
RETENTION = Retention(max_candles=0, ttl_s=86_400)
CALLS_A_WRITE = 10
TASKS = 4

Page = tuple[Series, list[Candle]]


def candle(slot: int) -> Candle:
    low = 60_000 + slot % 97 * 1.01
    return Candle(FIRST + slot * STEP, low + 0.5, low + 2.25, low, low + 1, 0.12345678 + slot % 13)


def call_of(series: Series, members: Sequence[Candle]) -> bytes:
    """The command that `CandleStore.merge` sends, which the checks below compare by its effect."""
    write = SeriesWrite(series, RETENTION, members, announce=True)
    keys = SCOPE.write_keys(series)
    return pack(("EVALSHA", MERGE.sha, len(keys), *keys, *write.arguments(SCOPE)))


class Bare:
    """Calls of the script over a blocking socket, several in a write."""

    def __init__(self, url: str, pages: Sequence[Page]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(Address.parse(url).path or "")
        self._reader = hiredis.Reader()
        calls = [call_of(*page) for page in pages]
        self._writes = [calls[at : at + CALLS_A_WRITE] for at in range(0, len(calls), CALLS_A_WRITE)]
        self._payloads = [b"".join(calls) for calls in self._writes]

    def merge(self) -> None:
        for calls, payload in zip(self._writes, self._payloads, strict=True):
            self._socket.sendall(payload)
            answered = 0
            while answered < len(calls):
                self._reader.feed(self._socket.recv(65_536))
                while (reply := self._reader.gets()) is not False:
                    assert isinstance(reply, list), reply
                    answered += 1

    def close(self) -> None:
        self._socket.close()


async def merge_all(store: CandleStore, pages: Sequence[Page], tasks: int) -> list[MergeOutcome]:
    outcomes: list[MergeOutcome] = []

    async def merge_share(share: Sequence[Page]) -> None:
        outcomes.extend([await store.merge(series, members, RETENTION) for series, members in share])

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(merge_share, pages[number::tasks])
    return outcomes


async def contents(client: TrioRedis, pages: Sequence[Page]) -> list[object]:
    keys = [SCOPE.candle_key(series) for series, _ in pages]
    return list(await client.pipe([("ZRANGE", key, 0, -1, "WITHSCORES") for key in keys]))


@pytest.mark.parametrize("slots", ["empty", "full"])
def test_merge(redis_url, comparison, slots):
    keys, others, added = (40, 4_000, 300) if comparison.is_timed else (2, 50, 20)
    pages = [
        (Series(f"P{number:03}-USD", Timeframe.M1), [candle(others // 2 + slot) for slot in range(added)])
        for number in range(keys)
    ]

    async def main() -> None:
        bare = Bare(redis_url, pages)
        async with TrioRedis.from_url(redis_url) as client:
            store = CandleStore(client, SCOPE)
            await client.execute_command("SCRIPT LOAD", MERGE.text)
            for series, _ in pages:
                old = [candle(slot) for slot in range(others // 2)]
                old += [candle(slot + added) for slot in range(others // 2, others)]
                await client.execute_command("ZADD", SCOPE.candle_key(series), *feeder_pairs(series, old))

            async def prepare() -> None:
                first, last = pages[0][1][0].timestamp, pages[0][1][-1].timestamp
                for series, page in pages:
                    key = SCOPE.candle_key(series)
                    await client.execute_command("ZREMRANGEBYSCORE", key, first, last)
                    if slots == "full":
                        await client.execute_command("ZADD", key, *feeder_pairs(series, page))

            await prepare()
            bare.merge()
            expected = await contents(client, pages)
            await prepare()
            outcomes = await merge_all(store, pages, TASKS)
            assert await contents(client, pages) == expected
            found = [one.inserted if slots == "empty" else one.present for one in outcomes]
            assert found == [tuple(one.timestamp for one in pages[0][1])] * keys
            await comparison.run(
                f"merge of {keys} x {added} candles, slots {slots}",
                {
                    "bare: blocking socket, EVALSHA packed beforehand": bare.merge,
                    f"merge: {TASKS} tasks": lambda: merge_all(store, pages, TASKS),
                    "merge: one task": lambda: merge_all(store, pages, 1),
                },
                rounds=15,
                prepare=prepare,
            )
        bare.close()

    trio.run(main)
