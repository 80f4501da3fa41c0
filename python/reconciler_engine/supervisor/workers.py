"""The worker children: kept alive, rolled one by one, ended together."""

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
"""Time that a worker has once it is told to stop: to finish the work in hand and give back the rest."""

_REDELIVER_S = 2.0
"""How long a dead worker's successor waits for the tasks to be handed out again."""

_AGAIN_S = 1.0
_UNDONE_S = 60.0
"""How long after a worker's death a failover may still undo that its tasks were handed out again."""

_logger = logging.getLogger(__name__)


class Workers:
    """The workers, all of one spec."""

    def __init__(self, engine: EngineSpec, queue: TaskQueue, ending: trio.Event) -> None:
        """Make the workers of an engine; `queue` is where they take tasks, `ending` is set once the engine ends."""
        self._engine = engine
        self._queue = queue
        self._lives = itertools.count(1)
        # Names of dead workers, and until when their tasks are handed out again; inf before that was done once.
        self._dead: dict[str, float] = {}
        self._children = [
            RestartingChild(self._make_spec, Random(), on_death=self._redeliver, ending=ending)
            for _ in range(engine.config.workers)
        ]
        for child in self._children:
            engine.children.add(child, role="worker")

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Keep the workers alive; give way once all are ready; let them finish at the end."""
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
        """Replace the workers one by one by such of another spec, each when it is ready.

        Where one does not get ready those that were replaced are replaced back, and the spec stays as it was.

        Raises:
            NotReady: One ended or stayed silent before it was ready.
            OSError: The machine did not start it.
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
                # It has the newer settings until it is started again.
                _logger.error("worker not replaced", extra={"error": str(error)})

    def _make_spec(self) -> ChildSpec:
        engine = self._engine
        name = f"worker-{next(self._lives)}"
        # Workers look for unknown symbols, too, whenever they refresh the product list.
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
        """Hand out again the tasks of a dead worker; should Redis be away too, as soon as it is back."""
        self._dead[child.spec.name] = math.inf
        with trio.move_on_after(_REDELIVER_S):
            await self._redeliver_dead()
        if self._dead[child.spec.name] == math.inf:
            _logger.info("tasks of a dead worker wait for Redis", extra={"child": child.spec.name})

    async def _redeliver_later(self) -> None:
        """Hand out again tasks that wait for Redis, and those that a failover brought back, until cancelled."""
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
            # Another caller at the same time may have been told first.
            if count or self._dead.get(name) == math.inf:
                _logger.info("tasks handed out again", extra={"child": name, "count": count})
            self._dead[name] = min(self._dead.get(name, 0.0), now + _UNDONE_S)
