"""The tasks of one run: puts them on lanes as the share allows, waits, reads the outcomes, and closes the run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf

import trio
from pydantic import ValidationError

from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, ScanOutcome, ScanTask, outcome_of
from reconciler_engine.errors import LeaseLost, PermitRefused, StoreError
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.observe.words import describe_span
from reconciler_engine.store.task_streams import Lane
from reconciler_engine.store.tasks import TaskQueue, job_of

LOST = "the outcome of its task was lost; nothing is known until the next pass"
PROGRESS_S = 5.0
"""Time until a pass first logs its progress (s); each further interval doubles, up to `MOST_PROGRESS_S`."""

MOST_PROGRESS_S = 60.0
_KEEP_RUN_S = 30.0
_CLOSE_TIMEOUT_S = 2.0

_logger = logging.getLogger(__name__)


class VerifyShare:
    """Paces verification pages by a bucket of their own, which all engines of the budget share.

    A permit of this bucket only sets the pace: each request also takes a permit from the budget.
    """

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket

    @property
    def per_minute(self) -> float:
        """Rate of verification requests (per minute)."""
        return 60 * self._bucket.budget.rate_per_s

    async def wait(self, deadline: float, keep_run: Callable[[], Awaitable[object]]) -> bool:
        """Wait for a permit while keeping a run alive; return False if `deadline` (trio's clock, s) comes first.

        Raises:
            StoreError: Redis did not answer, or the run's record was lost.
        """
        while (left := deadline - trio.current_time()) > 0:
            try:
                await self._bucket.wait_permit(min(left, _KEEP_RUN_S))
            except PermitRefused as refused:
                if refused.wait_ms > left * 1_000:
                    return False
                await trio.sleep(min(refused.wait_ms / 1_000, _KEEP_RUN_S))
                await keep_run()
            else:
                return True
        return False


class RunTasks:
    """Hands the tasks of a run to workers; `part` is a prefix of task names, for a part of the run."""

    def __init__(self, queue: TaskQueue, run: str, *, part: str = "") -> None:
        self._queue = queue
        self.run = run
        self.part = part
        self._began = trio.current_time()

    async def do(self, lane: Lane, tasks: Iterable[ScanTask | PageTask]) -> None:
        """Put tasks on a lane and wait until all of them are done.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        texts = [(task.id, task.model_dump_json()) for task in tasks]
        if texts:
            await self._queue.enqueue(self.run, lane, texts)
            await self._wait(lane, len(texts))

    async def do_within(
        self, share: VerifyShare, lane: Lane, tasks: Sequence[PageTask], limit_s: float | None
    ) -> list[PageTask]:
        """Put pages on a lane in their order, wait until these are done, and return them.

        A page with candles to audit waits for the share; a page of missing slots only does not. After `limit_s`
        (None for no limit), the first page that would have to wait ends the handing out.

        Raises:
            StoreError: As `do`.
        """
        handed: list[PageTask] = []
        deadline = trio.current_time() + (inf if limit_s is None else limit_s)
        keep_run = partial(self._queue.keep_run, self.run)
        for task in tasks:
            if task.to_audit and not await share.wait(deadline, keep_run):
                break
            await self._queue.enqueue(self.run, lane, [(task.id, task.model_dump_json())])
            handed.append(task)
        if handed:
            await self._wait(lane, len(handed))
        return handed

    async def outcomes(self) -> dict[str, ScanOutcome | PageOutcome]:
        """Return the workers' outcomes by task id; log and skip invalid records, so that their tasks count as lost."""
        outcomes: dict[str, ScanOutcome | PageOutcome] = {}
        for body in await self._queue.outcomes(self.run):
            try:
                outcome = outcome_of.validate_json(body)
            except ValidationError as error:
                facts = {"run": self.run, "faults": error.error_count()}
                _logger.error("a record of a run is not an outcome", extra=facts)
            else:
                outcomes[outcome.id] = outcome
        return outcomes

    async def _wait(self, lane: Lane, total: int) -> None:
        """Wait for all tasks on a lane; log the progress of a long pass."""
        told_at, pause_s = trio.current_time(), PROGRESS_S

        def tell(left: int) -> None:
            nonlocal told_at, pause_s
            if trio.current_time() - told_at < pause_s:
                return
            told_at, pause_s = trio.current_time(), min(2 * pause_s, MOST_PROGRESS_S)
            took = describe_span(round((told_at - self._began) * 1_000))
            job, kind = job_of(self.run), "scans" if lane is Lane.SCAN else "pages"
            summary = f"{job:<14}  {total - left} of {total} {kind} done, {took} so far"
            extra = {"job": job, "lane": lane, "done": total - left, "of": total, "summary": summary}
            if lane is Lane.VERIFY:
                # Verification pages wait for the share every minute, so a long wait is routine.
                extra["routine"] = f"{job} goes on"
            _logger.info("pass goes on", extra=extra)

        await self._queue.wait_finished(self.run, lane, tell=tell)


@asynccontextmanager
async def closed_after(queue: TaskQueue, run: str) -> AsyncIterator[None]:
    """Close the run when the block ends, cancelled or not; its unfinished tasks are then discarded.

    If closing fails, that is only logged, so as not to hide the error that ended the block. Then either another engine
    has the run, or Redis is away and the record expires.
    """
    try:
        yield
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            try:
                await queue.close_run(run)
            except LeaseLost:
                _logger.info("the run is another engine's now", extra={"run": run})
            except StoreError as error:
                _logger.info("the record of a run stays until it expires", extra={"run": run, "error": str(error)})
