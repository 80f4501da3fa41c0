"""The work of `backfill` and of `verify`: arguments in, a worker in this process, progress and a result out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import trio

from reconciler_engine.cli.api_key import load_signed
from reconciler_engine.cli.arguments import parse_instant
from reconciler_engine.cli.backfill.progress_display import ProgressLines, show_progress
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import Given
from reconciler_engine.cli.output import Output, print_table, say
from reconciler_engine.cli.plan_table import audited, duration, print_life, print_plan, requests_sent
from reconciler_engine.cli.session import open_session
from reconciler_engine.coinbase.symbol_selectors import Selector
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.backfill.asked_again import SECOND_AFTER_MS, ask_again, awaits_second
from reconciler_engine.engine.backfill.progress import BackfilledSeries
from reconciler_engine.engine.pass_words import as_object
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.request_plan import RequestPlan

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials
    from reconciler_engine.engine.parts import Parts


def run_backfill(
    names: Sequence[str],
    given: Given,
    from_: str | None,
    to: str | None,
    output: Output,
    *,
    dry_run: bool,
    verify: bool,
    again: bool = False,
) -> None:
    """Run a backfill, or print its plan; leave with 3 if slots are missing or a series failed.

    With `again` candles that are verified are compared once more; leave with 3 if one differs and was not repaired.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed then.
    """
    faults: list[str] = []
    symbols, timeframes = tell_apart(names, faults)
    asked = _range(from_, to, faults)
    if faults or asked is None:
        raise ConfigError(faults)
    flags = {**given.flags, **_lists(symbols, timeframes)}
    config, credentials = load_signed(flags, given.config_file, needs_symbols=True)
    if dry_run:
        plan = trio.run(_plan, config, credentials, asked, output, verify, again)
        if output.as_json:
            output.print_json(asdict(plan))
        else:
            print_plan(plan, config, output)
        if any(row.error for row in plan.series):
            leave(UNRESOLVED)
        return
    try:
        with show_progress(sys.stderr, is_terminal=sys.stderr.isatty(), quiet=output.as_json) as progress:
            result = trio.run(_backfill, config, credentials, asked, output, progress, verify, again)
    except* KeyboardInterrupt:
        sys.stderr.write("reconciler-engine: stopped; the same command goes on where it was\n")
        raise
    if output.as_json:
        output.print_json(as_object(result))
    else:
        print_backfill(result, config, output, again=again)
    if result.unresolved or result.errors or (again and result.mismatched > result.repaired):
        leave(UNRESOLVED)


def tell_apart(names: Sequence[str], faults: list[str]) -> tuple[list[str], list[str]]:
    """Sort names into symbols and timeframes; add names that are neither to `faults`."""
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
    """Return the names as settings; a list without names leaves its setting as it is."""
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
    config: ReconciliationConfig,
    credentials: Credentials | None,
    asked: Interval,
    output: Output,
    verify: bool,
    again: bool,
) -> RequestPlan:
    async with open_session(config, output, _command(again), credentials=credentials) as session:
        return await session.parts.history.plan(await session.series(), asked, verify=verify, again=again)


async def _backfill(
    config: ReconciliationConfig,
    credentials: Credentials | None,
    asked: Interval,
    output: Output,
    progress: ProgressLines,
    verify: bool,
    again: bool,
) -> ReconciliationResult:
    async with open_session(
        config, output, _command(again), writes=True, asks=True, credentials=credentials
    ) as session:
        series = await session.series()
        direct = _compare if again else partial(_fill, verify=verify)
        return await session.with_worker(partial(direct, session.parts, series, asked, progress))


def _command(again: bool) -> str:
    return "verify" if again else "backfill"


async def _fill(
    parts: Parts, series: Sequence[Series], asked: Interval, progress: ProgressLines, *, verify: bool
) -> ReconciliationResult:
    return await parts.history.backfill(series, asked, progress.show, verify=verify)


async def _compare(
    parts: Parts, series: Sequence[Series], asked: Interval, progress: ProgressLines
) -> ReconciliationResult:
    """Compare a range, and some minutes later the differing slots again if that can repair them."""
    result = await parts.history.backfill(series, asked, progress.show, again=True)
    waiting = sum(row.mismatched - row.repaired for row in result.series if awaits_second(row))
    if not (waiting and parts.config.audit_rules.repairs):
        return result
    until = iso(await parts.clock.now() + SECOND_AFTER_MS, "seconds")
    progress.tell(f"{counted(waiting, 'candle')} unlike the exchange's: asked for again at {until}")
    await trio.sleep(SECOND_AFTER_MS / 1_000)
    return await ask_again(parts.reconciler, "verify_range", result)


def print_backfill(
    result: ReconciliationResult, config: ReconciliationConfig, output: Output, *, again: bool = False
) -> None:
    """Print a row a series, the totals, the errors."""
    rows = [row for row in result.series if isinstance(row, BackfilledSeries)]
    print_table(
        (
            *("series", "from", "to", "verified to", "slots", "missing", "filled", "empty", "unresolved"),
            *("dup", "bad", "requests"),
        ),
        [
            (
                f"{row.symbol}:{row.timeframe}",
                iso(row.start),
                iso(row.stop),
                iso(row.verified_to),
                *map(str, (row.expected, row.missing, row.filled, row.confirmed_empty, row.unresolved)),
                *map(str, (row.duplicates, row.malformed, row.requests)),
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.resumed_at is not None:
            say(f"  {row.symbol}:{row.timeframe}: went on at {iso(row.resumed_at)}, where an earlier backfill was")
    compared = f"{counted(result.newly_verified, 'candle')} verified, " if again else ""
    output.print_line(
        f"{compared}{result.filled} of {counted(result.missing, 'missing slot')} filled, "
        f"{result.confirmed_empty} confirmed empty, {result.unresolved} unresolved{audited(result)}, "
        f"{requests_sent(result)}, "
        f"{duration(result.duration_ms)}"
    )
    for cause in result.causes:
        say(f"  {cause}")
    print_life(config)
