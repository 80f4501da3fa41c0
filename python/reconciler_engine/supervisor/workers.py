"""Keeps the worker processes alive, replaces them one after another, and stops them together."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import trio

from reconciler_engine.errors import StoreError
from reconciler_engine.store.tasks import TaskQueue
from reconciler_engine.supervisor.engine_spec import EngineSpec
from reconciler_engine.supervisor.restarting_child import RestartingChild
from reconciler_engine.supervisor.running_child import DRAIN_S, ChildSpec, NotReady, RunningChild

STOP_S = DRAIN_S + 2.0
"""Time that a worker has, after SIGTERM, to finish the work in hand and give back its other tasks."""

_REDELIVER_S = 2.0
"""Longest time that a dead worker's successor waits until the dead worker's tasks are handed out again."""

_AGAIN_S = 1.0
_UNDONE_S = 60.0
"""Time after a worker's death in which its tasks are handed out repeatedly, since a failover may undo that."""

_logger = logging.getLogger(__name__)


class Workers:
    """The workers of one engine, all with the same settings."""

    def __init__(self, engine: EngineSpec, queue: TaskQueue, ending: trio.Event) -> None:
        """Prepare the workers of an engine; `queue` holds their tasks, `ending` is set once the engine ends."""
        self._engine = engine
        self._queue = queue
        self._lives = itertools.count(1)
        # By name of a dead worker: until when its tasks are handed out again; inf before they were for the first time.
        self._dead: dict[str, float] = {}
        self._children = [
            RestartingChild(self._make_spec, Random(), on_death=self._redeliver, ending=ending)
            for _ in range(engine.config.workers)
        ]
        for child in self._children:
            engine.children.add(child, role="worker")

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Keep the workers alive while the block runs; enter it once all are ready, and drain them at its end."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for child in self._children:
                    starting.start_soon(nursery.start, child.run)
            nursery.start_soon(self._redeliver_later)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as stopping:
                        for child in self._children:
                            stopping.start_soon(child.stop, STOP_S)
                nursery.cancel_scope.cancel()

    async def roll(self, engine: EngineSpec) -> None:
        """Replace the workers one after another by workers with the settings of `engine`.

        If a new worker does not become ready, the workers that were already replaced get the old settings again.

        Raises:
            NotReady: A new worker ended or sent no beat before it was ready.
            OSError: The operating system could not start a new worker.
        """
        before, self._engine = self._engine, engine
        for number, child in enumerate(self._children):
            try:
                await child.replace(STOP_S)
            except (NotReady, OSError):
                self._engine = before
                await self._roll_back(self._children[:number])
                raise

    async def _roll_back(self, children: list[RestartingChild]) -> None:
        for child in children:
            try:
                await child.replace(STOP_S)
            except (NotReady, OSError) as error:
                # This worker keeps the new settings until it restarts.
                _logger.error("worker not replaced", extra={"error": str(error)})

    def _make_spec(self) -> ChildSpec:
        engine = self._engine
        name = f"worker-{next(self._lives)}"
        # Include unknown symbols: workers look for them whenever they refresh the product list.
        config = engine.config.with_symbols((*engine.config.symbols, *engine.unknown))
        message = {
            "config": config.model_dump(mode="json", exclude={"key_file"}),
            "redis_url": engine.redis_url,
            "owns_server": engine.owns_server,
            "consumer": self._consumer(name),
        }
        if engine.credentials is not None:
            message["credentials"] = engine.credentials.hand_over()
        return engine.maker.make(name, "reconciler_engine.engine.roles.worker:run_worker", **message)

    def _consumer(self, name: str) -> str:
        return f"{self._queue.consumer}:{name}"

    async def _redeliver(self, child: RunningChild) -> None:
        """Hand out the tasks of a dead worker again, now or, if Redis is away, as soon as it is back."""
        self._dead[child.spec.name] = math.inf
        with trio.move_on_after(_REDELIVER_S):
            await self._redeliver_dead()
        if self._dead[child.spec.name] == math.inf:
            _logger.info("tasks of a dead worker wait for Redis", extra={"child": child.spec.name})

    async def _redeliver_later(self) -> None:
        """Until cancelled, hand out dead workers' tasks again that wait for Redis or that a failover restored."""
        while True:
            await trio.sleep(_AGAIN_S)
            await self._redeliver_dead()

    async def _redeliver_dead(self) -> None:
        now = trio.current_time()
        self._dead = {name: until for name, until in self._dead.items() if now < until}
        for name in tuple(self._dead):
            try:
                count = await self._queue.redeliver(self._consumer(name))
            except StoreError as error:
                _logger.debug("tasks of a dead worker wait", extra={"child": name, "error": str(error)})
                return
            # The other task that runs this method may have handed them out and logged it already.
            if count or self._dead.get(name) == math.inf:
                _logger.info("tasks handed out again", extra={"child": name, "count": count})
            self._dead[name] = min(self._dead.get(name, 0.0), now + _UNDONE_S)
