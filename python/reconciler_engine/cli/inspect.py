"""`inspect`: examines the quality of series in the cache or in candle files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import INSPECT_SETTINGS, Given, prints, takes_candle_files, takes_settings
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import ConfigError

if TYPE_CHECKING:
    from reconciler_engine.archive.hints import Hints
    from reconciler_engine.engine.cache_inspection import InspectedCache


@click.command()
@takes_candle_files(required=False)
@prints
@takes_settings(*INSPECT_SETTINGS)
def inspect(*, files: Sequence[Path], hints: Hints, output: Output, given: Given) -> None:
    """Inspect the quality of candles in the cache or in files.

    \b
    Examples:
      reconciler-engine inspect --symbols BTC-USD --timeframes 1m,5m
      reconciler-engine inspect BTC-USD_5m_2025.csv.gz
      reconciler-engine inspect archive/ 'exports/**/*.parquet' --json

    Missing, doubtful, impossible and strange candles are found. Without FILE, the cache is read, from the oldest candle
    of each series to the newest closed one; the exchange is not asked, and nothing is changed. Without symbols in the
    settings, all series that the engine's passes cover are inspected. Files are found and recognised as by the command
    `gaps`.

    A finding is an error if data are certainly wrong, a warning if they are doubtful, else a note. Exit code 3: there
    is an error, or a series could not be read.
    """
    if not files:
        _inspect_cache(hints, output, given)
    elif given.flags or given.config_file:
        flags = [f"--{name.replace('_', '-')}" for name in given.flags] or ["--config"]
        raise ConfigError(
            [f"{flag} applies only to the cache, but files are given; allowed: one of them" for flag in flags]
        )
    else:
        _inspect_files(files, hints, output)


def _inspect_files(files: Sequence[Path], hints: Hints, output: Output) -> None:
    from reconciler_engine.cli.candle_files import raise_all, read_series
    from reconciler_engine.cli.inspect_report import file_object, has_errors, print_files
    from reconciler_engine.inspection.file_inspection import inspect_files

    inspected, faults = read_series(files, hints, output, inspect_files, file_object)
    if not output.as_json:
        print_files(inspected)
    raise_all(faults)
    if any(has_errors(one.flaws) for one in inspected):
        leave(UNRESOLVED)


def _inspect_cache(hints: Hints, output: Output, given: Given) -> None:
    from reconciler_engine.cli.inspect_report import cache_object, has_errors, print_cache
    from reconciler_engine.cli.known_series import known_series
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.cli.setting_sources import load_config
    from reconciler_engine.engine.cache_inspection import CacheInspector

    if said := [flag for flag, value in _flags(hints).items() if value]:
        raise ConfigError([f"{flag} applies only to files, but none is given; allowed: a FILE" for flag in said])

    async def read(session: Session) -> list[InspectedCache]:
        inspector, inspected = CacheInspector(session.parts), []
        for one in await known_series(session, given):
            inspected.append(await inspector.inspect(one))
            if output.as_json:
                output.print_json(cache_object(inspected[-1]))
        return inspected

    inspected = in_session(load_config(*given, windows=()), output, "inspect", read)
    if not output.as_json:
        print_cache(inspected, output)
    if any(one.error is not None or has_errors(one.flaws) for one in inspected):
        leave(UNRESOLVED)


def _flags(hints: Hints) -> dict[str, object]:
    """Return the hints about files by flag."""
    return {
        "--symbol": hints.symbol,
        "--timeframe": hints.timeframe,
        "--columns": hints.columns,
        "--time-unit": hints.unit,
        "--time-zone": hints.zone,
    }
