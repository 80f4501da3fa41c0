"""Results for people: a table of what is noteworthy and one line of totals."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.observe.words import counted, iso


def print_result(result: ReconciliationResult, *, repaired: bool, simulated: bool) -> None:
    """Print a pass: series with something to say, then the totals."""
    mark = "SIMULATED " if simulated else ""
    noteworthy = [
        row
        for row in result.series
        if row.missing or row.confirmed_empty or row.mismatched or row.errors or row.duplicates or row.malformed
    ]
    if noteworthy:
        print_table(
            ("series", "from", "to", "slots", "gaps", "missing", "filled", "empty", "unresolved", "dup", "bad"),
            [_cells(row) for row in noteworthy],
        )
    unknown = sum(not row.expected for row in result.series)
    done = (
        f", {result.filled} filled, {result.unresolved} unresolved, {counted(result.requests, 'request')}"
        if repaired
        else ""
    )
    empty = f", {result.confirmed_empty} confirmed empty" if result.confirmed_empty else ""
    empty += audited(result)
    print(
        f"{mark}{len(result.series)} series: {counted(result.missing, 'slot')} missing in "
        f"{counted(result.gaps_found, 'gap')}{done}{empty}"
        f"{f', {unknown} series without a closed slot in reach' if unknown else ''}, {result.duration_ms} ms"
    )
    for error in result.errors:
        print(f"  {error}")


def audited(result: ReconciliationResult) -> str:
    """Say how many candles are not as the exchange has them; nothing where all are."""
    if not result.mismatched:
        return ""
    return f", {result.mismatched} unlike the exchange's, {result.repaired} of them repaired"


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first one left-aligned, the others right-aligned."""
    widths = [max(len(line[column]) for line in (heads, *rows)) for column in range(len(heads))]
    for line in (heads, *rows):
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        print("  ".join(cells))


def _cells(row: SeriesResult) -> tuple[str, ...]:
    found = (row.expected, row.gaps, row.missing, row.filled, row.confirmed_empty, row.unresolved)
    counts = (*found, row.duplicates, row.malformed)
    return (f"{row.symbol}:{row.timeframe}", iso(row.start), iso(row.stop), *map(str, counts))


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns of words, all left-aligned, the last one as long as it is."""
    *widths, _ = [max(len(line[column]) for line in (heads, *rows)) for column in range(len(heads))]
    for line in (heads, *rows):
        print("  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]))
