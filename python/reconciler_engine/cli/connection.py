"""Where a command finds its cache: the URL that was set, a server that runs already, or one started for its length."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reconciler_engine.cli.settings import child_environment, default_data_dir
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.store.data_directory import DataDirectory
from reconciler_engine.store.server import check_server
from reconciler_engine.store.transport import TrioRedis
from reconciler_engine.supervisor.embedded import embedded_server, plan_record


@dataclass(frozen=True, slots=True)
class Cache:
    """Where the cache is.

    Attributes:
        url: Its address; may hold a password.
        owns_server: Whether it is the embedded server.
        simulated: Whether its candles are invented.
    """

    url: str
    owns_server: bool
    simulated: bool


@asynccontextmanager
async def open_cache(config: ReconciliationConfig, command: str) -> AsyncIterator[Cache]:
    """Give the cache for the length of one command, checked and serving.

    Raises:
        ConfigError: Redis does not accept the credentials or is too old; or there is no server to embed.
        DataDirectoryBusy: Another process is just using the data directory without a server that can be shared.
        StoreUnavailable: Redis does not answer.
    """
    if config.redis_url is not None:
        await _check(config.redis_url)
        yield Cache(config.redis_url, owns_server=False, simulated=False)
        return
    directory = DataDirectory(config.data_dir or default_data_dir(simulated=False))
    directory.prepare()
    running = directory.find_running()
    if running is not None:
        await _check(running.url)
        yield Cache(running.url, owns_server=True, simulated=running.simulated)
        return
    with directory.lock(f"reconciler-engine {command}"):
        record = plan_record(directory, os.getpid(), f"reconciler-engine {command}", simulated=False)
        async with embedded_server(directory, record, child_environment()) as url:
            yield Cache(url, owns_server=True, simulated=False)


async def _check(url: str) -> None:
    async with TrioRedis.from_url(url) as client:
        await check_server(client)
