"""The work of `backfill`: arguments in, a worker in this process, progress and a result out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import trio

from reconciler_engine.cli.connection import open_cache
from reconciler_engine.cli.credentials import load_signed
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.history_report import print_backfill, print_plan
from reconciler_engine.cli.one_pass import parse_instant
from reconciler_engine.cli.progress import ProgressLines, show_progress
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.products import Selector
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.symbols import choose_kept_symbols, choose_symbols
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe import logs
from reconciler_engine.planning.request_plan import RequestPlan

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials


def run_backfill(
    names: Sequence[str],
    flags: dict[str, str],
    config_file: str | None,
    from_: str | None,
    to: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a backfill, or say what it would do; leave with 3 where slots are missing or a series failed.

    Raises:
        ReconcilerError: What stands in the way; nothing is printed then.
    """
    faults: list[str] = []
    symbols, timeframes = tell_apart(names, faults)
    asked = _range(from_, to, faults)
    if faults or asked is None:
        raise ConfigError(faults)
    config, credentials = load_signed({**flags, **_lists(symbols, timeframes)}, config_file, needs_symbols=True)
    logs.configure("human" if sys.stderr.isatty() else "json", "WARNING", process="backfill")
    if dry_run:
        plan, simulated = trio.run(_plan, config, credentials, asked)
        if as_json:
            print(json.dumps(asdict(plan) | _mark(simulated=simulated)))
        else:
            print_plan(plan, config, simulated=simulated)
        if any(row.error for row in plan.series):
            leave(UNRESOLVED)
        return
    try:
        with show_progress(sys.stderr, is_terminal=sys.stderr.isatty(), quiet=as_json) as progress:
            result, simulated = trio.run(_backfill, config, credentials, asked, progress)
    except* KeyboardInterrupt:
        sys.stderr.write("reconciler-engine: stopped; the same command goes on where it was\n")
        raise
    if as_json:
        print(json.dumps(asdict(result) | _mark(simulated=simulated)))
    else:
        print_backfill(result, config, simulated=simulated)
    if result.unresolved or result.errors:
        leave(UNRESOLVED)


def tell_apart(names: Sequence[str], faults: list[str]) -> tuple[list[str], list[str]]:
    """Return symbols and timeframes: what is a timeframe's name is a timeframe; add to `faults` what is neither."""
    known = [member.value for member in Timeframe]
    timeframes = [name for name in names if name in known]
    symbols = [name for name in names if name not in known]
    for name in symbols:
        try:
            Selector.parse(name)
        except ValueError as error:
            faults.append(f"{error}; or a timeframe: {', '.join(known)}")
    return symbols, timeframes


def _lists(symbols: Sequence[str], timeframes: Sequence[str]) -> dict[str, str]:
    """Return what was named as settings; what was not keeps its setting."""
    given = {"symbols": ",".join(symbols), "timeframes": ",".join(timeframes)}
    return {name: value for name, value in given.items() if value}


def _range(from_: str | None, to: str | None, faults: list[str]) -> Interval | None:
    """Return the range asked for; its end is now where none is given."""
    if from_ is None:
        faults.append("--from is missing; allowed: an ISO 8601 time from 1970 on, such as 2026-01-31")
        return None
    start = parse_instant("--from", from_, faults)
    stop = time.time_ns() // 1_000_000 if to is None else parse_instant("--to", to, faults)
    if faults:
        return None
    if start >= stop:
        faults.append(f"--to {to or 'now'}: lies not after --from {from_}; allowed: a later time")
        return None
    return Interval(start, stop)


async def _plan(
    config: ReconciliationConfig, credentials: Credentials | None, asked: Interval
) -> tuple[RequestPlan, bool]:
    identity = None if credentials is None else credentials.identity
    async with (
        open_cache(config, "backfill", writes=False) as cache,
        open_parts(config, cache.url, owns_server=False, identity=identity) as parts,
    ):
        config = config.with_symbols(await choose_kept_symbols(config.symbols, parts))
        return await parts.history.plan(config.series(), asked), cache.simulated


async def _backfill(
    config: ReconciliationConfig, credentials: Credentials | None, asked: Interval, progress: ProgressLines
) -> tuple[ReconciliationResult, bool]:
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(open_cache(config, "backfill", writes=True))
        client = CoinbaseClient(config.base_url, credentials=credentials, connections=PAGES_IN_FLIGHT)
        source = await stack.enter_async_context(client)
        parts = await stack.enter_async_context(
            open_parts(config, cache.url, owns_server=False, identity=source.identity)
        )
        await parts.bucket.forgive()
        await parts.clock.measure_when_due(source, parts.bucket)
        config = config.with_symbols(await choose_symbols(config.symbols, parts, source))
        worker = parts.worker(source)
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            result = await parts.history.backfill(config.series(), asked, progress.show)
            worker.drain()
        return result, cache.simulated


def _mark(*, simulated: bool) -> dict[str, bool]:
    return {"simulated": True} if simulated else {}
