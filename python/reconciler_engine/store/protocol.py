"""The protocol version of a scope: all its engines must exchange the same form of messages through Redis.

Each process that takes or directs tasks is entered in the scope's list of workers; an entry lives as long as a lease.
An engine does not start while the list has a process of another protocol. An engine that reconnects after an outage
and then finds such a process ends.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Final

import trio
from pydantic import Field, TypeAdapter, ValidationError

from reconciler_engine.errors import OtherProtocol, StoreError, StoreUnavailable
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.leases import LEASE_MS
from reconciler_engine.store.rights import check_rights
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import EngineFacts, StatusBoard

PROTOCOL: Final = 4
"""Version number. Increase it with each change of tasks, outcomes, records or keys that older engines would misread.
Engines older than this number count as 0."""

_LAST_WORD_S: Final = 1.0
_Word = Annotated[str, Field(max_length=500)]
_TERMS: Final = TypeAdapter(Annotated[dict[_Word, _Word], Field(max_length=20)])
_ENTER = Script.load("reconciler_engine.store", "lua/protocol.lua")
_logger = logging.getLogger(__name__)


async def check_protocol(client: TrioRedis, scope: Scope) -> None:
    """Check that no process works on a scope under another protocol.

    Raises:
        OtherProtocol: A process of another protocol works on it.
        StoreError: Redis did not answer.
    """
    await _enter(client, scope, LEASE_MS)


@asynccontextmanager
async def at_work(
    client: TrioRedis,
    scope: Scope,
    name: str,
    facts: EngineFacts,
    *,
    life_ms: int = LEASE_MS,
    terms: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """Keep this process in a scope's list of workers during a `with` block.

    Args:
        client: Client of Redis; the caller closes it.
        scope: Scope of the work.
        name: Name of the entry, unique among all processes.
        facts: Description of the process, shown where another protocol is refused.
        life_ms: Life of the entry after its last refresh.
        terms: Settings of a command's worker for requests to the exchange; None for an engine, whose status has them.

    Raises:
        ConfigError: The Redis user lacks a right that the work needs.
        OtherProtocol: A process works on the scope under another protocol. Found during the block, it is raised in an
            exception group.
        StoreError: Redis did not answer before the block began.
    """
    await check_rights(client, scope)
    about = f"{facts.host}, version {facts.version}, {facts.command}"

    async def enter() -> None:
        await _enter(client, scope, life_ms, name, about)
        if terms is not None:
            await client.execute_command("SET", _terms_key(scope, name), json.dumps(dict(terms)), "PX", life_ms)

    await enter()
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stay, enter, life_ms)
            try:
                yield
            except Exception as error:  # noqa: BLE001  raised again below, outside the group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        with trio.move_on_after(_LAST_WORD_S, shield=True):
            await _leave(client, scope, name)


async def _enter(client: TrioRedis, scope: Scope, life_ms: int, *entry: str) -> None:
    found = await _ENTER.run(client, keys=[scope.key("at_work")], args=[PROTOCOL, life_ms, *entry])
    if found:
        with understanding("the list of workers"):
            about, protocol = text(found[1]), whole(found[0])
        raise OtherProtocol(about, protocol, PROTOCOL)
    try:
        statuses = await StatusBoard(client).read(scope)
    except StoreUnavailable as error:
        # In a cluster the list of all engines is on another node; the next refresh reads it again.
        _logger.debug("the list of engines cannot be read", extra={"error": str(error)})
        return
    # Older engines are not in the list of workers, but write a status.
    for status in statuses:
        if status.protocol != PROTOCOL:
            host = status.node.partition(":")[0]
            raise OtherProtocol(f"{host}, version {status.version}, {status.command}", status.protocol, PROTOCOL)


async def terms_at_work(client: TrioRedis, scope: Scope) -> dict[str, dict[str, str]]:
    """Return the terms of each command at work on a scope, by the name of its entry.

    Raises:
        StoreError: Redis did not answer.
    """
    with understanding("the list of workers"):
        names = [text(name) for name in await client.execute_command("HKEYS", scope.key("at_work"))]
    replies = await client.pipe([("GET", _terms_key(scope, name)) for name in names])
    found = {}
    for name, body in zip(names, all_served(replies), strict=True):
        with suppress(ValidationError):
            if body is not None:
                found[name] = _TERMS.validate_json(body)
    return found


def _terms_key(scope: Scope, name: str) -> str:
    return scope.key(f"terms:{name}")


async def _stay(enter: Callable[[], Awaitable[None]], life_ms: int) -> None:
    while True:
        await trio.sleep(life_ms / 4_000)
        try:
            await enter()
        except StoreError as error:
            _logger.debug("the list of workers cannot be read", extra={"error": str(error)})


async def _leave(client: TrioRedis, scope: Scope, name: str) -> None:
    try:
        await client.execute_command("HDEL", scope.key("at_work"), name)
        await client.execute_command("DEL", _terms_key(scope, name))
    except StoreError as error:
        _logger.debug("still in the list of workers; that ends by itself", extra={"error": str(error)})
