"""The work of `backfill` and `verify`: read arguments, run a worker in this process, show progress and the result."""

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
from reconciler_engine.cli.options import Given, Span
from reconciler_engine.cli.output import Output, say
from reconciler_engine.cli.plan_table import audited, duration, print_life, print_plan, print_series, requests_sent
from reconciler_engine.cli.session import Session, in_session
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
    from reconciler_engine.engine.parts import Parts


def run_backfill(
    names: Sequence[str],
    asked: Span,
    given: Given,
    output: Output,
    *,
    dry_run: bool,
    verify: bool,
    again: bool = False,
) -> None:
    """Run a backfill, or print its plan; exit with 3 if slots are missing or a series failed.

    With `again`, verified candles are compared once more; exit with 3 if one differs and was not repaired.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed then.
    """
    faults: list[str] = []
    symbols, timeframes = tell_apart(names, faults)
    range_ = _range(*asked, faults)
    if faults or range_ is None:
        raise ConfigError(faults)
    # An empty list does not replace its setting.
    lists = {"symbols": ",".join(symbols), "timeframes": ",".join(timeframes)}
    flags = {**given.flags, **{name: value for name, value in lists.items() if value}}
    config, credentials = load_signed(flags, given.config_file, needs_symbols=True)
    command = "verify" if again else "backfill"
    if dry_run:
        work = partial(_plan, range_, verify, again)
        plan = in_session(config, output, command, work, credentials=credentials)
        if output.as_json:
            output.print_json(asdict(plan))
        else:
            print_plan(plan, config, output)
        if any(row.error for row in plan.series):
            leave(UNRESOLVED)
        return
    try:
        with show_progress(sys.stderr, is_terminal=sys.stderr.isatty(), quiet=output.as_json) as progress:
            fill = partial(_fill, range_, progress, verify, again)
            result = in_session(config, output, command, fill, writes=True, asks=True, credentials=credentials)
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
    """Divide names into symbols and timeframes; add a fault to `faults` for each invalid name."""
    known = [member.value for member in Timeframe]
    timeframes = [name for name in names if name in known]
    symbols = [name for name in names if name not in known]
    for name in symbols:
        try:
            Selector.parse(name)
        except ValueError as error:
            faults.append(f"{error}; or a timeframe: {', '.join(known)}")
    return symbols, timeframes


def _range(from_: str | None, to: str | None, faults: list[str]) -> Interval | None:
    """Return the range asked for; it ends now if `to` is None."""
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


async def _plan(range_: Interval, verify: bool, again: bool, session: Session) -> RequestPlan:
    return await session.parts.history.plan(await session.series(), range_, verify=verify, again=again)


async def _fill(
    range_: Interval, progress: ProgressLines, verify: bool, again: bool, session: Session
) -> ReconciliationResult:
    parts, series = session.parts, await session.series()
    if again:
        return await session.with_worker(lambda: _compare(parts, series, range_, progress))
    return await session.with_worker(lambda: parts.history.backfill(series, range_, progress.show, verify=verify))


async def _compare(
    parts: Parts, series: Sequence[Series], asked: Interval, progress: ProgressLines
) -> ReconciliationResult:
    """Compare a range; if the settings allow repair, ask about differing slots again some minutes later."""
    result = await parts.history.backfill(series, asked, progress.show, again=True)
    waiting = sum(row.mismatched - row.repaired for row in result.series if awaits_second(row))
    if not (waiting and parts.config.audit_rules.repairs):
        return result
    until = iso(await parts.clock.now() + SECOND_AFTER_MS, "seconds")
    progress.tell(f"{counted(waiting, 'candle')} differing from the exchange: asked for again at {until}")
    await trio.sleep(SECOND_AFTER_MS / 1_000)
    return await ask_again(parts.reconciler, "verify_range", result)


_HEADS = (
    *("from", "to", "verified to", "slots", "missing", "filled", "empty", "unresolved"),
    *("dup", "bad", "requests"),
)


def print_backfill(
    result: ReconciliationResult, config: ReconciliationConfig, output: Output, *, again: bool = False
) -> None:
    """Print a row for each series, the totals, and the errors."""
    rows = [row for row in result.series if isinstance(row, BackfilledSeries)]
    print_series(rows, _HEADS)
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
