"""Runs the embedded server as a child over a locked data directory; it is the last child to stop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from random import Random

import trio

from reconciler_engine.errors import DataDirectoryBusy
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded.binary import ServerPlan, find_binary, probe_version
from reconciler_engine.store.embedded.data_directory import DataDirectory, ServerRecord
from reconciler_engine.store.embedded.socket_directory import remove_socket_directory, socket_directory, socket_path
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.restarting_child import RestartingChild
from reconciler_engine.supervisor.running_child import ChildSpec
from reconciler_engine.supervisor.signals import given_up_at

SERVING_TIMEOUT_S = 60.0
"""Longest time that the server may take to load its data."""

STOP_TIMEOUT_S = 12.0

PREDECESSOR_S = 12.0
"""Longest time that the server of a killed supervisor may take to end."""

_LOOK_S = 0.05
_logger = logging.getLogger(__name__)


@asynccontextmanager
async def locked(directory: DataDirectory, command: str) -> AsyncIterator[int]:
    """Hold a data directory's lock and yield its descriptor; first wait for the server of a killed supervisor to end.

    Raises:
        DataDirectoryBusy: Another process holds the lock, or that server has not ended within `PREDECESSOR_S`.
    """
    deadline = None
    with ExitStack() as stack:
        while True:
            try:
                descriptor = stack.enter_context(directory.lock(command))
                break
            except DataDirectoryBusy as busy:
                if busy.orphan_of is None:
                    raise
                if deadline is None:
                    _logger.info("waiting for the server that was left behind", extra={"pid": busy.orphan_of})
                    deadline = trio.current_time() + PREDECESSOR_S
                if trio.current_time() >= deadline:
                    raise
            await trio.sleep(_LOOK_S)
        yield descriptor


@asynccontextmanager
async def embedded_server(
    directory: DataDirectory,
    record: ServerRecord,
    environment: Mapping[str, str],
    lock: int,
    children: ChildList | None = None,
    end: trio.Event | None = None,
) -> AsyncIterator[str]:
    """Run the server over `directory` and yield its URL; stop it in order at the end of the block.

    A server that dies is restarted over the same data; clients wait meanwhile.

    Args:
        directory: The data directory.
        record: Facts by which other commands find the server; written while it serves.
        environment: The server's whole environment.
        lock: Descriptor of the directory's lock, which the caller holds; the server inherits it.
        children: List to which the server is added.
        end: When set, do not wait any longer for the server to be ready.

    Raises:
        ConfigError: No server program is found, or it is too old.
        RoleFailed: The server died too often.
        StoreUnavailable: The server was not ready within `SERVING_TIMEOUT_S`.
    """
    end = trio.Event() if end is None else end
    plan = ServerPlan(find_binary(), directory.path, Path(record.socket))
    await probe_version(plan.binary, environment)
    spec = ChildSpec(
        name="redis",
        module="reconciler_engine.supervisor.server_program",
        message={
            "arguments": plan.arguments(),
            "inherited": [lock],
            "socket": str(plan.socket),
            "data_directory": str(directory.path),
        },
        environment=environment,
        own_session=True,
        inherited=(lock,),
    )
    child = RestartingChild(lambda: spec, Random(), hint=f"{plan.log} says why")
    if children is not None:
        children.add(child, role="redis")
    # Other commands find the server by the record, so it must exist only while the server is ready.
    directory.remove_record()
    async with trio.open_nursery() as nursery:
        await nursery.start(child.run)
        try:
            async with TrioRedis.from_url(plan.url) as client, given_up_at(end):
                await wait_serving(client, SERVING_TIMEOUT_S)
            directory.write_record(record)
            yield plan.url
        finally:
            with trio.CancelScope(shield=True):
                directory.remove_record()
                await child.stop(STOP_TIMEOUT_S)


@contextmanager
def planned_server(directory: DataDirectory, pid: int, command: str, *, simulated: bool) -> Iterator[ServerRecord]:
    """Create the directory of the server's socket and yield the record for `embedded_server`; remove it at the end."""
    place = socket_directory(directory.path)
    try:
        yield ServerRecord(str(socket_path(place)), pid, command, simulated)
    finally:
        remove_socket_directory(place)
