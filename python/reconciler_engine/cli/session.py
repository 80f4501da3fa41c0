"""A command's session: the cache that the settings name, and the engine's parts over it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click
import trio

from reconciler_engine.cli.output import Output
from reconciler_engine.cli.setting_sources import child_environment, default_data_dir
from reconciler_engine.cli.standard_streams import terminal_style
from reconciler_engine.coinbase.base_url import COINBASE
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.symbols import choose_kept_symbols, choose_symbols
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.engine.terms import check_terms, terms_of
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.series import Series
from reconciler_engine.observe import logs
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.store.client.server_check import check_readable, check_server
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.store.product_list import ProductList, ProductListStore
from reconciler_engine.store.protocol import at_work, check_protocol
from reconciler_engine.store.status_board import EngineFacts, StatusBoard, scope_of
from reconciler_engine.supervisor.server_child import embedded_server, locked, planned_server

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials
    from reconciler_engine.coinbase.client import CoinbaseClient

_HOUR_MS = 3_600_000
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Session:
    """The engine's parts over an open cache, the exchange's client if the command asks it, and the command's name."""

    parts: Parts
    source: CoinbaseClient | None
    command: str

    async def series(self) -> list[Series]:
        """Return the configured series; choices such as `top:20:USD` are made from the exchange's list or the kept one.

        Raises:
            ConfigError: A symbol is unknown, or a choice finds nothing.
            SourceUnavailable: The exchange gives no list to choose from.
        """
        config = self.parts.config
        if self.source is None:
            symbols = choose_kept_symbols(config.symbols, await self.products())
        else:
            symbols = await choose_symbols(config.symbols, self.parts, self.source)
        return config.with_symbols(symbols).series()

    async def check_symbol(self, symbol: str) -> None:
        """Warn of a symbol that the kept product list lacks.

        Raises:
            StoreError: Redis did not answer.
        """
        choose_kept_symbols([symbol], await self.products())

    async def products(self) -> ProductList:
        """Return the kept product list of the settings' exchange.

        If they leave the exchange open, and none is kept, return that of the exchange which the engines here ask.

        Raises:
            StoreError: Redis did not answer.
        """
        parts = self.parts
        kept = await parts.products.read()
        if kept.products or parts.config.base_url != COINBASE:
            return kept
        scopes = {scope_of(engine) for engine in await self.running_engines()}
        return await ProductListStore(parts.client, scopes.pop()).read() if len(scopes) == 1 else kept

    async def running_engines(self) -> list[EngineStatus]:
        """Return the status of each running engine that keeps the candles of the settings.

        Raises:
            StoreError: Redis did not answer.
        """
        engines = await StatusBoard(self.parts.client).read()
        return [engine for engine in engines if scope_of(engine).candles == self.parts.scope.candles]

    async def with_worker(self, direct: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run `direct` while a worker in this process does tasks, beside workers that run already; return its result.

        Raises:
            ConfigError: Another command, which asks the exchange with other settings, began meanwhile.
        """
        parts, worker = self.parts, self.parts.worker(self.source)
        facts = EngineFacts(f"reconciler-engine {self.command}")
        terms = None if self.source is None else terms_of(parts)
        async with at_work(parts.client, parts.scope, parts.queue.consumer, facts, terms=terms):
            if terms is not None:
                # If two commands begin at the same time, at least one sees the other here.
                await check_terms(parts)
            async with trio.open_nursery() as nursery:
                await nursery.start(worker.run)
                result = await direct()
                worker.drain()
        return result


@asynccontextmanager
async def open_session(
    config: ReconciliationConfig,
    output: Output,
    command: str,
    *,
    writes: bool = False,
    asks: bool = False,
    credentials: Credentials | None = None,
) -> AsyncIterator[Session]:
    """Open the cache and the engine's parts over it for a command; set `output.simulated` if candles are invented.

    The cache is at the configured URL, at an embedded server that runs already, or at one started for this session.

    Args:
        config: The settings.
        output: Output of the command.
        command: Name of the command, shown to another process that wants the data directory.
        writes: Whether the command writes real candles; then a cache of invented ones is refused.
        asks: Whether the command asks the exchange; then the exchange's clock is measured.
        credentials: Key for requests; plans, too, are made by the budget of this key.

    Raises:
        ConfigError: Redis does not accept the credentials or is too old; or no embedded server is installed; or the
            cache holds invented candles and the command writes real ones; or an engine that works on this cache, and
            would do some of the command's requests, asks the exchange with other settings.
        DataDirectoryBusy: Another process uses the data directory without a server that can be shared.
        OtherProtocol: The command writes candles, and an engine of another protocol works on them.
        StoreUnavailable: Redis does not answer.
    """
    logs.configure(terminal_style(), "WARNING", process=command)
    identity = None if credentials is None else credentials.identity
    async with AsyncExitStack() as stack:
        url, output.simulated = await stack.enter_async_context(_open_cache(config, command, writes=writes))
        # Only `start` trims series to max_candles: a command with other flags must not delete candles that were loaded.
        parts = await stack.enter_async_context(open_parts(config, url, owns_server=False, identity=identity))
        if writes or asks:
            await check_protocol(parts.client, parts.scope)
        source = None
        if asks:
            from reconciler_engine.coinbase.client import CoinbaseClient

            await check_terms(parts)
            client = CoinbaseClient(
                config.base_url, credentials=credentials, route=config.route, connections=PAGES_IN_FLIGHT
            )
            source = await stack.enter_async_context(client)
            await parts.bucket.forgive()
            await parts.clock.doubt()
            await parts.clock.measure_when_due(source, parts.bucket)
        yield Session(parts, source, command)


def in_session(
    config: ReconciliationConfig,
    output: Output,
    command: str,
    work: Callable[[Session], Awaitable[_Result]],
    *,
    writes: bool = False,
    asks: bool = False,
    credentials: Credentials | None = None,
) -> _Result:
    """Return the result of `work` in a new session; arguments and errors are those of `open_session`."""

    async def run() -> _Result:
        session = open_session(config, output, command, writes=writes, asks=asks, credentials=credentials)
        async with session as opened:
            return await work(opened)

    return trio.run(run)


@asynccontextmanager
async def _open_cache(config: ReconciliationConfig, command: str, *, writes: bool) -> AsyncIterator[tuple[str, bool]]:
    """Yield the URL of a checked and running cache, and whether its candles are invented."""
    if config.cache_url is not None:
        await _check(config.cache_url, writes=writes)
        yield config.cache_url, False
        return
    directory = DataDirectory(config.data_dir or default_data_dir(simulated=False))
    directory.prepare()
    running = directory.find_running()
    simulated = is_simulated(directory) if running is None else running.simulated
    if simulated and writes:
        raise ConfigError([_mixed(directory, "holds invented candles", f"{command} writes real ones")])
    if running is not None:
        await _check(running.url, writes=writes)
        yield running.url, simulated
        return
    invented = default_data_dir(simulated=True)
    if config.data_dir is None and not writes and DataDirectory(invented).find_running() is not None:
        click.echo(f"reconciler-engine: `start --simulate` runs; --data-dir {invented} asks of its candles", err=True)
    async with locked(directory, f"reconciler-engine {command}") as lock:
        plan = planned_server(directory, os.getpid(), f"reconciler-engine {command}", simulated=simulated)
        with plan as record:
            async with embedded_server(directory, record, child_environment(), lock) as url:
                yield url, simulated


def is_simulated(directory: DataDirectory) -> bool:
    """Whether the candles kept in a data directory are invented ones."""
    return (directory.path / _MARK).exists()


def mark_data_directory(directory: DataDirectory, *, simulated: bool) -> None:
    """Mark a data directory as one of invented candles, or check that it is not one. The caller must hold its lock.

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
# Files of a server that has stored data.
_KEPT = ("appendonlydir", "dump.rdb")


async def _check(url: str, *, writes: bool) -> None:
    async with TrioRedis.from_url(url) as client:
        await (check_server if writes else check_readable)(client)


async def since_last_pass(session: Session) -> int:
    """Return the time since a pass last looked at a series (ms); an hour if no pass has looked."""
    parts = session.parts
    looked = max((one.checked_at for one in (await parts.coverage.read()).values()), default=None)
    return _HOUR_MS if looked is None else max(await parts.clock.now() - looked, 0)
