"""What a backfill did, or would do, for people."""

from __future__ import annotations

from reconciler_engine.cli.report import audited, print_table
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.backfill.progress import BackfilledSeries
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.request_plan import RequestPlan


def print_plan(plan: RequestPlan, config: ReconciliationConfig, *, simulated: bool) -> None:
    """Print a row a series and the requests with their time."""
    print_table(
        ("series", "from", "to", "slots", "gaps", "missing", "requests"),
        [
            (
                f"{row.symbol}:{row.timeframe}",
                iso(row.start),
                iso(row.stop),
                *map(str, (row.expected, row.gaps, row.missing, row.requests)),
            )
            for row in plan.series
        ],
    )
    print_totals(plan, config, simulated=simulated)
    _print_life(config)


def print_totals(plan: RequestPlan, config: ReconciliationConfig, *, simulated: bool) -> None:
    """Print the requests with their time, and what could not be read."""
    print(
        f"{'SIMULATED ' if simulated else ''}{counted(plan.missing, 'slot')} missing, "
        f"{plan.confirmed_empty} confirmed empty: {counted(plan.requests, 'request')}, "
        f"{duration(plan.duration_ms)} at {config.batch_size} per {config.batch_delay_ms} ms; nothing was asked"
    )
    for row in plan.series:
        if row.error is not None:
            print(f"  {row.symbol}:{row.timeframe}: {row.error}")


def print_backfill(result: ReconciliationResult, config: ReconciliationConfig, *, simulated: bool) -> None:
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
            print(f"  {row.symbol}:{row.timeframe}: went on at {iso(row.resumed_at)}, where an earlier backfill was")
    print(
        f"{'SIMULATED ' if simulated else ''}{result.filled} of {counted(result.missing, 'missing slot')} filled, "
        f"{result.confirmed_empty} confirmed empty, {result.unresolved} unresolved{audited(result)}, "
        f"{counted(result.requests, 'request')}, "
        f"{duration(result.duration_ms)}"
    )
    for error in result.errors:
        print(f"  {error}")
    _print_life(config)


def duration(ms: int) -> str:
    """Return a length of time in its two largest units, such as `2 h 5 min`."""
    seconds = round(ms / 1_000)
    if not seconds:
        return f"{ms} ms"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    first = next(index for index, (_, length) in enumerate(units) if seconds >= length)
    parts: list[str] = []
    for name, length in units[first : first + 2]:
        count, seconds = divmod(seconds, length)
        if count or not parts:
            parts.append(f"{count} {name}")
    return " ".join(parts)


def _print_life(config: ReconciliationConfig) -> None:
    if config.ttl:
        print(f"  a key made here lives {duration(config.ttl * 1_000)} after its last write; --ttl 0 keeps it")
