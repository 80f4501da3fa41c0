"""The tasks of one run: put on their lanes, awaited, and their outcomes read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import ValidationError

from reconciler_engine.engine.passes.verify_share import VerifyShare
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, ScanOutcome, ScanTask, outcome_of
from reconciler_engine.store.tasks import Lane, TaskQueue

LOST = "the outcome of its task was lost; nothing is known until the next pass"
_logger = logging.getLogger(__name__)


class RunTasks:
    """Has the workers do the tasks of a run, or of the `part` of it that begins their names."""

    def __init__(self, queue: TaskQueue, run: str, *, part: str = "") -> None:
        self._queue = queue
        self.run = run
        self.part = part

    async def do(self, lane: Lane, tasks: Sequence[ScanTask | PageTask]) -> None:
        """Put tasks on a lane and wait until all of them are done.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        if tasks:
            await self._enqueue(lane, [(task.id, task.model_dump_json()) for task in tasks])
            await self._queue.wait_finished(self.run, lane)

    async def do_within(
        self, share: VerifyShare, lane: Lane, tasks: Sequence[PageTask], limit_s: float | None
    ) -> list[PageTask]:
        """Put pages on a lane as a share lets them out, wait until these are done, and return them.

        Raises:
            StoreError: As `do`.
        """

        async def enqueue(task: Sequence[tuple[str, str]]) -> None:
            await self._enqueue(lane, task)

        handed = await share.hand_out(tasks, enqueue, self._keep, limit_s)
        if handed:
            await self._queue.wait_finished(self.run, lane)
        return handed

    async def outcomes(self) -> dict[str, ScanOutcome | PageOutcome]:
        """Return the workers' outcomes by task id. Anything else is logged, and its task counts as lost."""
        outcomes: dict[str, ScanOutcome | PageOutcome] = {}
        for body in await self._queue.outcomes(self.run):
            try:
                outcome = outcome_of.validate_json(body)
            except ValidationError as error:
                facts = {"run": self.run, "faults": error.error_count()}
                _logger.error("a record of a run is no outcome", extra=facts)
            else:
                outcomes[outcome.id] = outcome
        return outcomes

    async def _enqueue(self, lane: Lane, tasks: Sequence[tuple[str, str]]) -> None:
        await self._queue.enqueue(self.run, lane, tasks)

    async def _keep(self) -> None:
        await self._queue.keep_run(self.run)
