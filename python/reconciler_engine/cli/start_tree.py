"""The work of `start`: settings, data directory, server, tree."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from reconciler_engine.cli.connection import mark
from reconciler_engine.cli.credentials import load_signed
from reconciler_engine.cli.settings import child_environment, default_data_dir, load_config
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.assembly import open_parts
from reconciler_engine.engine.products import choose_symbols
from reconciler_engine.observe import logs
from reconciler_engine.store.data_directory import DataDirectory
from reconciler_engine.store.server import check_server
from reconciler_engine.supervisor.embedded import embedded_server, plan_record
from reconciler_engine.supervisor.process import ChildMaker
from reconciler_engine.supervisor.roster import Roster
from reconciler_engine.supervisor.signals import stop_on_signal
from reconciler_engine.supervisor.simulation import simulated_exchange, simulated_feeder
from reconciler_engine.supervisor.tree import TreePlan, run_tree
from reconciler_engine.supervisor.web import Desk, WebPlan, web

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
    credentials = None
    if simulate:
        # The environment's key is not for an invented exchange.
        config = load_config(
            flags,
            config_file,
            overrides=_SIMULATION,
            needs_symbols=True,
            known_faults=faults,
            refused=("redis_url", "base_url", "key_file"),
        )
    else:
        config, credentials = load_signed(flags, config_file, needs_symbols=True, known_faults=faults)
    style: logs.Style = "json" if as_json or not sys.stderr.isatty() else "human"
    logs.configure(style, log_level, process="supervisor", simulated=simulate)
    maker = ChildMaker(child_environment(), style, log_level, simulated=simulate)
    trio.run(_run, config, maker, credentials)


async def _run(config: ReconciliationConfig, maker: ChildMaker, credentials: Credentials | None) -> None:
    """Lock the data directory, start what is below the tree, run the tree; end in the opposite order."""
    directory = DataDirectory(config.data_dir or default_data_dir(simulated=maker.simulated))
    directory.prepare()
    roster = Roster(os.getpid())
    async with stop_on_signal() as stop, AsyncExitStack() as stack:
        stack.enter_context(directory.lock(_COMMAND))
        desk = Desk(roster, stop)
        record = plan_record(directory, os.getpid(), _COMMAND, simulated=maker.simulated)
        redis_url = config.redis_url or record.url
        if config.pages is not None:
            is_fixed = config.listen is not None
            pages = WebPlan(config.pages, is_fixed, config.listen_token, config.listen_hosts, redis_url)
            await stack.enter_async_context(web(pages, maker, desk))
        # Nobody else is told the token.
        config = config.model_copy(update={"listen": None, "listen_token": None})
        if config.redis_url is None:
            mark(directory, simulated=maker.simulated)
            await stack.enter_async_context(embedded_server(directory, record, maker.environment, roster))
        plan = TreePlan(
            config,
            redis_url,
            owns_server=config.redis_url is None,
            children=maker,
            roster=roster,
            command=_COMMAND,
            desk=desk,
            credentials=credentials,
        )
        now = time.time_ns() // 1_000_000
        if maker.simulated:
            base_url = await stack.enter_async_context(simulated_exchange(maker, now, stop, roster))
            plan = replace(plan, config=config.model_copy(update={"base_url": base_url}))
        plan = await _choose_symbols(plan, stop)
        if stop.is_set():
            return
        if maker.simulated:
            await stack.enter_async_context(simulated_feeder(maker, plan.config, redis_url, now, stop, roster))
        await run_tree(plan, stop)


async def _choose_symbols(plan: TreePlan, stop: trio.Event) -> TreePlan:
    """Return the plan with the symbols that the configuration means; unchanged once `stop` is set."""
    identity = None if plan.credentials is None else plan.credentials.identity
    async with (
        open_parts(plan.config, plan.redis_url, owns_server=plan.owns_server, identity=identity) as parts,
        CoinbaseClient(plan.config.base_url) as source,
        trio.open_nursery() as nursery,
    ):

        async def give_way() -> None:
            await stop.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_way)
        await check_server(parts.client)
        symbols = await choose_symbols(plan.config.symbols, parts, source)
        plan = replace(plan, config=plan.config.with_symbols(symbols))
        _logger.info("symbols", extra={"count": len(symbols), "first": ", ".join(symbols[:5])})
        nursery.cancel_scope.cancel()
    return plan
