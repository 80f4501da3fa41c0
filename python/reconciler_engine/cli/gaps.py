"""`gaps`: the gaps of candle files, without any server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from reconciler_engine.archive.found_files import find_sources
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.series_gaps import SeriesGaps, survey
from reconciler_engine.cli.candle_files import raise_all, reading
from reconciler_engine.cli.options import prints, takes_candle_files
from reconciler_engine.cli.output import Output, print_table, say
from reconciler_engine.errors import CandleFileError
from reconciler_engine.observe.words import iso

_HEADS = ("file", "series", "rows", "first", "last", "missing", "gaps", "longest", "from", "dup", "off grid")


@click.command()
@takes_candle_files()
@click.option("--list", "every", is_flag=True, help="Print every gap, not only the longest.")
@prints
def gaps(*, files: Sequence[Path], hints: Hints, every: bool, output: Output) -> None:
    """List the gaps in candle files: CSV of any program, Parquet, Arrow; files, folders and patterns of them.

    \b
    Examples:
      reconciler-engine gaps BTC-USD_5m_2025.csv.gz
      reconciler-engine gaps --symbol BTC-USD --timeframe 1m dump.csv --list
      reconciler-engine gaps *.csv.gz --json
      reconciler-engine gaps archive/ 'exports/**/*.parquet'
      reconciler-engine gaps --columns time=1,open=2,high=3,low=4,close=5,volume=6 XBTUSD_1.csv --time-unit s
      zstdcat BTC-USD_1m.csv.zst | reconciler-engine gaps --symbol BTC-USD --timeframe 1m -

    The grid runs from a series' first to its last candle. All files of a folder that hold one series, known by a
    column, by folders such as symbol=BTC-USD/timeframe=1m, or by their names, are one series.
    """
    sources = find_sources(files, hints)
    faults: list[CandleFileError] = []
    reports: list[SeriesGaps] = []
    with reading(sources) as advance:
        for found in survey(sources, hints, advance):
            faults += found.faults
            reports += found.series
            if output.as_json:
                for report in found.series:
                    output.print_json(_fields(report, every=every))
    if not output.as_json:
        _print(reports, every=every)
    raise_all(faults)


def _print(reports: Sequence[SeriesGaps], *, every: bool) -> None:
    for report in reports:
        for way in report.read_as:
            say(f"{report.source.name} {report.series}: read as {way}")
    if reports:
        print_table(_HEADS, [_cells(report) for report in reports])
    if every:
        for report in reports:
            for gap in report.summary.gaps:
                say(f"{report.series}  {iso(gap.start)}  {iso(gap.end)}  {gap.count}")


def _fields(report: SeriesGaps, *, every: bool) -> dict[str, object]:
    summary = report.summary
    longest = summary.longest
    fields: dict[str, object] = {
        "file": str(report.source),
        "symbol": report.series.symbol,
        "timeframe": report.series.timeframe.value,
        "rows": summary.count,
        "first": summary.first,
        "last": summary.last,
        "missing": summary.missing,
        "gaps": len(summary.gaps),
        "longest": None if longest is None else {"start": longest.start, "count": longest.count},
        "duplicates": summary.duplicates,
        "off_grid": summary.strangers,
    }
    if report.read_as:
        fields["read_as"] = [*report.read_as]
    if every:
        fields["list"] = [gap._asdict() for gap in summary.gaps]
    return fields


def _cells(report: SeriesGaps) -> tuple[str, ...]:
    summary = report.summary
    longest = summary.longest
    return (
        report.source.name,
        str(report.series),
        str(summary.count),
        "-" if summary.first is None else iso(summary.first),
        "-" if summary.last is None else iso(summary.last),
        str(summary.missing),
        str(len(summary.gaps)),
        "-" if longest is None else str(longest.count),
        "-" if longest is None else iso(longest.start),
        str(summary.duplicates),
        str(summary.strangers),
    )
