"""`start`: runs the whole engine until it is told to stop."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from reconciler_engine.cli.options import START_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import Output

if TYPE_CHECKING:
    import trio

    from reconciler_engine.coinbase.auth import Credentials
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.supervisor.engine_spec import EngineSpec
    from reconciler_engine.supervisor.notify import ServiceManager
    from reconciler_engine.supervisor.running_child import SpecMaker

    Load = Callable[[ReconciliationConfig], tuple[ReconciliationConfig, Credentials | None]]

_COMMAND = "reconciler-engine start"
_logger = logging.getLogger(__name__)
_NAMED = 5
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SIMULATION: dict[str, Any] = {
    "symbols": ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD"),
    "timeframes": ("1m", "5m", "15m", "1h"),
    # So often that a newcomer sees gaps close within a minute.
    "gap_scan_cron": "*/10 * * * * *",
    "full_reconcile_cron": "0 * * * * *",
}


@click.command()
@click.option(
    "--simulate", is_flag=True, help="Invent an exchange and a feeder that loses candles; needs nothing else."
)
@click.option("--log-level", default="INFO", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
@prints
@takes_settings(*START_SETTINGS)
def start(*, simulate: bool, log_level: str, output: Output, given: Given) -> None:
    """Keep the cache complete, until told to stop.

    \b
    Examples:
      reconciler-engine start --simulate
      reconciler-engine start --symbols BTC-USD,ETH-USD
      reconciler-engine start --config reconciler.toml --redis-url redis://localhost:6379

    After SIGTERM or Ctrl-C, pages in hand are finished first. A second Ctrl-C ends at once.
    """
    import trio

    from reconciler_engine.cli.api_key import load_signed
    from reconciler_engine.cli.setting_sources import child_environment, gather, load_config, open_to_others
    from reconciler_engine.cli.standard_streams import terminal_style
    from reconciler_engine.config.reload import change_faults
    from reconciler_engine.errors import ConfigError
    from reconciler_engine.observe import logs
    from reconciler_engine.supervisor.running_child import SpecMaker

    faults = [] if log_level in _LEVELS else [f"--log-level {log_level!r}: allowed: {', '.join(_LEVELS)}"]

    def load(running: ReconciliationConfig | None = None) -> tuple[ReconciliationConfig, Credentials | None]:
        try:
            if not simulate:
                return load_signed(*given, needs_symbols=True, known_faults=faults)
            # A key in the environment is not meant for an invented exchange.
            refused = ("redis_url", "base_url", "key_file")
            return load_config(
                *given, overrides=SIMULATION, needs_symbols=True, known_faults=faults, refused=refused
            ), None
        except ConfigError as error:
            unread: list[str] = []
            values = gather(*given, os.environ, unread).values
            # Changed settings can be checked only if all sources could be read.
            fixed = [] if running is None or unread else change_faults(running, values)
            raise ConfigError([*error.faults, *fixed]) from None

    config, credentials = load()
    style: logs.Style = "json" if output.as_json else terminal_style()
    logs.configure(style, log_level, process="supervisor", simulated=simulate)
    if opened := open_to_others(given.config_file):
        _logger.warning("settings file", extra={"fault": opened})
    maker = SpecMaker(child_environment(), style, log_level, simulated=simulate)
    trio.run(_run, config, credentials, maker, load)
    _logger.info("stopped: nothing of this engine runs any more")


async def _run(config: ReconciliationConfig, credentials: Credentials | None, maker: SpecMaker, load: Load) -> None:
    """Lock the data directory, start the other children, and run the engine; end all of these in reverse order."""
    from reconciler_engine.cli.session import mark_data_directory
    from reconciler_engine.cli.setting_sources import default_data_dir
    from reconciler_engine.config.reload import check_change
    from reconciler_engine.store.embedded.data_directory import DataDirectory
    from reconciler_engine.supervisor.child_list import ChildList
    from reconciler_engine.supervisor.engine_run import run_engine
    from reconciler_engine.supervisor.engine_spec import EngineSpec
    from reconciler_engine.supervisor.orphans import reaping_adopted
    from reconciler_engine.supervisor.report_source import ReportSource
    from reconciler_engine.supervisor.server_child import embedded_server, locked, planned_server
    from reconciler_engine.supervisor.signals import hear_orders
    from reconciler_engine.supervisor.simulation_children import simulated_exchange, simulated_feeder
    from reconciler_engine.supervisor.web_child import WebSpec, web_child

    directory = DataDirectory(config.data_dir or default_data_dir(simulated=maker.simulated))
    directory.prepare()
    children, manager = ChildList(os.getpid()), find_service_manager(os.environ)
    async with (
        hear_orders(children) as orders,
        manager.watching(children.is_well),
        reaping_adopted(),
        AsyncExitStack() as stack,
    ):
        stop = orders.stop
        lock = await stack.enter_async_context(locked(directory, _COMMAND))
        reports = ReportSource(children, stop)
        redis_url, record = config.cache_url, None
        if redis_url is None:
            plan = planned_server(directory, os.getpid(), _COMMAND, simulated=maker.simulated)
            record = stack.enter_context(plan)
            redis_url = record.url
        if config.pages is not None:
            is_fixed = config.listen is not None
            pages = WebSpec(config.pages, is_fixed, config.listen_token, config.listen_hosts, redis_url)
            await stack.enter_async_context(web_child(pages, maker, reports, children, stop))
        if record is not None:
            mark_data_directory(directory, simulated=maker.simulated)
            await stack.enter_async_context(embedded_server(directory, record, maker.environment, lock, children, stop))
        if stop.is_set():
            return
        now = time.time_ns() // 1_000_000
        # Only the web child gets the token.
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
            newer, key = load(config)
            check_change(config, newer)
            return await _choose_symbols(
                replace(given, config=newer.model_copy(update=replaced), credentials=key), stop
            )

        await run_engine(spec, read_spec, orders, manager)


async def _choose_symbols(spec: EngineSpec, stop: trio.Event) -> EngineSpec:
    """Return the spec with the symbols that the configuration chooses; unchanged if `stop` is set meanwhile."""
    from reconciler_engine.cli.doctor.setting_checks import check_verification
    from reconciler_engine.coinbase.client import CoinbaseClient
    from reconciler_engine.engine.parts import open_parts
    from reconciler_engine.engine.symbols import choose_known_symbols
    from reconciler_engine.engine.terms import find_other_rates
    from reconciler_engine.store.client.server_check import check_server
    from reconciler_engine.store.protocol import check_protocol
    from reconciler_engine.supervisor.signals import given_up_at

    async with (
        open_parts(spec.config, spec.redis_url, owns_server=spec.owns_server, identity=spec.identity) as parts,
        CoinbaseClient(spec.config.base_url, route=spec.config.route) as source,
        given_up_at(stop),
    ):
        await check_server(parts.client)
        await check_protocol(parts.client, parts.scope)
        for other in await find_other_rates(parts):
            _logger.warning("engines share a budget and not its rate: the greatest holds", extra={"setting": other})
        choice = await choose_known_symbols(spec.config.symbols, parts, source)
        spec = replace(spec, config=spec.config.with_symbols(choice.symbols), unknown=tuple(choice.unknown))
        count, first = len(choice.symbols), ", ".join(choice.symbols[:_NAMED])
        summary = first if count <= _NAMED else f"{first} and {count - _NAMED} more"
        _logger.info("symbols", extra={"count": count, "first": first, "summary": summary})
        for fault in choice.unknown.values():
            _logger.warning("unknown symbol, looked for again each hour", extra={"fault": fault})
        load = check_verification(spec.config, spec.config.series(), signed=spec.credentials is not None)
        facts = {"arithmetic": load.detail.replace("\n", "; "), **({"hint": load.hint} if load.hint else {})}
        facts |= {"summary": "; ".join(facts.values())}
        _logger.log(logging.WARNING if load.hint else logging.INFO, "verification", extra=facts)
    return spec


def find_service_manager(environment: Mapping[str, str]) -> ServiceManager:
    """Return the service manager that started this process; a malformed address or number is ignored."""
    from reconciler_engine.supervisor.notify import ServiceManager

    address = environment.get("NOTIFY_SOCKET", "")
    watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    limit_us = environment.get("WATCHDOG_USEC", "")
    return ServiceManager(
        address if address.startswith(("/", "@")) else None,
        int(limit_us) / 1_000_000 if watched and limit_us.isdecimal() and int(limit_us) else None,
    )
