"""`gaps`: what candle files lack, without any server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler_engine.cli.options import prints, takes_candle_files
from reconciler_engine.cli.output import Output, print_table, say
from reconciler_engine.detection import Gaps, detect_gaps
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.candle_file import CandleFile, parse_file_name, read_candle_file
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series, check_symbol
from reconciler_engine.market.time_unit import TimeUnit
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import iso


@click.command()
@takes_candle_files
@click.option("--list", "every", is_flag=True, help="Print every gap, not only the longest.")
@prints
def gaps(
    *,
    files: Sequence[Path],
    symbol: str | None,
    timeframe: str | None,
    time_unit: str,
    every: bool,
    output: Output,
) -> None:
    """List the gaps in candle files (columns start_ms,open,high,low,close,volume).

    \b
    Examples:
      reconciler-engine gaps BTC-USD_5m_2025.csv.gz
      reconciler-engine gaps --symbol BTC-USD --timeframe 1m dump.csv --list
      reconciler-engine gaps *.csv.gz --json
      zstdcat BTC-USD_1m.csv.zst | reconciler-engine gaps --symbol BTC-USD --timeframe 1m -

    The grid runs from a file's first to its last candle.
    """
    series = series_of(files, symbol, timeframe)
    found = (_examine(path, one, TimeUnit(time_unit)) for path, one in zip(files, series, strict=True))
    if output.as_json:
        for report in found:
            output.print_json(_fields(report, every=every))
        return
    reports = list(found)
    heads = ("file", "series", "rows", "first", "last", "missing", "gaps", "longest", "from", "dup", "off grid")
    print_table(heads, [_cells(report) for report in reports])
    if every:
        for report in reports:
            for gap in report.gaps:
                say(f"{report.series}  {iso(gap.start)}  {iso(gap.end)}  {gap.count}")


@dataclass(frozen=True, slots=True)
class FileGaps:
    """What one file lacks on the grid from its first to its last candle."""

    series: Series
    file: CandleFile
    gaps: Gaps
    off_grid: int

    @property
    def longest(self) -> Gap | None:
        """The longest gap, the oldest of several."""
        return max(self.gaps, key=lambda gap: gap.count, default=None)


def series_of(files: Sequence[Path], symbol: str | None, timeframe: str | None) -> list[Series]:
    """Return the series of each file, from its name where the options do not say it.

    Raises:
        ConfigError: Neither says it, or what is said is no product id or timeframe; with the fault of every file.
    """
    faults: list[str] = []
    if symbol is not None:
        _note(faults, "--symbol", check_symbol, symbol)
    if timeframe is not None:
        _note(faults, "--timeframe", Timeframe.parse, timeframe)
    if faults:
        raise ConfigError(faults)
    named = None if timeframe is None else Timeframe.parse(timeframe)
    found: list[Series] = []
    for path in files:
        try:
            found.append(parse_file_name(path, symbol, named))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError(faults)
    return found


def _note(faults: list[str], flag: str, check: Callable[[str], object], text: str) -> None:
    try:
        check(text)
    except ValueError as error:
        faults.append(f"{flag}: {error}")


def _examine(path: Path, series: Series, unit: TimeUnit) -> FileGaps:
    step = series.timeframe.step_ms
    file = read_candle_file(path, timeframe=series.timeframe, unit=unit)
    starts = file.starts
    # Grids are multiples of the step; a file may begin with a row that is off it.
    grid = Interval(starts[0], starts[-1] + 1).grid(step) if starts else range(0)
    off_grid = sum(start % step != 0 for start in starts)
    return FileGaps(series, file, detect_gaps(starts, grid), off_grid)


def _fields(report: FileGaps, *, every: bool) -> dict[str, object]:
    starts = report.file.starts
    longest = report.longest
    fields: dict[str, object] = {
        "file": str(report.file.path),
        "symbol": report.series.symbol,
        "timeframe": report.series.timeframe.value,
        "rows": report.file.rows,
        "first": starts[0] if starts else None,
        "last": starts[-1] if starts else None,
        "missing": report.gaps.missing,
        "gaps": len(report.gaps),
        "longest": None if longest is None else {"start": longest.start, "count": longest.count},
        "duplicates": report.file.duplicates,
        "off_grid": report.off_grid,
    }
    if every:
        fields["list"] = [gap._asdict() for gap in report.gaps]
    return fields


def _cells(report: FileGaps) -> tuple[str, ...]:
    starts = report.file.starts
    longest = report.longest
    return (
        report.file.path.name,
        str(report.series),
        str(report.file.rows),
        iso(starts[0]) if starts else "-",
        iso(starts[-1]) if starts else "-",
        str(report.gaps.missing),
        str(len(report.gaps)),
        "-" if longest is None else str(longest.count),
        "-" if longest is None else iso(longest.start),
        str(report.file.duplicates),
        str(report.off_grid),
    )
