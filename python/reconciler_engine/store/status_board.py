"""The status of an engine: a record that it writes once a second, and its place in Redis.

A record expires after a few seconds, so an engine without one does not run. Reading uses no candle key.
"""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler_engine.errors import NodeUnavailable, StoreError
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.store.client.reply_shapes import understanding, whole
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Layout, Scope
from reconciler_engine.store.scoped import read_record

RECORD_LIFE_MS = 5_000
"""Life of a record. An engine whose record has expired does not run, or cannot reach Redis."""

ENGINES_KEY = "recon:engines"
"""Hash of all engines on this Redis: the key of an engine's record -> its node."""

ENGINES_KEYS = (ENGINES_KEY, "recon:engines:again", "recon:engines:beside")
"""Three copies of the hash for a cluster, in distant hash slots, so that one can be read while a node is away."""

_ENGINES_LIFE_MS = 86_400_000
_ENGINES_READ = 256
_ENGINES_LISTED = 1_024
_NAME_BYTES = 500


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Facts that do not change while an engine runs.

    Attributes:
        command: The command that runs the engine, for display.
        simulated: Whether its candles are invented.
        host: The machine's name.
        version: The package's version.
    """

    command: str
    simulated: bool = False
    host: str = field(default_factory=socket.gethostname)
    version: str = field(default_factory=lambda: importlib.metadata.version("reconciler-engine"))


class StatusBoard:
    """The records and the list of all engines on a Redis."""

    def __init__(self, client: TrioRedis) -> None:
        self._client = client

    @property
    def _lists(self) -> Sequence[str]:
        return ENGINES_KEYS if self._client.is_cluster else ENGINES_KEYS[:1]

    async def announce(self, status: EngineStatus) -> None:
        """Enter an engine in the list, and remove engines without a record. One call a minute is enough."""
        names = await self._listed()
        there = await self._client.pipe([("EXISTS", key) for key in names])
        gone = [key for key, exists in zip(names, there, strict=True) if exists == 0]
        for engines in self._lists:
            with suppress(NodeUnavailable):
                await self._announce(engines, status, gone)

    async def _announce(self, engines: str, status: EngineStatus, gone: Sequence[bytes]) -> None:
        with understanding("the list of engines"):
            listed = whole(await self._client.execute_command("HLEN", engines))
        if listed > _ENGINES_LISTED:
            # Another program filled the hash; every engine enters itself again within a minute.
            await self._client.execute_command("DEL", engines)
        if gone:
            await self._client.execute_command("HDEL", engines, *gone)
        await self._client.execute_command("HSET", engines, _key(status), status.node)
        await self._client.execute_command("PEXPIRE", engines, _ENGINES_LIFE_MS)

    async def write(self, status: EngineStatus) -> None:
        """Write an engine's record, which lives for `RECORD_LIFE_MS`."""
        await self._client.execute_command("SET", _key(status), status.model_dump_json(), "PX", RECORD_LIFE_MS)

    async def remove(self, status: EngineStatus) -> None:
        """Delete an engine's record and its entry in the list."""
        await self._client.execute_command("DEL", _key(status))
        for engines in self._lists:
            with suppress(NodeUnavailable):
                await self._client.execute_command("HDEL", engines, _key(status))

    async def find_silent(self) -> list[str]:
        """Return the nodes of engines that are listed but have no record: they crashed, or cannot write.

        Raises:
            StoreError: Redis did not answer.
        """
        listed = await self._nodes()
        there = await self._client.pipe([("EXISTS", key) for key in listed])
        silent = [node for node, exists in zip(listed.values(), there, strict=True) if exists == 0]
        return sorted(node[:_NAME_BYTES].decode("utf-8", "replace") for node in silent)

    async def _listed(self) -> list[bytes]:
        """Return the keys of the listed engines' records."""
        return [*await self._nodes()]

    async def _nodes(self) -> dict[bytes, bytes]:
        pages = await self._client.pipe([("HSCAN", engines, 0, "COUNT", _ENGINES_LISTED) for engines in self._lists])
        read = [page for page in pages if not isinstance(page, NodeUnavailable)]
        with understanding("the list of engines"):
            pairs = [
                pair for page in all_served(read or pages) for pair in zip(page[1][::2], page[1][1::2], strict=True)
            ]
            return {name: node for name, node in pairs if len(name) <= _NAME_BYTES}

    async def read(self, scope: Scope | None = None) -> list[EngineStatus]:
        """Return the status of each engine on this Redis, or of one scope, at most 256, ordered by scope and node.

        Malformed records are left out.

        Raises:
            StoreError: Redis did not answer.
        """
        names = sorted(await self._listed())
        start = b"" if scope is None else scope.key("status:").encode()
        listed = [name for name in names if name.startswith(start)][:_ENGINES_READ]
        try:
            records = await self._client.pipe([("GET", key) for key in listed])
        except NodeUnavailable as error:
            raise NodeUnavailable(describe_own_outage(error), code=error.code) from error
        # A record may have expired, or its key may be of another type.
        return [one for record in records if (one := read_record(EngineStatus, record)) is not None]


def describe_own_outage(error: StoreError) -> str:
    """Return the error text for a cluster whose node with the engine's own keys is away."""
    return f"the node of the engine's own keys is away, so no work goes on: {error}"


def scope_of(status: EngineStatus) -> Scope:
    """Return the scope of an engine."""
    return Scope(status.user_id, status.exchange_id, status.source, Layout(status.layout))


def _key(status: EngineStatus) -> str:
    return scope_of(status).key(f"status:{status.node}")
