"""Durable work: task streams with a consumer group, and the records of the runs that the tasks belong to."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler_engine.errors import ConfigError, LeaseLost, RunClosed, StoreError
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope

GROUP = "workers"
RUN_LIFE_MS = 120_000
"""A run whose owner has not refreshed it for so long is dead, and its tasks are void."""

REDELIVER_IDLE_MS = 60_000
"""A task untouched for so long is handed out again; workers touch theirs every 10 s."""

WATCH_MS = 30_000
"""How long workers must have watched before idle tasks are handed out: each touches its own every 10 s, and 5 s later
where an answer is lost."""

FORGET_MS = 3_600_000
"""A consumer that has nothing in hand and was silent for so long belonged to a node that died: it is forgotten."""

MAX_DELIVERIES = 5
"""A task handed out more often has failed its workers; it ends with an error instead of a sixth try."""

BODY_LIMIT = 4_000_000
"""Bytes of a task or an outcome; longer ones are none of ours. A scan's of 2,000 series have 0.3 MB."""

_ENQUEUE_TASKS = 500
_COUNT_DIGITS = 6
_OUTCOMES_AT_ONCE = 500
_WAIT_S = 2.0
_TAKEN_AT_ONCE = 100


class Lane(StrEnum):
    """A task stream. Pages of the quick scan overtake those of the verify run, and these those of deep passes."""

    SCAN = "scan"
    LIVE = "live"
    VERIFY = "verify"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A task in a worker's hands: its place in the stream, its text, how often it was handed out."""

    lane: Lane
    entry: str
    body: bytes
    deliveries: int


_RUN = Script.load("reconciler_engine.store", "lua/run.lua")
_OPEN = Script.load("reconciler_engine.store", "lua/open.lua")
_FINISH = Script.load("reconciler_engine.store", "lua/finish.lua")
_REDELIVER = Script.load("reconciler_engine.store", "lua/redeliver.lua")


class TaskQueue:
    """The task streams of one scope, as seen by one consumer.

    Delivery is at least once: a task is handed out again when its consumer is known to be dead (`redeliver`) or
    has not touched it for `REDELIVER_IDLE_MS`. Finishing it twice is harmless.

    A director that holds a lease gives it as `under`: Redis refuses its writes once another one has taken
    the lease.
    """

    def __init__(self, client: TrioRedis, scope: Scope, consumer: str, *, epoch: int = 0) -> None:
        """Make a queue; `epoch` is that of a lease to direct runs under, 0 for none."""
        self._client = client
        self._scope = scope
        self.consumer = consumer
        self.epoch = epoch

    def under(self, epoch: int) -> TaskQueue:
        """Return this queue for runs directed under the lease of that epoch."""
        return TaskQueue(self._client, self._scope, self.consumer, epoch=epoch)

    async def take(self, *lanes: Lane, wait_s: float = _WAIT_S) -> list[Delivery]:
        """Take at most one task a lane, in the order of `lanes`; wait up to `wait_s` while there is none.

        A first look at each lane does not wait, so an earlier lane is emptied before a later one is read. Cancelled,
        a task that was on its way to us stays pending and is handed out again after `REDELIVER_IDLE_MS`.
        """
        for lane in lanes:
            found = await self._read((lane,), None)
            if found:
                return found
        return await self._read(lanes, wait_s)

    async def taken(self, *lanes: Lane) -> list[Delivery]:
        """Return the tasks that Redis says this consumer has, finished by none (at most 100 a lane).

        More than it has in hand, where their delivery was lost on the way, or Redis failed over and has not heard that
        they were finished.
        """
        return await self._read(lanes, None, count=_TAKEN_AT_ONCE, since="0")

    async def _read(
        self, lanes: Sequence[Lane], wait_s: float | None, *, count: int = 1, since: str = ">"
    ) -> list[Delivery]:
        streams = [self._stream(lane) for lane in lanes]
        block = () if wait_s is None else ("BLOCK", int(wait_s * 1_000))
        command = ("XREADGROUP", "GROUP", GROUP, self.consumer, "COUNT", count, *block, "STREAMS", *streams)
        try:
            reply = await self._client.execute_command(*command, *(since for _ in streams))
        except StoreError as error:
            if error.code != "NOGROUP":
                raise
            await self.create_groups()
            return []
        by_stream = {self._stream(lane).encode(): lane for lane in lanes}
        with understanding("tasks"):
            found = {by_stream[stream]: entries for stream, entries in reply or ()}
            return [_delivery(lane, *entry) for lane in lanes for entry in found.get(lane, ())]

    async def create_groups(self) -> None:
        """Create the streams and their group where they do not exist, from the first task on.

        Raises:
            ConfigError: There is something else under the name of a stream.
            StoreError: Redis did not do it.
        """
        for lane in Lane:
            try:
                await self._client.execute_command("XGROUP CREATE", self._stream(lane), GROUP, "0", "MKSTREAM")
            except StoreError as error:
                if error.code == "WRONGTYPE":
                    raise ConfigError([f"redis_url: {error}; the engine's own key is another program's"]) from error
                if error.code != "BUSYGROUP":
                    raise

    async def lengths(self) -> dict[str, int]:
        """Return how many tasks there are a lane, those in hand included."""
        replies = await self._client.pipe([("XLEN", self._stream(lane)) for lane in Lane])
        return {lane.value: reply if isinstance(reply, int) else 0 for lane, reply in zip(Lane, replies, strict=True)}

    async def touch(self, deliveries: Sequence[Delivery]) -> None:
        """Say that these tasks are still being worked on."""
        await self._client.pipe(
            [("XCLAIM", self._stream(one.lane), GROUP, self.consumer, 0, one.entry, "JUSTID") for one in deliveries]
        )

    async def redeliver(self, consumer: str | bytes) -> int:
        """Hand out again the tasks of `consumer`, known to be dead; forget the consumer. Return how many.

        It counts against those tasks: one of them may be the cause of its death.
        """
        return await self._redeliver(consumer, 0, counts=1)

    async def hand_back(self) -> int:
        """Hand out again this consumer's tasks, as if it never took them; forget the consumer. Return how many."""
        return await self._redeliver(self.consumer, 0, counts=0)

    async def redeliver_all(self, is_gone: Callable[[str], bool]) -> int:
        """Hand out again the tasks of every consumer that is known to be dead. Return how many."""
        moved = 0
        await self.create_groups()
        for lane in Lane:
            consumers = await self._client.execute_command("XINFO CONSUMERS", self._stream(lane), GROUP)
            with understanding("consumers"):
                names = [consumer["name"] for consumer in consumers]
                gone = [name for name in names if is_gone(text(name))]
            for name in gone:
                moved += await self.redeliver(name)
        return moved

    async def redeliver_idle(self) -> int:
        """Hand out again tasks that were not refreshed for `REDELIVER_IDLE_MS`. Return how many.

        Nothing, unless somebody has asked this all along for the last `WATCH_MS`: where Redis was away or stood still
        for long, the workers that live must come to touch theirs first. Consumers that were silent for `FORGET_MS`
        with nothing in hand are forgotten.
        """
        return await self._redeliver("", REDELIVER_IDLE_MS, counts=1)

    async def _redeliver(self, consumer: str | bytes, idle_ms: int, *, counts: int) -> int:
        moved = 0
        for lane in Lane:
            try:
                count = await _REDELIVER.run(
                    self._client,
                    keys=[self._stream(lane), self._scope.key(f"watch:{lane.value}")],
                    args=[GROUP, idle_ms, consumer, 1_000, counts, WATCH_MS, FORGET_MS],
                )
                with understanding("tasks handed out again"):
                    moved += whole(count)
            except StoreError as error:
                if error.code != "NOGROUP":
                    raise
                await self.create_groups()
        return moved

    async def finish(self, delivery: Delivery, run_id: str, task_id: str, outcome: str) -> bool:
        """Take the task off its stream and record its outcome; return False where that was done before."""
        done = await _FINISH.run(
            self._client,
            keys=[self._stream(delivery.lane), *(self._run_key(run_id, part) for part in _RUN_PARTS)],
            args=[GROUP, delivery.entry, task_id, outcome, RUN_LIFE_MS],
        )
        return bool(done)

    async def drop(self, delivery: Delivery) -> None:
        """Remove an entry from its stream, since its run is closed or its body cannot be read as a task."""
        stream = self._stream(delivery.lane)
        await self._client.pipe([("XACK", stream, GROUP, delivery.entry), ("XDEL", stream, delivery.entry)])

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
            await self._client.execute_command("BLPOP", self._run_key(run_id, ":wake"), _WAIT_S)

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
        first = await self._client.execute_command("BLPOP", key, _WAIT_S)
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

    def _stream(self, lane: Lane) -> str:
        return self._scope.key(f"tasks:{lane.value}")

    def _fence(self, run_id: str) -> str:
        return self._scope.fence_key(job_of(run_id))

    def _run_key(self, run_id: str, part: str) -> str:
        return self._scope.key(f"run:{run_id}{part}")


_STALE = b"stale"
_RUN_PARTS = ("", ":unfinished", ":outcomes", ":wake")


def job_of(run_id: str) -> str:
    """Return the job of a run, by its id."""
    return run_id.rsplit("-", 2)[0]


def _delivery(lane: Lane, entry: bytes, fields: dict[bytes, bytes] | None) -> Delivery:
    # An entry that was deleted while pending comes without fields.
    fields = fields or {}
    deliveries, body = fields.get(b"deliveries", b""), fields.get(b"body", b"")
    count = 1
    if deliveries.isdigit():
        # A number of more digits than anybody counts up to is past any limit.
        count = int(deliveries) if len(deliveries) <= _COUNT_DIGITS else MAX_DELIVERIES + 1
    return Delivery(lane, text(entry), body if len(body) <= BODY_LIMIT else b"", count)


def _outcomes(reply: Sequence[Any]) -> list[bytes]:
    """Return the outcomes in a reply; one longer than any is left empty, and so is none."""
    with understanding("outcomes"):
        return [one if len(one) <= BODY_LIMIT else b"" for one in reply]
