"""The embedded server as a part of the tree: started over a locked data directory, ended last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import trio

from reconciler_engine.store.data_directory import DataDirectory, ServerRecord
from reconciler_engine.store.embedded import ServerPlan, find_binary, probe_version, socket_directory, socket_path
from reconciler_engine.store.server import wait_serving
from reconciler_engine.store.transport import TrioRedis
from reconciler_engine.supervisor.keeper import Keeper
from reconciler_engine.supervisor.process import ChildSpec
from reconciler_engine.supervisor.roster import Roster

SERVING_TIMEOUT_S = 60.0
"""How long the server may take to load what it kept."""

STOP_TIMEOUT_S = 12.0


@asynccontextmanager
async def embedded_server(
    directory: DataDirectory, record: ServerRecord, environment: Mapping[str, str], roster: Roster | None = None
) -> AsyncIterator[str]:
    """Run the server over `directory`, whose lock the caller holds; give its URL; stop it, in order, at the end.

    A server that dies is started again over the same data; clients wait meanwhile. `roster` lists it for those who
    show the tree.

    Raises:
        ConfigError: There is no server to be found, or one that is too old.
        RoleFailed: It died again and again.
        StoreUnavailable: It did not serve within `SERVING_TIMEOUT_S`.
    """
    plan = ServerPlan(find_binary(), directory.path, Path(record.socket))
    await probe_version(plan.binary, environment)
    spec = ChildSpec(
        name="redis",
        module="reconciler_engine.supervisor.server",
        message={"arguments": plan.arguments()},
        environment=environment,
        own_session=True,
    )
    keeper = Keeper(lambda: spec, Random())
    if roster is not None:
        roster.add(keeper, role="redis")
    directory.remove_record()
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        try:
            async with TrioRedis.from_url(plan.url) as client:
                await wait_serving(client, SERVING_TIMEOUT_S)
            directory.write_record(record)
            yield plan.url
        finally:
            with trio.CancelScope(shield=True):
                directory.remove_record()
                await keeper.stop(STOP_TIMEOUT_S)


def plan_record(directory: DataDirectory, pid: int, command: str, *, simulated: bool) -> ServerRecord:
    """Return the record of the server that this process is about to run over `directory`."""
    socket = socket_path(socket_directory(directory.path))
    return ServerRecord(str(socket), pid, command, simulated)
