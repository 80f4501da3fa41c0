"""`load`: candle files into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.gaps import series_of
from reconciler_engine.cli.options import LOAD_SETTINGS, Given, prints, takes_candle_files, takes_settings
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import CandleFileError, ConfigError
from reconciler_engine.market.candle_file import CandleFile, read_candle_file
from reconciler_engine.market.series import Series

if TYPE_CHECKING:
    from reconciler_engine.config import ReconciliationConfig


@click.command()
@takes_candle_files
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out instead of refusing.")
@prints
@takes_settings(*LOAD_SETTINGS)
def load(
    *,
    files: Sequence[Path],
    symbol: str | None,
    timeframe: str | None,
    skip_bad: bool,
    output: Output,
    given: Given,
) -> None:
    """Load candle files into the cache; a candle that is there already stays.

    \b
    Examples:
      reconciler-engine load BTC-USD_5m_2025.csv.gz --max-candles 0
      reconciler-engine load --symbol BTC-USD --timeframe 1m dump.csv --redis-url redis://localhost:6379

    Every file is read and checked before the first candle is written.
    """
    import trio

    from reconciler_engine.cli.setting_sources import load_config

    config = load_config(*given, windows=())
    series = series_of(files, symbol, timeframe)
    batches = list(zip(series, _read_all(files, series, skip_bad=skip_bad), strict=True))
    _check_retention(batches, config.max_candles)
    done = trio.run(_load, config, batches, output)
    for loaded in done:
        if output.as_json:
            output.print_json(_fields(loaded))
        else:
            print(
                f"{loaded.file.path.name}: {loaded.inserted} candles loaded as {loaded.series}, {loaded.present} there "
                f"already, {loaded.differing} kept as they were, {loaded.file.skipped} bad rows skipped"
                f"{f', {loaded.refused} refused' if loaded.refused else ''}"
            )
    if refused := sum(loaded.refused for loaded in done):
        leave(
            UNRESOLVED,
            f"{refused} candles not loaded: the cache keeps the newest max_candles {config.max_candles} of a series "
            "and holds newer ones; allowed: a larger --max-candles, or --max-candles 0 for unlimited",
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a file's candles, in slots."""

    series: Series
    file: CandleFile
    inserted: int
    present: int
    differing: int
    refused: int


def _read_all(files: Sequence[Path], series: Sequence[Series], *, skip_bad: bool) -> list[CandleFile]:
    read: list[CandleFile] = []
    faults: list[CandleFileError] = []
    for path, one in zip(files, series, strict=True):
        try:
            read.append(read_candle_file(path, grid=one.timeframe, skip_bad=skip_bad))
        except CandleFileError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ExceptionGroup("candle files", faults)
    return read


def _check_retention(batches: Sequence[tuple[Series, CandleFile]], max_candles: int) -> None:
    """Refuse what the cache would drop again: the engine keeps promises about slots, not about files."""
    if max_candles == 0:
        return
    starts: dict[Series, set[int]] = {}
    for series, file in batches:
        starts.setdefault(series, set()).update(file.starts)
    faults = [
        f"{series}: {len(held)} candles, but max_candles {max_candles} keeps the newest {max_candles}; "
        "allowed: a shorter file, a larger --max-candles, or --max-candles 0 for unlimited"
        for series, held in starts.items()
        if len(held) > max_candles
    ]
    if faults:
        raise ConfigError(faults)


async def _load(
    config: ReconciliationConfig, batches: Sequence[tuple[Series, CandleFile]], output: Output
) -> list[Loaded]:
    from reconciler_engine.cli.session import open_session

    done = []
    async with open_session(config, output, "load", writes=True) as session:
        store, retention = session.parts.store, session.parts.retention
        for series, file in batches:
            merged = await store.merge(series, list(file.candles()), retention, announce=False, by="load")
            counts = (merged.inserted, merged.present, merged.differing, merged.refused)
            done.append(Loaded(series, file, *map(len, counts)))
    return done


def _fields(loaded: Loaded) -> dict[str, object]:
    return {
        "file": str(loaded.file.path),
        "symbol": loaded.series.symbol,
        "timeframe": loaded.series.timeframe.value,
        "rows": loaded.file.rows,
        "inserted": loaded.inserted,
        "present": loaded.present,
        "differing": loaded.differing,
        "refused": loaded.refused,
        "duplicates": loaded.file.duplicates,
        "skipped": loaded.file.skipped,
    }
