"""`gaps`: lists the gaps of candle files, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.series_gaps import SeriesGaps, survey
from reconciler_engine.cli.candle_files import FILE_HEADS, file_cells, raise_all, read_series
from reconciler_engine.cli.options import prints, takes_candle_files
from reconciler_engine.cli.output import Output, print_table, say
from reconciler_engine.observe.words import iso

_HEADS = (*FILE_HEADS, "gaps", "longest", "from", "dup", "off grid")


@click.command()
@takes_candle_files()
@click.option("--list", "every", is_flag=True, help="Print every gap, not only the longest.")
@prints
def gaps(*, files: Sequence[Path], hints: Hints, every: bool, output: Output) -> None:
    """List the gaps in candle files: CSV, Parquet and Arrow.

    \b
    Examples:
      reconciler-engine gaps BTC-USD_5m_2025.csv.gz
      reconciler-engine gaps --symbol BTC-USD --timeframe 1m dump.csv --list
      reconciler-engine gaps *.csv.gz --json
      reconciler-engine gaps archive/ 'exports/**/*.parquet'
      reconciler-engine gaps --columns time=1,open=2,high=3,low=4,close=5,volume=6 XBTUSD_1.csv --time-unit s
      zstdcat BTC-USD_1m.csv.zst | reconciler-engine gaps --symbol BTC-USD --timeframe 1m -

    Files, folders and patterns can be given; CSV of any program is recognised. Gaps are looked for between a series'
    first and last candle. The name of the series is found in a column, in folders such as
    symbol=BTC-USD/timeframe=1m, or in file names. Files of a folder with the same series are read as one.
    """
    reports, faults = read_series(files, hints, output, survey, lambda report: _fields(report, every=every))
    if not output.as_json:
        _print(reports, every=every)
    raise_all(faults)


def _print(reports: Sequence[SeriesGaps], *, every: bool) -> None:
    if reports:
        print_table(_HEADS, [_cells(report) for report in reports])
    if every:
        for report in reports:
            for gap in report.summary.gaps:
                say(f"{report.series}  {iso(gap.start)}  {iso(gap.end)}  {gap.count}")


def _fields(report: SeriesGaps, *, every: bool) -> dict[str, object]:
    gaps, longest = report.summary.gaps, report.summary.longest
    listed = {"list": [gap._asdict() for gap in gaps]} if every else {}
    told = None if longest is None else {"start": longest.start, "count": longest.count}
    return {**report.as_object(gaps=len(gaps), longest=told), **listed}


def _cells(report: SeriesGaps) -> tuple[str, ...]:
    summary, longest = report.summary, report.summary.longest
    return (
        *file_cells(report),
        str(len(summary.gaps)),
        "-" if longest is None else str(longest.count),
        "-" if longest is None else iso(longest.start),
        str(summary.duplicates),
        str(summary.strangers),
    )
