"""The worker: takes tasks from Redis, carries them out, and records their outcomes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from pydantic import ValidationError

from reconciler_engine.engine.tasks.drain import Drained
from reconciler_engine.engine.tasks.messages import (
    PageOutcome,
    PageTask,
    ScanOutcome,
    ScanTask,
    page_outcome,
    task_of,
)
from reconciler_engine.engine.tasks.page_fetch import PageFetcher
from reconciler_engine.engine.tasks.redis_retry import RedisRetry
from reconciler_engine.engine.tasks.scan import perform_scan
from reconciler_engine.errors import ConfigError, StoreError
from reconciler_engine.observe import logs
from reconciler_engine.observe.words import iso
from reconciler_engine.store.budget_use import asking_for
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.task_streams import MAX_DELIVERIES, Delivery, Lane
from reconciler_engine.store.tasks import TaskQueue, job_of

PAGES_IN_FLIGHT = 16
"""Most pages that one worker fetches at a time: enough for 30 requests a second with answers after half a second."""

SCANS_IN_FLIGHT = 16
"""Most scan tasks that one worker does at a time: a scan mostly waits in the pause before its second read."""

_TOUCH_S = 10.0
_HAND_BACK_S = 2.0
_ENDS_WORKER = (
    *(ConfigError, Drained, MemoryError, BaseExceptionGroup),
    *(trio.Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit),
)
"""Exceptions that must end the worker, not one task. BaseExceptionGroup is listed because it may contain Cancelled, and
MemoryError because a process without memory is better replaced."""

_logger = logging.getLogger(__name__)


class Worker:
    """Does tasks until cancelled or drained. If it is killed, other workers get its tasks and safely repeat them."""

    def __init__(
        self,
        queue: TaskQueue,
        store: CandleStore,
        evidence: EvidenceStore,
        fetcher: PageFetcher | None,
        redis: RedisRetry,
    ) -> None:
        """Make a worker; without `fetcher` it takes scan tasks only."""
        self._queue = queue
        self._store = store
        self._evidence = evidence
        self._fetcher = fetcher
        self._in_hand: dict[tuple[Lane, str], Delivery] = {}
        self._redis = redis
        self._retry = redis.retry_while_redis_is_away
        self._failures_seen = Counter[tuple[Lane, ...]]()
        self._taking = trio.CancelScope()
        self.tasks_done = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take and do tasks until drained; report started once the streams can be read.

        If Redis goes away or denies access, the worker waits and then repeats the interrupted steps of its tasks.

        Raises:
            ConfigError: The key of a stream holds a value of another type.
        """
        await self._retry(self._queue.create_groups)
        # False after an error, which any of the tasks in hand may have caused.
        is_in_order = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_tasks)
                task_status.started()
                async with trio.open_nursery() as working:
                    with self._taking:
                        async with trio.open_nursery() as taking:
                            taking.start_soon(self._do_scans, taking)
                            if self._fetcher is not None:
                                taking.start_soon(self._do_pages, self._fetcher, working)
                nursery.cancel_scope.cancel()
            is_in_order = True
        except BaseException as error:
            is_in_order = _is_cancellation(error)
            raise
        finally:
            # Also after Ctrl-C in a command: otherwise other runs would wait a minute for the tasks in hand.
            with trio.move_on_after(_HAND_BACK_S, shield=True):
                await self._hand_back(is_in_order=is_in_order)

    def drain(self) -> None:
        """Take no more tasks and hand waiting ones back; `run` returns once answers under way are stored."""
        self._taking.cancel()
        if self._fetcher is not None:
            self._fetcher.drain()

    async def _do_scans(self, taking: trio.Nursery) -> None:
        """Start scan tasks as they come; one scan reads at a time, so that other clients of Redis do not wait long."""
        slots = trio.Semaphore(SCANS_IN_FLIGHT, max_value=SCANS_IN_FLIGHT)
        turn = trio.Lock()
        while True:
            for delivery in await self._take(Lane.SCAN):
                task = await self._retry(partial(self._read, delivery))
                if isinstance(task, ScanTask):
                    await slots.acquire()
                    with logs.about(run=task.run, task=task.id):
                        taking.start_soon(self._do_scan, delivery, task, turn, slots)

    async def _do_scan(self, delivery: Delivery, task: ScanTask, turn: trio.Lock, slots: trio.Semaphore) -> None:
        try:
            async with self._failing_alone(delivery, task):
                await self._retry(partial(self._scan, delivery, task, turn))
        finally:
            slots.release()

    async def _scan(self, delivery: Delivery, task: ScanTask, turn: trio.Lock) -> None:
        await self._finish(delivery, task, await perform_scan(self._store, self._evidence, task, turn))

    async def _do_pages(self, fetcher: PageFetcher, working: trio.Nursery) -> None:
        """Start pages one after another, each once the last has its permit, so that live pages can go first."""
        slots = trio.Semaphore(PAGES_IN_FLIGHT, max_value=PAGES_IN_FLIGHT)
        while True:
            for delivery in await self._take(Lane.LIVE, Lane.VERIFY, Lane.DEEP):
                task = await self._retry(partial(self._read, delivery))
                if isinstance(task, PageTask):
                    await slots.acquire()
                    under_way = trio.Event()
                    with logs.about(run=task.run, task=task.id), asking_for(job_of(task.run), delivery.lane):
                        working.start_soon(self._do_page, fetcher, delivery, task, under_way, slots)
                    await under_way.wait()

    async def _do_page(
        self, fetcher: PageFetcher, delivery: Delivery, task: PageTask, under_way: trio.Event, slots: trio.Semaphore
    ) -> None:
        try:
            async with self._failing_alone(delivery, task):
                outcome = await fetcher.fetch(task, under_way)
                await self._retry(partial(self._finish, delivery, task, outcome))
        except Drained:
            _logger.debug("page handed back", extra=facts_of(task))
        finally:
            under_way.set()
            slots.release()

    @asynccontextmanager
    async def _failing_alone(self, delivery: Delivery, task: ScanTask | PageTask) -> AsyncIterator[None]:
        """Record an error in a task as its outcome, so that the worker and its other tasks go on."""
        try:
            yield
        except _ENDS_WORKER:
            raise
        except BaseException as error:
            # BaseException, because a panic of native code is one.
            _logger.exception("task failed", extra=facts_of(task))
            # The outcome leaves out the error's text, which may contain anything.
            said = f"failed with {type(error).__name__}; the log says where"
            await self._retry(partial(self._finish, delivery, task, _failed(task, said)))

    async def _take(self, *lanes: Lane) -> list[Delivery]:
        found = await self._retry(partial(self._take_once, lanes))
        self._in_hand.update(((one.lane, one.entry), one) for one in found)
        return found

    async def _take_once(self, lanes: tuple[Lane, ...]) -> list[Delivery]:
        """Take tasks; after an outage, first the tasks that Redis has assigned to this worker without its knowledge.

        These are tasks whose delivery was lost, and finished tasks that a failover brought back.
        """
        failures = self._redis.failures
        if failures != self._failures_seen[lanes]:
            known = {*self._in_hand}
            taken = await self._queue.taken(*lanes)
            self._failures_seen[lanes] = failures
            if found := [one for one in taken if (one.lane, one.entry) not in known]:
                return found
        return await self._queue.take(*lanes)

    async def _read(self, delivery: Delivery) -> ScanTask | PageTask | None:
        """Return the task of a delivery; if it is invalid, void or has failed too often, drop it and return None."""
        try:
            task = task_of.validate_json(delivery.body)
        except ValidationError as error:
            _logger.error("a stream entry is not a task", extra={"lane": delivery.lane, "faults": error.error_count()})
            await self._drop(delivery)
            return None
        if isinstance(task, ScanTask) != (delivery.lane is Lane.SCAN):
            # The readers of this lane cannot do such a task; it would stay in hand for ever.
            _logger.error("a stream entry is a task of another lane", extra={"lane": delivery.lane, "task": task.id})
            await self._drop(delivery)
            return None
        if not await self._queue.is_open(task.run):
            await self._drop(delivery)
            return None
        if delivery.deliveries > MAX_DELIVERIES:
            await self._finish(delivery, task, _failed(task, f"given up after {MAX_DELIVERIES} workers failed on it"))
            return None
        return task

    async def _finish(self, delivery: Delivery, task: ScanTask | PageTask, outcome: ScanOutcome | PageOutcome) -> None:
        await self._queue.finish(delivery, task.run, task.id, outcome.model_dump_json())
        self._in_hand.pop((delivery.lane, delivery.entry), None)
        self.tasks_done += 1
        _logger.debug("task done", extra={**facts_of(task), **outcome_facts(outcome)})

    async def _drop(self, delivery: Delivery) -> None:
        await self._queue.drop(delivery)
        self._in_hand.pop((delivery.lane, delivery.entry), None)

    async def _hand_back(self, *, is_in_order: bool) -> None:
        """Return unfinished tasks to their streams; if Redis is away, other workers take them after an idle time."""
        try:
            if is_in_order:
                await self._queue.hand_back()
            else:
                await self._queue.redeliver(self._queue.consumer)
        except StoreError as error:
            _logger.info("tasks could not be handed back", extra={"error": str(error)})

    async def _keep_tasks(self) -> None:
        """Refresh the tasks in hand; put tasks that other workers abandoned back on their streams."""
        while True:
            await trio.sleep(_TOUCH_S)
            try:
                await self._queue.touch(list(self._in_hand.values()))
                await self._queue.redeliver_idle()
            except StoreError as error:
                _logger.info("could not renew its tasks", extra={"error": str(error)})


def _failed(task: ScanTask | PageTask, error: str) -> ScanOutcome | PageOutcome:
    if isinstance(task, ScanTask):
        return ScanOutcome(id=task.id, error=error)
    return page_outcome(task, None, unanswered=True, error=error)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


_NAMED = 3


def facts_of(task: ScanTask | PageTask) -> dict[str, Any]:
    """Return the series and the page of a task, or the first series of a scan."""
    if isinstance(task, PageTask):
        asked = task.asked_slots
        slots = asked.size(task.span.timeframe.step_ms)
        page = f"{iso(asked.start)} to {iso(asked.stop)}"
        return {"task": task.id, "series": str(task.span.series), "page": page, "slots": slots}
    names = [str(span.series) for span in task.spans]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return {"task": task.id, "series": f"{', '.join(names[:_NAMED])}{more}"}


def outcome_facts(outcome: ScanOutcome | PageOutcome) -> dict[str, Any]:
    """Return the figures of an outcome, without zeros."""
    told: dict[str, Any] = {} if outcome.error is None else {"error": outcome.error}
    if isinstance(outcome, ScanOutcome):
        return {"findings": len(outcome.findings), **told}
    left = {} if outcome.unresolved is None else {"left": sum(count for _, count in outcome.unresolved)}
    figures = {"requests": outcome.requests, "references": outcome.references, "repaired": outcome.repaired, **left}
    return {**{name: count for name, count in figures.items() if count}, **told}
