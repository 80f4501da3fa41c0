"""The worker over in-memory fakes: steps that it takes at the same time, and steps that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio

from reconciler_engine.engine.tasks.messages import ScanTask, SeriesSpan
from reconciler_engine.engine.tasks.redis_retry import RedisRetry
from reconciler_engine.engine.tasks.scan import CONFIRM_MS
from reconciler_engine.engine.tasks.worker import SCANS_IN_FLIGHT, Worker
from reconciler_engine.errors import StoreUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Ledger
from reconciler_engine.store.candle_reads import SlotsRead
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.task_streams import Delivery, Lane
from reconciler_engine.store.tasks import TaskQueue

BTC = Series("BTC-USD", Timeframe.M1)
READ_S = 0.001
T0 = 1_767_225_600_000


class EmptyStore:
    """A cache without candles that takes a millisecond to say so, and counts who asks at once."""

    def __init__(self) -> None:
        self.reading = 0
        self.most_reading = 0

    async def read(self, wanted: Sequence[tuple[Series, Interval]], *, digests: bool) -> list[SlotsRead]:
        assert not digests
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        await trio.sleep(READ_S)
        self.reading -= 1
        return [SlotsRead(memoryview(b"").cast("q")) for _ in wanted]


class NothingKnown:
    """A ledger in which nothing is written."""

    async def read(self, wanted: Sequence[tuple[Series, Interval]]) -> list[LedgerRead]:
        await trio.lowlevel.checkpoint()
        return [LedgerRead(Ledger()) for _ in wanted]


class ScanQueue:
    """A queue of scan tasks; calls back when all of them are finished."""

    consumer = "worker"

    def __init__(self, tasks: int, all_done: trio.Event) -> None:
        self._left = [self._delivery(number) for number in range(tasks)]
        self._unfinished = tasks
        self._all_done = all_done
        self.most_taken = 0

    def _delivery(self, number: int) -> Delivery:
        task = ScanTask(
            run="run",
            id=f"scan-{number}",
            now=T0,
            spans=(SeriesSpan.of(BTC, Interval(0, 60_000)),),
            confirm_ms=CONFIRM_MS,
            repair=False,
            keeping=Retention(max_candles=0, ttl_s=0, trim=False),
        )
        return Delivery(Lane.SCAN, str(number), task.model_dump_json().encode(), 1)

    async def take(self, *_lanes: Lane) -> list[Delivery]:
        if not self._left:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.most_taken = max(self.most_taken, self._unfinished - len(self._left) + 1)
        return [self._left.pop()]

    async def finish(self, *_arguments: Any) -> bool:
        await trio.lowlevel.checkpoint()
        self._unfinished -= 1
        if not self._unfinished:
            self._all_done.set()
        return True

    async def is_open(self, _run: str, _task: str = "") -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def create_groups(self) -> None:
        await trio.lowlevel.checkpoint()

    async def touch(self, _held: Sequence[Delivery]) -> None:
        await trio.lowlevel.checkpoint()

    async def redeliver_idle(self) -> int:
        await trio.lowlevel.checkpoint()
        return 0

    async def hand_back(self) -> int:
        await trio.lowlevel.checkpoint()
        return 0


class FailedOverQueue(ScanQueue):
    """A queue that fails over while a task is read; then a task is the worker's that it has not in hand."""

    def __init__(self, all_done: trio.Event) -> None:
        super().__init__(2, all_done)
        self._brought_back = [self._left.pop()]
        self._failures = [StoreUnavailable("gone")]

    async def is_open(self, run: str, task: str = "") -> bool:
        if self._failures:
            raise self._failures.pop()
        return await super().is_open(run, task)

    async def taken(self, *_lanes: Lane) -> list[Delivery]:
        await trio.lowlevel.checkpoint()
        return self._brought_back


@pytest.mark.usefixtures("autojump_clock")
async def test_a_task_that_a_failover_brought_back_is_done_whichever_step_saw_it():
    all_done = trio.Event()
    queue, known = FailedOverQueue(all_done), cast("EvidenceStore", NothingKnown())
    worker = Worker(cast("TaskQueue", queue), cast("CandleStore", EmptyStore()), known, None, RedisRetry())
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        with trio.fail_after(60):
            await all_done.wait()
        worker.drain()
    assert worker.tasks_done == 2


@pytest.mark.usefixtures("autojump_clock")
async def test_scans_wait_for_their_second_look_together_and_read_in_turn():
    all_done = trio.Event()
    queue, store = ScanQueue(3 * SCANS_IN_FLIGHT, all_done), EmptyStore()
    known = cast("EvidenceStore", NothingKnown())
    worker = Worker(cast("TaskQueue", queue), cast("CandleStore", store), known, None, RedisRetry())
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        with trio.fail_after(60):
            await all_done.wait()
        took = trio.current_time() - began
        worker.drain()
    assert worker.tasks_done == 3 * SCANS_IN_FLIGHT
    assert store.most_reading == 1
    # one more may be in hand, waiting for a place
    assert queue.most_taken <= SCANS_IN_FLIGHT + 1
    # three rounds of pauses, not forty-eight; and every read in between
    assert took <= 3 * CONFIRM_MS / 1_000 + 2 * 3 * SCANS_IN_FLIGHT * READ_S + 0.01
