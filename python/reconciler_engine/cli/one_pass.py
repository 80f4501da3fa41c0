"""The pass of `scan` and `reconcile`: a worker in this process, helped by any that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from reconciler_engine.cli.api_key import load_signed
from reconciler_engine.cli.arguments import parse_range
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import Given
from reconciler_engine.cli.output import Output, print_table, say
from reconciler_engine.cli.plan_table import audited, requests_sent
from reconciler_engine.cli.session import open_session, since_last_pass
from reconciler_engine.cli.setting_sources import load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.pass_words import as_object, unexamined
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import counted, describe_span, iso, told_slots
from reconciler_engine.planning.verification import Verify

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials


def run_one_pass(
    command: str,
    given: Given,
    from_: str | None,
    to: str | None,
    output: Output,
    *,
    repair: bool,
    verify: str = Verify.DUE,
) -> None:
    """Run a pass and print its result; leave with 3 if a series is not ready, failed or was not examined.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed then.
    """
    faults: list[str] = []
    asked = parse_range(from_, to, faults)
    windows = ("full_reconcile_window_ms",) if asked is None else ()
    credentials = None
    if repair:
        config, credentials = load_signed(*given, needs_symbols=True, known_faults=faults, windows=windows)
    else:
        config = load_config(*given, needs_symbols=True, known_faults=faults, windows=windows)
    result = trio.run(_pass, command, config, credentials, asked, output, repair, Verify(verify))
    doubts = [*_doubts(result, asked, config.max_candles), *_waits(result)]
    is_whole = repair and not (asked or doubts or result.unresolved or result.errors)
    until = ready_until(result, config.max_unverified_ms) if is_whole and verify != Verify.NONE else None
    if output.as_json:
        output.print_json({**as_object(result), **({"ready_until": until} if repair else {})})
    else:
        print_result(result, output, repaired=repair)
        if until is not None:
            say(f"`ready` can say yes until {iso(until)}; come again before that")
    if result.unresolved or result.errors:
        leave(UNRESOLVED)
    if doubts:
        leave(UNRESOLVED, "\n".join(doubts))


async def _pass(
    command: str,
    config: ReconciliationConfig,
    credentials: Credentials | None,
    asked: Interval | None,
    output: Output,
    repair: bool,
    verify: Verify,
) -> ReconciliationResult:
    async with open_session(config, output, command, writes=repair, asks=repair, credentials=credentials) as session:
        look_back = asked or config.full_reconcile_window_ms
        bars = 0 if asked else config.window_bars
        request = PassRequest(
            command,
            await session.series(),
            look_back,
            repair=repair,
            verify=verify,
            horizon_ms=await since_last_pass(session),
            bars=bars,
        )
        return await session.with_worker(lambda: session.parts.reconciler.run_pass(request))


def ready_until(result: ReconciliationResult, max_unverified_ms: int) -> int | None:
    """Return the first instant (ms UTC) at which a candle, of now or the next to close, is unverified for too long."""
    closes = []
    for row in result.series:
        step = Timeframe(row.timeframe).step_ms
        next_close = row.stop // step * step + step
        closes.append(next_close if row.unverified_since is None else row.unverified_since)
    return min(closes) + max_unverified_ms if closes else None


def _waits(result: ReconciliationResult) -> list[str]:
    """Say when to run the command again, if slots wait for another answer of the exchange."""
    times = [row.again_at for row in result.series if row.again_at is not None]
    if not times:
        return []
    return [f"{len(times)} of {len(result.series)} series wait for another answer; come again at {iso(min(times))}"]


def _doubts(result: ReconciliationResult, asked: Interval | None, max_candles: int) -> list[str]:
    """List the slots that were asked for and not examined: they do not count as complete."""
    of_all = f"of {len(result.series)} series"
    unknown = sum(not row.expected and not row.errors for row in result.series)
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


def print_result(result: ReconciliationResult, output: Output, *, repaired: bool) -> None:
    """Print a pass: series with something to say, then the totals."""
    noteworthy = [
        row
        for row in result.series
        if row.missing
        or row.confirmed_empty
        or row.mismatched
        or row.errors
        or row.duplicates
        or row.malformed
        or (row.unverified and not repaired)
    ]
    if noteworthy:
        print_table(
            (
                "series",
                "from",
                "to",
                "slots",
                "gaps",
                "missing",
                "filled",
                "empty",
                "unresolved",
                "unverified",
                "dup",
                "bad",
            ),
            [_cells(row) for row in noteworthy],
        )
    # A scan counts missing slots; a pass counts their outcomes.
    empty = f", {result.confirmed_empty} proved empty" if result.confirmed_empty else ""
    done = f"{counted(result.missing, 'slot')} missing in {counted(result.gaps_found, 'gap')}{empty}"
    if repaired:
        slots = told_slots(result.filled, result.confirmed_empty, result.unresolved)
        done = f"{counted(result.gaps_found, 'gap')}; {slots}; {requests_sent(result)}"
    more = f", {result.unverified} unverified" if result.unverified else ""
    more += audited(result)
    more += "".join(f", {told}" for told in unexamined(result.series))
    output.print_line(f"{len(result.series)} series: {done}{more}, {describe_span(result.duration_ms)}")
    for symbol in result.delisted:
        say(f"  {symbol} is delisted: what is missing of it stays missing, or is proved empty")
    for cause in result.causes:
        say(f"  {cause}")


def _cells(row: SeriesResult) -> tuple[str, ...]:
    found = (row.expected, row.gaps, row.missing, row.filled, row.confirmed_empty, row.unresolved)
    counts = (*found, row.unverified, row.duplicates, row.malformed)
    return (f"{row.symbol}:{row.timeframe}", iso(row.start), iso(row.stop), *map(str, counts))
