"""Task streams with a consumer group: tasks taken, kept in hand, handed out again."""

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

WAIT_S = 2.0
"""How long a command waits for a task, an outcome or the end of a run."""

_COUNT_DIGITS = 6
_TAKEN_AT_ONCE = 100
_REDELIVER = Script.load("reconciler_engine.store", "lua/redeliver.lua")


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
        """Remove an entry from its stream, since its run is closed or its body cannot be read as a task."""
        stream = self._stream(delivery.lane)
        await self._client.pipe([("XACK", stream, GROUP, delivery.entry), ("XDEL", stream, delivery.entry)])

    def _stream(self, lane: Lane) -> str:
        return self._scope.key(f"tasks:{lane.value}")


def _delivery(lane: Lane, entry: bytes, fields: dict[bytes, bytes] | None) -> Delivery:
    # An entry that was deleted while pending comes without fields.
    fields = fields or {}
    deliveries, body = fields.get(b"deliveries", b""), fields.get(b"body", b"")
    count = 1
    if deliveries.isdigit():
        # A number of more digits than anybody counts up to is past any limit.
        count = int(deliveries) if len(deliveries) <= _COUNT_DIGITS else MAX_DELIVERIES + 1
    return Delivery(lane, text(entry), body if len(body) <= BODY_LIMIT else b"", count)
