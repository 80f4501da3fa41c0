"""Task streams with a consumer group: taking tasks, keeping them, and handing them out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler_engine.errors import ConfigError, StoreError
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script, run_batch
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

GROUP = "workers"
REDELIVER_IDLE_MS = 60_000
"""A task that was not touched for this time is handed out again; workers touch their tasks every 10 s."""

WATCH_MS = 30_000
"""Time of uninterrupted watching before idle tasks are handed out again. It is enough for every live worker to touch
its tasks: a worker does so every 10 s, or 5 s later if a reply was lost."""

FORGET_MS = 3_600_000
"""A consumer without tasks that was silent for this time belonged to a dead node, and is deleted."""

MAX_DELIVERIES = 5
"""Most deliveries of a task; instead of another one, the task ends with an error."""

BODY_LIMIT = 4_000_000
"""Most bytes of a task or outcome; a longer text is not the engine's. A scan of 2,000 series needs 0.3 MB."""

WAIT_S = 2.0
"""Longest wait of one command for a task, an outcome or the end of a run."""

_COUNT_DIGITS = 6
_TAKEN_AT_ONCE = 100
_REDELIVER = Script.load("reconciler_engine.store", "lua/redeliver.lua")


class Lane(StrEnum):
    """A task stream. Pages of the gap scan come first, then those of the verify run, then those of deep passes."""

    SCAN = "scan"
    LIVE = "live"
    VERIFY = "verify"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A task in a worker's hands: its entry in the stream, its text, and how often it was handed out."""

    lane: Lane
    entry: str
    body: bytes
    deliveries: int


class TaskStreams:
    """The task streams of one scope, as seen by one consumer.

    Delivery is at least once: a task is handed out again when its consumer is known to be dead (`redeliver`) or
    has not touched it for `REDELIVER_IDLE_MS`.
    """

    def __init__(self, client: TrioRedis, scope: Scope, consumer: str) -> None:
        self._client = client
        self._scope = scope
        self.consumer = consumer

    async def take(self, *lanes: Lane, wait_s: float = WAIT_S) -> list[Delivery]:
        """Take at most one task a lane, in the order of `lanes`; wait up to `wait_s` while there is none.

        Each lane is first read without waiting, so an earlier lane is emptied before a later one is read. If this call
        is cancelled, a task already sent to it stays pending, and is handed out again after `REDELIVER_IDLE_MS`.
        """
        for lane in lanes:
            found = await self._read((lane,), None)
            if found:
                return found
        return await self._read(lanes, wait_s)

    async def taken(self, *lanes: Lane) -> list[Delivery]:
        """Return the unfinished tasks that Redis has assigned to this consumer, at most 100 a lane.

        The consumer may not know some of them: their delivery was lost on the way, or Redis failed over and lost the
        record that they were finished.
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
        """Create missing streams and groups; a new group begins with the first task of its stream.

        Raises:
            ConfigError: A stream's key has another type.
            StoreError: Redis failed or refused the command.
        """
        create = [("XGROUP CREATE", self._stream(lane), GROUP, "0", "MKSTREAM") for lane in Lane]
        for reply in await self._client.pipe(create):
            if not isinstance(reply, StoreError) or reply.code == "BUSYGROUP":
                continue
            if reply.code == "WRONGTYPE":
                raise ConfigError([f"redis_url: {reply}; the engine's own key is another program's"]) from reply
            raise reply

    async def lengths(self) -> dict[str, int]:
        """Return the number of tasks in each lane, those in workers' hands included."""
        replies = await self._client.pipe([("XLEN", self._stream(lane)) for lane in Lane])
        return {lane.value: reply if isinstance(reply, int) else 0 for lane, reply in zip(Lane, replies, strict=True)}

    async def touch(self, deliveries: Sequence[Delivery]) -> None:
        """Reset the idle time of tasks, since they are still being worked on."""
        await self._client.pipe(
            [("XCLAIM", self._stream(one.lane), GROUP, self.consumer, 0, one.entry, "JUSTID") for one in deliveries]
        )

    async def redeliver(self, consumer: str | bytes) -> int:
        """Put the tasks of a dead consumer back on the streams, and delete it. Return how many tasks.

        Their deliveries increase by 1, since one of them may have caused the death.
        """
        return await self._redeliver(consumer, 0, counts=1)

    async def hand_back(self) -> int:
        """Put this consumer's tasks back as if never taken, and delete the consumer. Return how many tasks."""
        return await self._redeliver(self.consumer, 0, counts=0)

    async def redeliver_all(self, is_gone: Callable[[str], bool]) -> int:
        """Do as `redeliver` for each consumer for which `is_gone` is true. Return how many tasks."""
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
        """Put tasks back that were not touched for `REDELIVER_IDLE_MS`. Return how many.

        No task is put back before this was called regularly for `WATCH_MS`: after an outage of Redis, live workers must
        have time to touch their tasks. Consumers without tasks that were silent for `FORGET_MS` are deleted.
        """
        return await self._redeliver("", REDELIVER_IDLE_MS, counts=1)

    async def _redeliver(self, consumer: str | bytes, idle_ms: int, *, counts: int) -> int:
        moved = 0
        arguments = (GROUP, idle_ms, consumer, 1_000, counts, WATCH_MS, FORGET_MS)
        keys = ([self._stream(lane), self._scope.key(f"watch:{lane.value}")] for lane in Lane)
        for count in await run_batch(self._client, [_REDELIVER.call(one, arguments) for one in keys]):
            if isinstance(count, StoreError):
                if count.code != "NOGROUP":
                    raise count
                await self.create_groups()
                continue
            with understanding("tasks handed out again"):
                moved += whole(count)
        return moved

    async def drop(self, delivery: Delivery) -> None:
        """Remove a task from its stream without an outcome: its run is closed, or its body is malformed."""
        stream = self._stream(delivery.lane)
        await self._client.pipe([("XACK", stream, GROUP, delivery.entry), ("XDEL", stream, delivery.entry)])

    def _stream(self, lane: Lane) -> str:
        return self._scope.key(f"tasks:{lane.value}")


def _delivery(lane: Lane, entry: bytes, fields: dict[bytes, bytes] | None) -> Delivery:
    # An entry that was deleted while pending is delivered without fields.
    fields = fields or {}
    deliveries, body = fields.get(b"deliveries", b""), fields.get(b"body", b"")
    count = 1
    if deliveries.isdigit():
        # A number of so many digits is beyond any limit; int() of a huge text would be slow.
        count = int(deliveries) if len(deliveries) <= _COUNT_DIGITS else MAX_DELIVERIES + 1
    return Delivery(lane, text(entry), body if len(body) <= BODY_LIMIT else b"", count)
