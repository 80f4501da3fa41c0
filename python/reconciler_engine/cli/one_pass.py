"""One pass for `scan` and `reconcile`: a worker in this process, helped by any that run."""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from reconciler_engine.cli.connection import open_cache
from reconciler_engine.cli.credentials import load_signed
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.report import print_result
from reconciler_engine.cli.settings import load_config
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.passes.reconciler import PassRequest
from reconciler_engine.engine.symbols import choose_kept_symbols, choose_symbols
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.observe import logs

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials


def run_one_pass(
    command: str,
    flags: dict[str, str],
    config_file: str | None,
    from_: str | None,
    to: str | None,
    *,
    repair: bool,
    as_json: bool,
) -> None:
    """Run a pass and print its result; leave with 3 where slots are missing, a series failed or was not examined.

    Raises:
        ReconcilerError: What stands in the way; nothing is printed then.
    """
    faults: list[str] = []
    asked = parse_range(from_, to, faults)
    windows = ("full_reconcile_window_ms",) if asked is None else ()
    credentials = None
    if repair:
        config, credentials = load_signed(flags, config_file, needs_symbols=True, known_faults=faults, windows=windows)
    else:
        config = load_config(flags, config_file, needs_symbols=True, known_faults=faults, windows=windows)
    logs.configure("human" if sys.stderr.isatty() else "json", "WARNING", process=command)
    result, simulated = trio.run(_pass, command, config, credentials, asked, repair)
    if as_json:
        print(json.dumps(asdict(result) | ({"simulated": True} if simulated else {})))
    else:
        print_result(result, repaired=repair, simulated=simulated)
    if result.unresolved or result.errors:
        leave(UNRESOLVED)
    if doubts := _doubts(result, asked, config.max_candles):
        leave(UNRESOLVED, "\n".join(doubts))


def _doubts(result: ReconciliationResult, asked: Interval | None, max_candles: int) -> list[str]:
    """Say what was asked for and not examined: of that nothing is known, so it is not complete."""
    of_all = f"of {len(result.series)} series"
    unknown = sum(not row.expected for row in result.series)
    # Retention alone moves the start of a range.
    cut = 0 if asked is None else sum(row.expected > 0 and row.start > asked.start for row in result.series)
    doubts = []
    if unknown:
        doubts.append(f"{unknown} {of_all} have no closed slot that the cache keeps in reach")
    if cut:
        doubts.append(
            f"{cut} {of_all} were examined from a later time than --from: the cache keeps the newest max_candles "
            f"{max_candles}; allowed: a later --from, or --max-candles 0 for unlimited"
        )
    return doubts


async def _pass(
    command: str,
    config: ReconciliationConfig,
    credentials: Credentials | None,
    asked: Interval | None,
    repair: bool,
) -> tuple[ReconciliationResult, bool]:
    async with AsyncExitStack() as stack:
        # The cap is start's to keep: a pass with other flags must not cut what a load with its own brought in.
        cache = await stack.enter_async_context(open_cache(config, command, writes=repair))
        identity = None if credentials is None else credentials.identity
        parts = await stack.enter_async_context(open_parts(config, cache.url, owns_server=False, identity=identity))
        source = None
        if repair:
            client = CoinbaseClient(config.base_url, credentials=credentials, connections=PAGES_IN_FLIGHT)
            source = await stack.enter_async_context(client)
            await parts.bucket.forgive()
            await parts.clock.measure_when_due(source, parts.bucket)
        if source is None:
            symbols = await choose_kept_symbols(config.symbols, parts)
        else:
            symbols = await choose_symbols(config.symbols, parts, source)
        config = config.with_symbols(symbols)
        look_back = asked or config.full_reconcile_window_ms
        request = PassRequest(command, config.series(), look_back, repair=repair, verify=repair)
        worker = parts.worker(source)
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            result = await parts.reconciler.run_pass(request)
            worker.drain()
        return result, cache.simulated


def parse_range(from_: str | None, to: str | None, faults: list[str]) -> Interval | None:
    """Return the range between two ISO 8601 times; None where neither is given, or after adding to `faults`."""
    if from_ is None and to is None:
        return None
    start = parse_instant("--from", from_, faults)
    stop = parse_instant("--to", to, faults)
    if not faults and start >= stop:
        faults.append(f"--to {to}: lies not after --from {from_}; allowed: a later time")
    return None if faults else Interval(start, stop)


def parse_instant(flag: str, text: str | None, faults: list[str]) -> int:
    """Return the instant (ms UTC) that an ISO 8601 time names; add what is wrong with it to `faults`."""
    allowed = "allowed: an ISO 8601 time from 1970 on, such as 2026-01-31 or 2026-01-31T13:00Z"
    if text is None:
        faults.append(f"{flag} is missing; --from and --to go together")
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        faults.append(f"{flag} {text!r}: no time; {allowed}")
        return 0
    instant = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    if instant < 0:
        faults.append(f"{flag} {text!r}: lies before 1970; {allowed}")
    return instant
