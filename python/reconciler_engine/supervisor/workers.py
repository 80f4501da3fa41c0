"""The workers of a tree: kept alive, rolled one by one, ended together."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import trio

from reconciler_engine.errors import StoreError
from reconciler_engine.store.tasks import TaskQueue
from reconciler_engine.supervisor.child_process import DRAIN_S, ChildProcess, ChildSpec, NotReady
from reconciler_engine.supervisor.plan import TreePlan
from reconciler_engine.supervisor.restarting_child import RestartingChild

STOP_S = DRAIN_S + 2.0
"""How long a worker may take once it is told to stop: for what is in hand, and for giving back the rest."""

_REDELIVER_S = 2.0
"""How long a dead worker's successor waits for the tasks to be handed out again."""

_AGAIN_S = 1.0
_logger = logging.getLogger(__name__)


class Workers:
    """The workers, all of one plan."""

    def __init__(self, plan: TreePlan, queue: TaskQueue, ending: trio.Event) -> None:
        """Make a crew; `queue` is where they take tasks, `ending` is set once the tree ends."""
        self._plan = plan
        self._queue = queue
        self._lives = itertools.count(1)
        # Names of dead workers whose tasks wait until Redis is back.
        self._dead: set[str] = set()
        self._keepers = [
            RestartingChild(self._make_spec, Random(), on_death=self._redeliver, ending=ending)
            for _ in range(plan.config.workers)
        ]
        for keeper in self._keepers:
            plan.roster.add(keeper, role="worker")

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Keep the workers alive; give way once all are ready; let them finish at the end."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for keeper in self._keepers:
                    starting.start_soon(nursery.start, keeper.run)
            nursery.start_soon(self._redeliver_later)
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as stopping:
                        for keeper in self._keepers:
                            stopping.start_soon(keeper.stop, STOP_S)
                nursery.cancel_scope.cancel()

    async def roll(self, plan: TreePlan) -> None:
        """Replace the workers one by one by such of another plan, each when it is ready.

        Where one does not get ready those that were replaced are replaced back, and the plan stays as it was.

        Raises:
            NotReady: One ended or stayed silent before it was ready.
            OSError: The machine did not start it.
        """
        before, self._plan = self._plan, plan
        for number, keeper in enumerate(self._keepers):
            try:
                await keeper.replace(STOP_S)
            except (NotReady, OSError):
                self._plan = before
                await self._roll_back(self._keepers[:number])
                raise

    async def _roll_back(self, keepers: list[RestartingChild]) -> None:
        for keeper in keepers:
            try:
                await keeper.replace(STOP_S)
            except (NotReady, OSError) as error:
                # It has the newer settings until it is started again.
                _logger.error("worker not replaced", extra={"error": str(error)})

    def _make_spec(self) -> ChildSpec:
        plan = self._plan
        name = f"worker-{next(self._lives)}"
        message = {
            "config": plan.config.model_dump(mode="json", exclude={"key_file"}),
            "redis_url": plan.redis_url,
            "owns_server": plan.owns_server,
            "consumer": self._consumer(name),
        }
        if plan.credentials is not None:
            message["credentials"] = plan.credentials.hand_over()
        return plan.children.child(name, "reconciler_engine.engine.roles.worker:run_worker", **message)

    def _consumer(self, name: str) -> str:
        return f"{self._queue.consumer}:{name}"

    async def _redeliver(self, child: ChildProcess) -> None:
        """Hand out again what a dead worker had taken; should Redis be away too, as soon as it is back."""
        self._dead.add(child.spec.name)
        with trio.move_on_after(_REDELIVER_S):
            await self._redeliver_dead()
        if child.spec.name in self._dead:
            _logger.warning("tasks of a dead worker wait for Redis", extra={"child": child.spec.name})

    async def _redeliver_later(self) -> None:
        """Hand out again what could not be when a worker died, until cancelled."""
        while True:
            await trio.sleep(_AGAIN_S)
            await self._redeliver_dead()

    async def _redeliver_dead(self) -> None:
        for name in tuple(self._dead):
            try:
                count = await self._queue.redeliver(self._consumer(name))
            except StoreError as error:
                _logger.debug("tasks of a dead worker wait", extra={"child": name, "error": str(error)})
                return
            # Whoever asked at the same time may have been told first.
            if name in self._dead:
                self._dead.remove(name)
                _logger.info("tasks handed out again", extra={"child": name, "count": count})
