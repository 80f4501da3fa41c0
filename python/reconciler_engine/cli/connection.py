"""Where a command finds its cache: the URL that was set, a server that runs already, or one started for its length."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reconciler_engine.cli.settings import child_environment, default_data_dir
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import ConfigError
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.supervisor.server_child import embedded_server, locked, plan_record


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
async def open_cache(config: ReconciliationConfig, command: str, *, writes: bool) -> AsyncIterator[Cache]:
    """Give the cache for the length of one command, checked and serving.

    Args:
        config: Says where the cache is.
        command: Told to a second holder of the data directory.
        writes: Whether the command writes real candles: it is refused a cache of invented ones.

    Raises:
        ConfigError: Redis does not accept the credentials or is too old; there is no server to embed; or the cache
            holds invented candles and real ones would be written.
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
    simulated = is_simulated(directory) if running is None else running.simulated
    if simulated and writes:
        raise ConfigError([_mixed(directory, "holds invented candles", f"{command} writes real ones")])
    if running is not None:
        await _check(running.url)
        yield Cache(running.url, owns_server=True, simulated=simulated)
        return
    async with locked(directory, f"reconciler-engine {command}") as lock:
        record = plan_record(directory, os.getpid(), f"reconciler-engine {command}", simulated=simulated)
        async with embedded_server(directory, record, child_environment(), lock) as url:
            yield Cache(url, owns_server=True, simulated=simulated)


def is_simulated(directory: DataDirectory) -> bool:
    """Whether the candles kept in a data directory are invented ones."""
    return (directory.path / _MARK).exists()


def mark(directory: DataDirectory, *, simulated: bool) -> None:
    """Say in a data directory, whose lock the caller holds, that its candles are invented; or see that they are not.

    Raises:
        ConfigError: Invented and real candles would mix.
    """
    if not simulated:
        if is_simulated(directory):
            raise ConfigError([_mixed(directory, "holds invented candles", "this engine writes real ones")])
        return
    own = directory.path == default_data_dir(simulated=True)
    if not own and not is_simulated(directory) and any((directory.path / name).exists() for name in _KEPT):
        raise ConfigError([_mixed(directory, "holds real candles", "--simulate writes invented ones")])
    (directory.path / _MARK).touch(mode=0o600)


def _mixed(directory: DataDirectory, holds: str, writes: str) -> str:
    return f"data_dir {directory.path}: {holds}, and {writes}; allowed: another data_dir"


_MARK = "SIMULATED"
# What a server leaves behind that held anything.
_KEPT = ("appendonlydir", "dump.rdb")


async def _check(url: str) -> None:
    async with TrioRedis.from_url(url) as client:
        await check_server(client)
