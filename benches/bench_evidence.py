"""The evidence ledger: what writing a proof adds to a merge, and what a year of minutes weighs.

Update: 40 keys of 4,000 candles; for each a page of 300 minutes of which 120 hold candles, in a day whose other pages
are in the ledger already.

    bare      CandleStore.merge of the page's candles
    proven    CandleStore.merge_answer of the same: the answer judged, candles and findings in one script. The earlier
              findings are given to it, as to a worker's, which reads them before it asks at all
    alone     the same, which reads the day itself

Goal: proven <= 2x bare. As a test (2 keys of 50 candles) the page's findings are there.

Year: 365 days of minutes, 60 % of them empty at random, proved page by page ("pages"), or as five-minute scans find
them, each with its own instants ("live"). Goal: <= 8 MB in Redis. As a test 2 days, and 2/365 of it.
"""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
import trio
from benches.feeder_members import feeder_pairs

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.ledger import FindingInterval, Knowledge, Ledger
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import RIPE_MS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
STEP = Timeframe.M1.step_ms
FIRST = 20_454 * DAY_MS
PAGE = 300
DAY_SLOTS = DAY_MS // STEP
EMPTY_SHARE = 0.6
RETENTION = Retention(max_candles=0, ttl_s=0)
YEAR_BYTES = 8_000_000
REFERENCE = Venue(has_reference=True)


def at(slot: int) -> int:
    return FIRST + slot * STEP


def candle(slot: int) -> Candle:
    low = 60_000 + slot % 97 * 1.01
    return Candle(at(slot), low + 0.5, low + 2.25, low, low + 1, 0.12345678 + slot % 13)


def replaced(new: Ledger, _: Knowledge) -> Knowledge:
    return Knowledge(new)


def traded(random: Random, first: int, slots: int) -> list[int]:
    return [slot for slot in range(first, first + slots) if random.random() >= EMPTY_SHARE]


def answer(first: int, slots: int, rows: list[int], when: int) -> Answer:
    return Answer(Interval(at(first), at(first + slots)), when, Intervals.of_slots([at(row) for row in rows], STEP))


class Update:
    """The keys of the update workload, and the two ways to merge a page into each."""

    def __init__(self, client: TrioRedis, keys: int) -> None:
        self._client = client
        self._store, self._ledgers = CandleStore(client, SCOPE), EvidenceStore(client, SCOPE)
        self._series = [Series(f"P{number:03}-USD", Timeframe.M1) for number in range(keys)]
        self._before: list[bytes] = []
        self._reads: dict[Series, LedgerRead] = {}
        rows = traded(Random(7), 2 * PAGE, PAGE)
        self.candles = [candle(row) for row in rows]
        self._page = answer(2 * PAGE, PAGE, rows, FIRST + 2 * DAY_MS)

    async def fill(self, others: int) -> None:
        """Put older candles beside the page, and the day's other pages into the ledger."""
        random = Random(5)
        for one in self._series:
            older = feeder_pairs(one, (candle(slot) for slot in range(-others, 0)))
            await self._client.execute_command("ZADD", SCOPE.candle_key(one), *older)
            for first in (0, PAGE, 3 * PAGE):
                part = answer(first, PAGE, traded(random, first, PAGE), FIRST + 2 * DAY_MS - first)
                await self._store.merge_answer(one, [], RETENTION, part, NOTHING, venue=REFERENCE)
            self._before.append(await self._client.execute_command("DUMP", SCOPE.evidence_key(one)))

    async def prepare(self) -> None:
        """Take the page out again, and read what is known as a worker does before it asks."""
        asked = self._page.asked
        for one, ledger in zip(self._series, self._before, strict=True):
            await self._client.pipe(
                [
                    ("ZREMRANGEBYSCORE", SCOPE.candle_key(one), asked.start, f"({asked.stop}"),
                    ("RESTORE", SCOPE.evidence_key(one), 0, ledger, "REPLACE"),
                ]
            )
        reads = await self._ledgers.read([(one, asked) for one in self._series])
        self._reads = dict(zip(self._series, reads, strict=True))

    async def bare(self, share: slice) -> None:
        for one in self._series[share]:
            await self._store.merge(one, self.candles, RETENTION)

    async def proven(self, share: slice) -> None:
        for one in self._series[share]:
            await self._store.merge_answer(
                one, self.candles, RETENTION, self._page, NOTHING, venue=REFERENCE, known=self._reads[one]
            )

    async def alone(self, share: slice) -> None:
        for one in self._series[share]:
            await self._store.merge_answer(one, self.candles, RETENTION, self._page, NOTHING, venue=REFERENCE)

    async def known(self) -> list[int]:
        """How many slots of each page are known to be empty."""
        reads = await self._ledgers.read([(one, self._page.asked) for one in self._series])
        return [sum((start.stop - start.start) // STEP for start in read.ledger.findings) for read in reads]


async def at_once(way, tasks: int) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(way, slice(number, None, tasks))


@pytest.mark.parametrize("tasks", [1, 4])
def test_update(redis_url, comparison, tasks):
    keys, others = (40, 4_000) if comparison.is_timed else (2, 50)

    async def main() -> None:
        async with TrioRedis.from_url(redis_url) as client:
            update = Update(client, keys)
            await update.fill(others)
            await update.prepare()
            assert await update.known() == [0] * keys
            await at_once(update.proven, tasks)
            candles, empty = len(update.candles), PAGE - len(update.candles)
            assert await update.known() == [empty] * keys
            await comparison.run(
                f"merge of {keys} pages of {candles} candles and {empty} empty slots, {tasks} tasks",
                {
                    "bare: CandleStore.merge": lambda: at_once(update.bare, tasks),
                    "proven: CandleStore.merge_answer": lambda: at_once(update.proven, tasks),
                    "alone: CandleStore.merge_answer that reads for itself": lambda: at_once(update.alone, tasks),
                },
                rounds=15,
                prepare=update.prepare,
            )

    trio.run(main)


@pytest.mark.parametrize("way", ["pages", "live"])
def test_year(redis_url, comparison, way):
    days = 365 if comparison.is_timed else 2
    random = Random(11)
    rows = traded(random, 0, DAY_SLOTS)
    span = PAGE if way == "pages" else 5
    known = Knowledge()
    for first in range(0, DAY_SLOTS, span):
        slots = min(span, DAY_SLOTS - first)
        inside = [row for row in rows if first <= row < first + slots]
        for pause_ms in (RIPE_MS, 2 * RIPE_MS):
            part = answer(first, slots, inside, at(first + slots) + pause_ms)
            known = judge(known, part, NOTHING, REFERENCE, STEP).known
    ledger = known.ledger
    assert sum((stretch.stop - stretch.start) // STEP for stretch in ledger.findings) == DAY_SLOTS - len(rows)

    async def main() -> None:
        async with TrioRedis.from_url(redis_url) as client:
            store = EvidenceStore(client, SCOPE)
            series = Series("P000-USD", Timeframe.M1)
            for day in range(days):
                shift = day * DAY_MS
                moved = Ledger(
                    FindingInterval(start + shift, stop + shift, known) for start, stop, known in ledger.findings
                )
                await store.change(series, Interval(at(0) + shift, at(1) + shift), RETENTION, partial(replaced, moved))
            used = await client.execute_command("MEMORY", "USAGE", SCOPE.evidence_key(series), "SAMPLES", 0)
            comparison.tell(f"ledger of {days} days of minutes, 60 % empty, proved by {way}: {used / 1e6:.2f} MB")
            assert used <= YEAR_BYTES * days / 365 + 1_000

    trio.run(main)
