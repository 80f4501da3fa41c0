"""The work of `start`: settings, data directory, server, tree."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from reconciler_engine.cli.connection import mark
from reconciler_engine.cli.credentials import load_signed
from reconciler_engine.cli.service_manager import find_service_manager
from reconciler_engine.cli.settings import child_environment, default_data_dir, load_config
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.symbols import choose_symbols
from reconciler_engine.observe import logs
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.engine_run import run_engine
from reconciler_engine.supervisor.engine_spec import EngineSpec, check_change
from reconciler_engine.supervisor.orphans import reaping_adopted
from reconciler_engine.supervisor.report_source import ReportSource
from reconciler_engine.supervisor.running_child import SpecMaker
from reconciler_engine.supervisor.server_child import embedded_server, locked, plan_record
from reconciler_engine.supervisor.signals import given_up_at, hear_orders
from reconciler_engine.supervisor.simulation_children import simulated_exchange, simulated_feeder
from reconciler_engine.supervisor.web_child import WebSpec, web_child

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials

_COMMAND = "reconciler-engine start"
_logger = logging.getLogger(__name__)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_SIMULATION: dict[str, Any] = {
    "symbols": ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"),
    "timeframes": ("1m", "5m", "15m", "1h"),
    # Often enough that a newcomer sees gaps close within a minute.
    "gap_scan_cron": "*/10 * * * * *",
    "full_reconcile_cron": "0 * * * * *",
}


def run_start(flags: dict[str, str], config_file: str | None, *, simulate: bool, log_level: str, as_json: bool) -> None:
    """Run the engine until a signal ends it.

    Raises:
        ConfigError: Settings are out of order, with every fault.
        DataDirectoryBusy: Another engine holds the data directory.
        RoleFailed: A part of the tree was given up.
        SourceUnavailable: The exchange is not there to choose the symbols.
        StoreUnavailable: Redis is not there at the start.
    """
    faults = [] if log_level in _LEVELS else [f"--log-level {log_level!r}: allowed: {', '.join(_LEVELS)}"]

    def load() -> tuple[ReconciliationConfig, Credentials | None]:
        if not simulate:
            return load_signed(flags, config_file, needs_symbols=True, known_faults=faults)
        # The environment's key is not for an invented exchange.
        refused = ("redis_url", "base_url", "key_file")
        config = load_config(
            flags, config_file, overrides=_SIMULATION, needs_symbols=True, known_faults=faults, refused=refused
        )
        return config, None

    config, credentials = load()
    style: logs.Style = "json" if as_json or not sys.stderr.isatty() else "human"
    logs.configure(style, log_level, process="supervisor", simulated=simulate)
    maker = SpecMaker(child_environment(), style, log_level, simulated=simulate)
    trio.run(_run, config, credentials, maker, load)


async def _run(
    config: ReconciliationConfig,
    credentials: Credentials | None,
    maker: SpecMaker,
    load: Callable[[], tuple[ReconciliationConfig, Credentials | None]],
) -> None:
    """Lock the data directory, start the other children, run the engine; end in the opposite order."""
    directory = DataDirectory(config.data_dir or default_data_dir(simulated=maker.simulated))
    directory.prepare()
    children, manager = ChildList(os.getpid()), find_service_manager()
    async with (
        hear_orders(children) as orders,
        manager.watching(children.is_well),
        reaping_adopted(),
        AsyncExitStack() as stack,
    ):
        stop = orders.stop
        lock = await stack.enter_async_context(locked(directory, _COMMAND))
        reports = ReportSource(children, stop)
        record = plan_record(directory, os.getpid(), _COMMAND, simulated=maker.simulated)
        redis_url = config.redis_url or record.url
        if config.pages is not None:
            is_fixed = config.listen is not None
            pages = WebSpec(config.pages, is_fixed, config.listen_token, config.listen_hosts, redis_url)
            await stack.enter_async_context(web_child(pages, maker, reports, children, stop))
        if config.redis_url is None:
            mark(directory, simulated=maker.simulated)
            await stack.enter_async_context(embedded_server(directory, record, maker.environment, lock, children, stop))
        if stop.is_set():
            return
        now = time.time_ns() // 1_000_000
        # Nobody but the web child is told the token.
        replaced: dict[str, Any] = {"listen": None, "listen_token": None}
        if maker.simulated:
            replaced["base_url"] = await stack.enter_async_context(simulated_exchange(maker, now, stop, children))
        given = EngineSpec(
            config.model_copy(update=replaced),
            redis_url,
            owns_server=config.redis_url is None,
            maker=maker,
            children=children,
            command=_COMMAND,
            reports=reports,
            credentials=credentials,
        )
        spec = await _choose_symbols(given, stop)
        if stop.is_set():
            return
        if maker.simulated:
            await stack.enter_async_context(simulated_feeder(maker, spec.config, redis_url, now, stop, children))

        async def read_spec() -> EngineSpec:
            newer, key = load()
            check_change(config, newer)
            return await _choose_symbols(
                replace(given, config=newer.model_copy(update=replaced), credentials=key), stop
            )

        await run_engine(spec, read_spec, orders, manager)


async def _choose_symbols(spec: EngineSpec, stop: trio.Event) -> EngineSpec:
    """Return the spec with the symbols that the configuration means; unchanged once `stop` is set."""
    async with (
        open_parts(spec.config, spec.redis_url, owns_server=spec.owns_server, identity=spec.identity) as parts,
        CoinbaseClient(spec.config.base_url) as source,
        given_up_at(stop),
    ):
        await check_server(parts.client)
        symbols = await choose_symbols(spec.config.symbols, parts, source)
        spec = replace(spec, config=spec.config.with_symbols(symbols))
        _logger.info("symbols", extra={"count": len(symbols), "first": ", ".join(symbols[:5])})
    return spec
