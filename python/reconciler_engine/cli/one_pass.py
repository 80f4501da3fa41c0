"""The pass of `scan` and `reconcile`: done by a worker in this process, and by workers that run already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler_engine.cli.api_key import load_signed
from reconciler_engine.cli.arguments import parse_range
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import Given, Span
from reconciler_engine.cli.output import Output, say
from reconciler_engine.cli.plan_table import audited, print_series, requests_sent
from reconciler_engine.cli.session import Session, in_session, since_last_pass
from reconciler_engine.cli.setting_sources import load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.pass_words import as_object, unexamined
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import counted, describe_span, iso, told_slots
from reconciler_engine.planning.verification import Verify

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials


def run_one_pass(
    command: str,
    given: Given,
    asked: Span,
    output: Output,
    *,
    repair: bool,
    verify: str = Verify.DUE,
) -> None:
    """Run a pass and print its result; exit with 3 if slots are missing or wait, or were not examined.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed then.
    """
    range_, config, credentials = load_range(given, asked, signed=repair)

    async def look(session: Session) -> ReconciliationResult:
        request = PassRequest(
            command,
            await session.series(),
            range_ or config.full_reconcile_window_ms,
            repair=repair,
            verify=Verify(verify),
            horizon_ms=await since_last_pass(session),
            bars=0 if range_ else config.window_bars,
        )
        return await session.with_worker(lambda: session.parts.reconciler.run_pass(request))

    result = in_session(config, output, command, look, writes=repair, asks=repair, credentials=credentials)
    doubts = [*_doubts(result, range_, config.max_candles), *_waits(result)]
    is_whole = repair and not (range_ or doubts or result.unresolved or result.errors)
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


def load_range(
    given: Given, asked: Span, *, signed: bool
) -> tuple[Interval | None, ReconciliationConfig, Credentials | None]:
    """Return the range asked for (None for the full window), the settings, and if `signed`, the credentials.

    Raises:
        ConfigError: The range or a setting is faulty; names each fault.
    """
    faults: list[str] = []
    range_ = parse_range(*asked, faults)
    windows = ("full_reconcile_window_ms",) if range_ is None else ()
    if signed:
        return range_, *load_signed(*given, needs_symbols=True, known_faults=faults, windows=windows)
    return range_, load_config(*given, needs_symbols=True, known_faults=faults, windows=windows), None


def ready_until(result: ReconciliationResult, max_unverified_ms: int) -> int | None:
    """Return when (ms UTC) a candle, present or next to close, will first have been unverified for too long."""
    closes = []
    for row in result.series:
        step = Timeframe(row.timeframe).step_ms
        next_close = row.stop // step * step + step
        closes.append(next_close if row.unverified_since is None else row.unverified_since)
    return min(closes) + max_unverified_ms if closes else None


def _waits(result: ReconciliationResult) -> list[str]:
    """Return a sentence on when to run the command again, if slots wait for another answer of the exchange."""
    times = [row.again_at for row in result.series if row.again_at is not None]
    if not times:
        return []
    return [f"{len(times)} of {len(result.series)} series wait for another answer; come again at {iso(min(times))}"]


def _doubts(result: ReconciliationResult, asked: Interval | None, max_candles: int) -> list[str]:
    """Return sentences about slots that were asked for but not examined, and so do not count as complete."""
    of_all = f"of {len(result.series)} series"
    unknown = sum(not row.expected and not row.errors for row in result.series)
    # Only retention moves the start of a range.
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


_NOTEWORTHY = ("missing", "confirmed_empty", "mismatched", "errors", "duplicates", "malformed")
_HEADS = (
    *("from", "to", "slots", "gaps", "missing", "filled", "empty", "unresolved"),
    *("unverified", "dup", "bad"),
)


def print_result(result: ReconciliationResult, output: Output, *, repaired: bool) -> None:
    """Print the result of a pass: the noteworthy series, then the totals."""
    noteworthy = [
        row
        for row in result.series
        if any(getattr(row, field) for field in _NOTEWORTHY) or (row.unverified and not repaired)
    ]
    if noteworthy:
        print_series(noteworthy, _HEADS)
    # A scan reports missing slots; a pass with repairs reports their outcomes.
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
