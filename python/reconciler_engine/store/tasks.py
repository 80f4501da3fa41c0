"""Durable work: tasks on their streams, and the records of the runs that they belong to."""

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
"""A run whose owner has not refreshed it for so long is dead, and its tasks are void."""

_ENQUEUE_TASKS = 500
_OUTCOMES_AT_ONCE = 500
_STALE = b"stale"
_RUN_PARTS = ("", ":unfinished", ":outcomes", ":wake")
_RUN = Script.load("reconciler_engine.store", "lua/run.lua")
_OPEN = Script.load("reconciler_engine.store", "lua/open.lua")
_FINISH = Script.load("reconciler_engine.store", "lua/finish.lua")


class TaskQueue(TaskStreams):
    """The task streams of one scope, and the runs that the tasks belong to. Finishing a task twice is harmless.

    A director that holds a lease gives it as `under`: Redis refuses its writes once another one has taken
    the lease.
    """

    def __init__(self, client: TrioRedis, scope: Scope, consumer: str, *, epoch: int = 0) -> None:
        """Make a queue; `epoch` is that of a lease to direct runs under, 0 for none."""
        super().__init__(client, scope, consumer)
        self.epoch = epoch

    def under(self, epoch: int) -> TaskQueue:
        """Return this queue for runs directed under the lease of that epoch."""
        return TaskQueue(self._client, self._scope, self.consumer, epoch=epoch)

    async def finish(self, delivery: Delivery, run_id: str, task_id: str, outcome: str) -> bool:
        """Take the task off its stream and record its outcome; return False where that was done before."""
        done = await _FINISH.run(
            self._client,
            keys=[self._stream(delivery.lane), *(self._run_key(run_id, part) for part in _RUN_PARTS)],
            args=[GROUP, delivery.entry, task_id, outcome, RUN_LIFE_MS],
        )
        return bool(done)

    async def is_open(self, run_id: str, task_id: str = "") -> bool:
        """Return whether the run still wants its tasks done, or one of them: it has a record, and no successor."""
        keys = [self._run_key(run_id, ""), self._fence(run_id), self._run_key(run_id, ":unfinished")]
        return bool(await _OPEN.run(self._client, keys=keys, args=[run_id, task_id]))

    async def open_run(self, job: str, opened_at: int) -> str:
        """Make the record of a new run and return its id; the caller closes it with `close_run`.

        Raises:
            LeaseLost: Somebody else directs the job now.
        """
        run_id = f"{job}-{opened_at}-{secrets.token_hex(4)}"
        await self._direct("open", run_id, (), run_id, job, opened_at)
        return run_id

    async def _direct(self, operation: str, run_id: str, lanes: Sequence[Lane], *more: str | int) -> Any:
        """Do something for a run, unless somebody else directs it."""
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
            LeaseLost: Somebody else directs the job now.
        """
        await self.create_groups()
        for start in range(0, len(tasks), _ENQUEUE_TASKS):
            part = (text for pair in tasks[start : start + _ENQUEUE_TASKS] for text in pair)
            if not await self._direct("enqueue", run_id, (lane,), *part):
                raise RunClosed(run_id)

    async def wait_finished(self, run_id: str, *lanes: Lane, tell: Callable[[int], None] = lambda _: None) -> None:
        """Wait until every task of the run, all of them on `lanes`, is finished, keeping its record alive.

        `tell` is told now and then how many are left.

        Raises:
            RunClosed: The run's record is gone (Redis was emptied, or somebody closed it), or its tasks are.
            LeaseLost: Somebody else directs the job now.
        """
        while True:
            left, queued = await self.keep_run(run_id, *lanes)
            if not left:
                return
            # A task leaves its stream and the set at once, so one in the set of an empty stream was lost (a stream
            # removed or evicted) and would be waited for for ever.
            if not queued:
                raise RunClosed(run_id)
            tell(left)
            await self._client.execute_command("BLPOP", self._run_key(run_id, ":wake"), WAIT_S)

    async def outcomes(self, run_id: str) -> list[bytes]:
        """Return the outcomes recorded so far and forget them.

        Raises:
            LeaseLost: Somebody else directs the job now; to him they belong.
        """
        return _outcomes(await self._direct("outcomes", run_id, ()))

    async def keep_run(self, run_id: str, *lanes: Lane) -> tuple[int, int]:
        """Keep a run's record alive for another `RUN_LIFE_MS`; return how many tasks it lacks, how many are on lanes.

        Raises:
            RunClosed: The run's record is gone.
            LeaseLost: Somebody else directs the job now.
        """
        reply = await self._direct("keep", run_id, lanes)
        with understanding("a run"):
            alive, left, queued = map(whole, reply)
        if not alive:
            raise RunClosed(run_id)
        return left, queued

    async def ensure_awaited(self, run_id: str, lane: Lane) -> None:
        """Check that outcomes can still come of tasks, all of them on `lane`, that have not had theirs.

        Raises:
            RunClosed: The tasks are lost, or their outcomes are: waiting would have no end.
        """
        # In this order: a task leaves the stream and the set at once, and its outcome is there by then.
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
        """Wait until an outcome is recorded, return those there are (at most 500) and forget them.

        For runs that take their outcomes as they come; a lost connection may lose the outcomes on their way. Returns
        nothing after a wait of 2 s, so that the caller can look at other things.
        """
        key = self._run_key(run_id, ":outcomes")
        first = await self._client.execute_command("BLPOP", key, WAIT_S)
        if first is None:
            return []
        more = await self._client.execute_command("LPOP", key, _OUTCOMES_AT_ONCE - 1)
        with understanding("outcomes"):
            return _outcomes([first[1], *(more or ())])

    async def close_run(self, run_id: str) -> None:
        """Forget the run; tasks of it that are still about are void.

        Raises:
            LeaseLost: Somebody else directs the job now, this run included.
        """
        await self._direct("close", run_id, (), run_id)

    def _fence(self, run_id: str) -> str:
        return self._scope.fence_key(job_of(run_id))

    def _run_key(self, run_id: str, part: str) -> str:
        return self._scope.key(f"run:{run_id}{part}")


def job_of(run_id: str) -> str:
    """Return the job of a run, by its id."""
    return run_id.rsplit("-", 2)[0]


def _outcomes(reply: Sequence[Any]) -> list[bytes]:
    """Return the outcomes in a reply; one longer than any is left empty, and so is none."""
    with understanding("outcomes"):
        return [one if len(one) <= BODY_LIMIT else b"" for one in reply]
