"""The worker: takes tasks from Redis, scans, fetches, merges, records what came of it. Holds nothing in between."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import random
from typing import Any, TypeVar

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
from reconciler_engine.engine.tasks.page_fetch import Admission, PageFetcher
from reconciler_engine.engine.tasks.scan import perform_scan
from reconciler_engine.errors import (
    ConfigError,
    IdentityStopped,
    SourceError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from reconciler_engine.observe import logs
from reconciler_engine.planning.backoff import Backoff
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.claims import OtherClaim
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.tasks import MAX_DELIVERIES, Delivery, Lane, TaskQueue

PAGES_IN_FLIGHT = 16
"""Pages one worker has under way at a time: at 30 requests a second an answer may take half a second."""

SCANS_IN_FLIGHT = 16
"""Scan tasks one worker has under way at a time: nearly all of it is the pause before the second look."""

_TOUCH_S = 10.0
_CLAIM_LOOK_S = 0.1
_HAND_BACK_S = 2.0
_AWAY = Backoff(base_ms=200, cap_ms=2_000)
"""Waits for a Redis that is away: work goes on within 5 s of its return."""

_TRAVELS = (
    *(ConfigError, Drained, MemoryError, BaseExceptionGroup),
    *(trio.Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit),
)
"""What is no task's own failure, or may hold what is none; a process without memory is better replaced."""

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class Worker:
    """Runs until cancelled or drained. Killed at any point, its tasks are handed out again and repeat harmlessly."""

    def __init__(
        self, queue: TaskQueue, store: CandleStore, evidence: EvidenceStore, backfill: PageFetcher | None
    ) -> None:
        """Make a worker; without `backfill` it scans, and leaves pages to others."""
        self._queue = queue
        self._store = store
        self._evidence = evidence
        self._backfill = backfill
        self._held: dict[str, Delivery] = {}
        self._waiting = 0
        self._taking = trio.CancelScope()
        self.tasks_done = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take and do tasks until drained; report started once the streams can be read.

        A Redis that goes away is waited for: the tasks in hand are done again from their beginning.

        Raises:
            ConfigError: Redis lets this client in no more: its password or permissions changed.
        """
        await self._until_stored(self._queue.create_groups)
        # Drained or cancelled; of an error any of the tasks in hand may be the cause.
        is_in_order = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_tasks)
                task_status.started()
                async with trio.open_nursery() as working:
                    with self._taking:
                        async with trio.open_nursery() as taking:
                            taking.start_soon(self._do_scans, taking)
                            if self._backfill is not None:
                                taking.start_soon(self._do_pages, self._backfill, working)
                nursery.cancel_scope.cancel()
            is_in_order = True
        except BaseException as error:
            is_in_order = _is_cancellation(error)
            raise
        finally:
            # Cancelled, too (Ctrl-C in a command): others would wait a minute for what it took of their runs.
            with trio.move_on_after(_HAND_BACK_S, shield=True):
                await self._hand_back(is_in_order=is_in_order)

    def drain(self) -> None:
        """Take no more tasks; `run` returns when answers under way are stored. What only waits is handed back."""
        self._taking.cancel()
        if self._backfill is not None:
            self._backfill.drain()

    async def _do_scans(self, taking: trio.Nursery) -> None:
        """Take scans and let them go on; one reads at a time: its pipelines are what other clients wait for."""
        slots = trio.Semaphore(SCANS_IN_FLIGHT, max_value=SCANS_IN_FLIGHT)
        turn = trio.Lock()
        while True:
            for delivery in await self._take(Lane.SCAN):
                task = await self._until_stored(self._read, delivery)
                if isinstance(task, ScanTask):
                    await slots.acquire()
                    with logs.about(run=task.run, task=task.id):
                        taking.start_soon(self._do_scan, delivery, task, turn, slots)

    async def _do_scan(self, delivery: Delivery, task: ScanTask, turn: trio.Lock, slots: trio.Semaphore) -> None:
        try:
            async with self._failing_alone(delivery, task):
                await self._until_stored(self._scan, delivery, task, turn)
        finally:
            slots.release()

    async def _do_pages(self, backfill: PageFetcher, working: trio.Nursery) -> None:
        """Take a page and its permit, then let it go on its own; the live lane is looked at before each permit."""
        slots = trio.Semaphore(PAGES_IN_FLIGHT, max_value=PAGES_IN_FLIGHT)
        while True:
            for delivery in await self._take(Lane.LIVE, Lane.DEEP):
                task = await self._until_stored(self._read, delivery)
                if not isinstance(task, PageTask):
                    continue
                await slots.acquire()
                with logs.about(run=task.run, task=task.id):
                    admitted = None
                    async with self._failing_alone(delivery, task):
                        admitted = await self._until_stored(self._admit, backfill, delivery, task)
                    if admitted is None:
                        slots.release()
                    else:
                        working.start_soon(self._fill, backfill, delivery, task, admitted, slots)

    async def _scan(self, delivery: Delivery, task: ScanTask, turn: trio.Lock) -> None:
        await self._finish(delivery, task, await perform_scan(self._store, self._evidence, task, turn))

    async def _admit(self, backfill: PageFetcher, delivery: Delivery, task: PageTask) -> Admission | OtherClaim | None:
        """Return what is to be asked for, or who is at it; finish the page where there is nothing to ask."""
        try:
            admitted = await backfill.admit(task)
        except StoreUnavailable:
            raise
        except (StoreError, SourceError) as error:
            refused = isinstance(error, IdentityStopped)
            await self._finish(delivery, task, page_outcome(task, None, refused=refused, error=str(error)))
            return None
        if isinstance(admitted, Admission) and admitted.permit is None:
            await self._finish(delivery, task, page_outcome(task, admitted.standing))
            return None
        return admitted

    async def _wait_turn(self, backfill: PageFetcher, delivery: Delivery, task: PageTask) -> Admission | None:
        """Wait for a page that another job is asking for, then admit it; None where nothing is left to do here.

        A worker that takes no more tasks leaves it: it is handed back.
        """
        while not self._taking.cancel_called:
            if not await self._queue.is_open(task.run):
                await self._drop(delivery)
                return None
            admitted = await self._admit(backfill, delivery, task)
            if not isinstance(admitted, OtherClaim):
                return admitted
            await trio.sleep(min(_CLAIM_LOOK_S, admitted.left_ms / 1_000))
        return None

    async def _fill(
        self,
        backfill: PageFetcher,
        delivery: Delivery,
        task: PageTask,
        admitted: Admission | OtherClaim | None,
        slots: trio.Semaphore,
    ) -> None:
        try:
            async with self._failing_alone(delivery, task):
                await self._fetch(backfill, delivery, task, admitted)
        except Drained:
            _logger.debug("page handed back", extra={"task": task.id})
        finally:
            slots.release()

    async def _fetch(
        self, backfill: PageFetcher, delivery: Delivery, task: PageTask, admitted: Admission | OtherClaim | None
    ) -> None:
        """Ask for a page and store the answer.

        Raises:
            Drained: It was only waited for.
        """
        while True:
            if isinstance(admitted, OtherClaim):
                admitted = await self._until_stored(self._wait_turn, backfill, delivery, task)
            if admitted is None:
                return
            try:
                answer = await backfill.ask(task, admitted)
            except StoreError as error:
                # Nothing came yet: asked for anew once Redis is there.
                _logger.warning("page not asked for", extra={"task": task.id, "error": str(error)})
                if self._taking.cancel_called:
                    return
                admitted = await self._until_stored(self._admit, backfill, delivery, task)
                continue
            # What was answered is kept until Redis takes it, and never asked for a second time.
            outcome = await self._until_stored(backfill.store, task, admitted, answer)
            await self._until_stored(self._finish, delivery, task, outcome)
            return

    @asynccontextmanager
    async def _failing_alone(self, delivery: Delivery, task: ScanTask | PageTask) -> AsyncIterator[None]:
        """Let what goes wrong in a task be the end of that task, not of the worker and all it has in hand."""
        try:
            yield
        except _TRAVELS:
            raise
        except BaseException as error:
            # A panic of native code is no Exception.
            _logger.exception("task failed", extra={"task": task.id})
            # Its text may hold anything.
            said = f"failed with {type(error).__name__}; the log says where"
            await self._until_stored(self._finish, delivery, task, _failed(task, said))

    async def _take(self, *lanes: Lane) -> list[Delivery]:
        found = await self._until_stored(self._queue.take, *lanes)
        self._held.update((delivery.entry, delivery) for delivery in found)
        return found

    async def _read(self, delivery: Delivery) -> ScanTask | PageTask | None:
        """Return the task in a delivery, or None after taking it off its stream: no task, no run, or no hope."""
        try:
            task = task_of.validate_json(delivery.body)
        except ValidationError as error:
            _logger.error("a stream entry is no task", extra={"lane": delivery.lane, "faults": error.error_count()})
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
        self._held.pop(delivery.entry, None)
        self.tasks_done += 1
        _logger.debug("task done", extra={"error": outcome.error})

    async def _drop(self, delivery: Delivery) -> None:
        await self._queue.drop(delivery)
        self._held.pop(delivery.entry, None)

    async def _hand_back(self, *, is_in_order: bool) -> None:
        """Hand out again what was taken and not finished; should Redis be away, idle time does it later."""
        try:
            if is_in_order:
                await self._queue.hand_back()
            else:
                await self._queue.redeliver(self._queue.consumer)
        except StoreError as error:
            _logger.warning("tasks could not be handed back", extra={"error": str(error)})

    async def _keep_tasks(self) -> None:
        """Say of every task in hand that it is being worked on; hand out again what others let lie."""
        while True:
            await trio.sleep(_TOUCH_S)
            try:
                await self._queue.touch(list(self._held.values()))
                await self._queue.redeliver_idle()
            except StoreError as error:
                _logger.warning("tasks could not be kept", extra={"error": str(error)})

    async def _until_stored(self, step: Callable[..., Awaitable[_T]], *args: Any) -> _T:
        """Repeat a harmless step until Redis does it: away, full or read-only, it is waited for and never given up.

        Raises:
            ConfigError: Redis lets this client in no more.
        """
        failures = 0
        try:
            while True:
                try:
                    done = await step(*args)
                except StoreDenied as error:
                    raise ConfigError([f"redis_url: {error}"]) from error
                except StoreError as error:
                    failures += 1
                    if failures == 1:
                        self._waiting += 1
                        if self._waiting == 1:
                            _logger.warning("waiting for Redis", extra={"error": str(error)})
                    await trio.sleep(_AWAY.delay_ms(failures, random()) / 1_000)
                else:
                    if failures and self._waiting == 1:
                        _logger.info("Redis serves again")
                    return done
        finally:
            self._waiting -= failures > 0


def _failed(task: ScanTask | PageTask, error: str) -> ScanOutcome | PageOutcome:
    if isinstance(task, ScanTask):
        return ScanOutcome(id=task.id, error=error)
    return page_outcome(task, None, error=error)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
