"""Tasks on their streams, and the records of their runs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from reconciler_engine.errors import LeaseLost, RunClosed
from reconciler_engine.store.client.reply_shapes import understanding, whole
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.task_streams import BODY_LIMIT, GROUP, WAIT_S, Delivery, Lane, TaskStreams

RUN_LIFE_MS = 120_000
"""Life of a run's record after its director's last refresh; once it has expired, the run's tasks are void."""

_ENQUEUE_TASKS = 500
_OUTCOMES_AT_ONCE = 500
_STALE = b"stale"
_RUN_PARTS = ("", ":unfinished", ":outcomes", ":wake")
_RUN = Script.load("reconciler_engine.store", "lua/run.lua")
_OPEN = Script.load("reconciler_engine.store", "lua/open.lua")
_FINISH = Script.load("reconciler_engine.store", "lua/finish.lua")


class TaskQueue(TaskStreams):
    """The task streams of one scope, and the runs of the tasks. Finishing a task twice is harmless.

    A director that holds a lease uses the queue that `under` returns: Redis refuses its writes once another director
    has taken the lease.
    """

    def __init__(self, client: TrioRedis, scope: Scope, consumer: str, *, epoch: int = 0) -> None:
        """Make a queue; `epoch` is that of the lease under which it directs runs, 0 for no lease."""
        super().__init__(client, scope, consumer)
        self.epoch = epoch

    def under(self, epoch: int) -> TaskQueue:
        """Return a queue that directs runs under the lease of this epoch."""
        return TaskQueue(self._client, self._scope, self.consumer, epoch=epoch)

    async def finish(self, delivery: Delivery, run_id: str, task_id: str, outcome: str) -> bool:
        """Remove the task from its stream and record its outcome; False if it was finished or its run is closed."""
        done = await _FINISH.run(
            self._client,
            keys=[self._stream(delivery.lane), *(self._run_key(run_id, part) for part in _RUN_PARTS)],
            args=[GROUP, delivery.entry, task_id, outcome, RUN_LIFE_MS],
        )
        return bool(done)

    async def is_open(self, run_id: str, task_id: str = "") -> bool:
        """Return whether a run has a record and no successor, and, with `task_id`, whether this task is unfinished."""
        keys = [self._run_key(run_id, ""), self._fence(run_id), self._run_key(run_id, ":unfinished")]
        return bool(await _OPEN.run(self._client, keys=keys, args=[run_id, task_id]))

    async def open_run(self, job: str, opened_at: int) -> str:
        """Create the record of a new run and return its id; the caller closes the run with `close_run`.

        Raises:
            LeaseLost: Another engine directs the job now.
        """
        run_id = f"{job}-{opened_at}-{secrets.token_hex(4)}"
        await self._direct("open", run_id, (), run_id, job, opened_at)
        return run_id

    async def _direct(self, operation: str, run_id: str, lanes: Sequence[Lane], *more: str | int) -> Any:
        """Run an operation of run.lua; LeaseLost if another engine directs the job."""
        keys = [*(self._run_key(run_id, part) for part in _RUN_PARTS), self._fence(run_id)]
        keys += [self._stream(lane) for lane in lanes]
        reply = await _RUN.run(self._client, keys=keys, args=[operation, self.epoch, RUN_LIFE_MS, *more])
        if reply == _STALE:
            raise LeaseLost(job_of(run_id))
        return reply

    async def enqueue(self, run_id: str, lane: Lane, tasks: Sequence[tuple[str, str]]) -> None:
        """Put tasks (id, body) of a run on a lane, in order.

        Raises:
            RunClosed: The run's record is gone.
            LeaseLost: Another engine directs the job now.
        """
        await self.create_groups()
        for start in range(0, len(tasks), _ENQUEUE_TASKS):
            part = (text for pair in tasks[start : start + _ENQUEUE_TASKS] for text in pair)
            if not await self._direct("enqueue", run_id, (lane,), *part):
                raise RunClosed(run_id)

    async def wait_finished(self, run_id: str, *lanes: Lane, tell: Callable[[int], None] = lambda _: None) -> None:
        """Wait until all tasks of the run are finished, and keep its record alive meanwhile.

        All of them must be on `lanes`. `tell` is called with the number of unfinished tasks after each look.

        Raises:
            RunClosed: The run's record is gone (Redis was emptied, or the run was closed), or its tasks are lost.
            LeaseLost: Another engine directs the job now.
        """
        while True:
            left, queued = await self.keep_run(run_id, *lanes)
            if not left:
                return
            # A task is removed from its stream and the set in one step. So if the set has tasks and the streams are
            # empty, a stream was deleted or evicted, and this wait would never end.
            if not queued:
                raise RunClosed(run_id)
            tell(left)
            await self._client.execute_command("BLPOP", self._run_key(run_id, ":wake"), WAIT_S)

    async def outcomes(self, run_id: str) -> list[bytes]:
        """Return the outcomes recorded so far, and delete them.

        Raises:
            LeaseLost: Another engine directs the job now, and the outcomes are left to it.
        """
        return _outcomes(await self._direct("outcomes", run_id, ()))

    async def keep_run(self, run_id: str, *lanes: Lane) -> tuple[int, int]:
        """Keep a run's record alive for another `RUN_LIFE_MS`.

        Returns:
            The number of its unfinished tasks, and the number of all tasks on `lanes`.

        Raises:
            RunClosed: The run's record is gone.
            LeaseLost: Another engine directs the job now.
        """
        reply = await self._direct("keep", run_id, lanes)
        with understanding("a run"):
            alive, left, queued = map(whole, reply)
        if not alive:
            raise RunClosed(run_id)
        return left, queued

    async def ensure_awaited(self, run_id: str, lane: Lane) -> None:
        """Check that the run's unfinished tasks, all of them on `lane`, can still have outcomes.

        Raises:
            RunClosed: The tasks or their outcomes are lost, so that a wait for outcomes would never end.
        """
        # In this order: a task that leaves the stream and the set between two commands has an outcome by then.
        commands = [
            ("XLEN", self._stream(lane)),
            ("SCARD", self._run_key(run_id, ":unfinished")),
            ("LLEN", self._run_key(run_id, ":outcomes")),
        ]
        with understanding("a run"):
            queued, left, recorded = map(whole, all_served(await self._client.pipe(commands)))
        if not recorded and not (left and queued):
            raise RunClosed(run_id)

    async def wait_outcomes(self, run_id: str) -> list[bytes]:
        """Wait until an outcome is recorded; return the recorded outcomes, at most 500, and delete them.

        A lost connection may lose the outcomes on their way. The list is empty after a wait of 2 s, so that the caller
        can check other conditions.
        """
        key = self._run_key(run_id, ":outcomes")
        first = await self._client.execute_command("BLPOP", key, WAIT_S)
        if first is None:
            return []
        more = await self._client.execute_command("LPOP", key, _OUTCOMES_AT_ONCE - 1)
        with understanding("outcomes"):
            return _outcomes([first[1], *(more or ())])

    async def close_run(self, run_id: str) -> None:
        """Delete the run's record; tasks of the run that are left are void.

        Raises:
            LeaseLost: Another engine directs the job, and so this run.
        """
        await self._direct("close", run_id, (), run_id)

    def _fence(self, run_id: str) -> str:
        return self._scope.fence_key(job_of(run_id))

    def _run_key(self, run_id: str, part: str) -> str:
        return self._scope.key(f"run:{run_id}{part}")


def job_of(run_id: str) -> str:
    """Return the job's name in a run's id."""
    return run_id.rsplit("-", 2)[0]


def _outcomes(reply: Sequence[Any]) -> list[bytes]:
    """Return the outcomes in a reply; one longer than `BODY_LIMIT` becomes empty, and so malformed."""
    with understanding("outcomes"):
        return [one if len(one) <= BODY_LIMIT else b"" for one in reply]
