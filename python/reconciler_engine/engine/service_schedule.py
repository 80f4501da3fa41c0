"""The schedule of a `ReconciliationService`, from `start` to `stop`."""

from __future__ import annotations

import os

import trio

from reconciler_engine.engine.looks_beside import FEEDER_LOOK_S, look_at_feeder, look_often
from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.engine.status_writer import StatusWriter
from reconciler_engine.observe.status import ProcessStatus
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.store.status_board import EngineFacts

SERVICE = "ReconciliationService"
"""Name of an engine inside a host's program, as its status shows it."""


class ServiceSchedule:
    """Runs scheduled passes and writes the service's status; used once."""

    def __init__(self, passes: ScheduledPasses) -> None:
        self._passes = passes
        self._scheduler = Scheduler(passes.jobs(), now=passes.now, claim=passes.claim)
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the schedule has run and ended."""
        return self._ended.is_set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until stopped or cancelled, beginning with a full reconciliation; started once the scheduler runs."""
        began = trio.current_time()

        def processes() -> tuple[ProcessStatus, ...]:
            age_ms = round((trio.current_time() - began) * 1_000)
            return (ProcessStatus(role="service", name="service", pid=os.getpid(), age_ms=age_ms, last_beat_ms=0),)

        facts = EngineFacts(SERVICE)
        writer = StatusWriter(facts, self._scheduler, self._passes, processes)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(writer.run)
                    nursery.start_soon(look_often, look_at_feeder, self._passes, FEEDER_LOOK_S)
                    await nursery.start(self._scheduler.run)
                    nursery.start_soon(self._passes.begin, self._scheduler)
                    task_status.started()
        finally:
            self._ended.set()

    def begin_no_more(self) -> None:
        """Let the running pass finish, but begin no further ones."""
        self._scheduler.stop()

    async def stop(self) -> None:
        """End the schedule and the pass under way; return when both have ended."""
        self.begin_no_more()
        self._scope.cancel()
        await self._ended.wait()
