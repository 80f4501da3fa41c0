"""The work of `load`: check every file, then merge."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from reconciler_engine.cli.connection import open_cache
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.file_gaps import series_of
from reconciler_engine.cli.settings import load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.errors import CandleFileError, ConfigError
from reconciler_engine.market.candle_file import CandleFile, read_candle_file
from reconciler_engine.market.series import Series
from reconciler_engine.observe import logs


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a file's candles, in slots."""

    series: Series
    file: CandleFile
    inserted: int
    present: int
    differing: int
    refused: int


def load_files(
    files: Sequence[Path],
    symbol: str | None,
    timeframe: str | None,
    flags: dict[str, str],
    config_file: str | None,
    *,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Load files and print a line for each; leave with 3 where the cache holds too many newer candles for some.

    Raises:
        ConfigError: A setting is wrong, a name does not say its series, or a series would outgrow `max_candles`.
        CandleFileError: Files have bad rows; with every bad row of every file. Nothing was written.
    """
    config = load_config(flags, config_file, windows=())
    series = series_of(files, symbol, timeframe)
    batches = list(zip(series, _read_all(files, series, skip_bad=skip_bad), strict=True))
    _check_retention(batches, config.max_candles)
    logs.configure("human" if sys.stderr.isatty() else "json", "WARNING", process="load")
    done = trio.run(_load, config, batches)
    for loaded in done:
        if as_json:
            print(json.dumps(_fields(loaded)))
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


async def _load(config: ReconciliationConfig, batches: Sequence[tuple[Series, CandleFile]]) -> list[Loaded]:
    done = []
    async with (
        open_cache(config, "load", writes=True) as cache,
        # Loading adds; what is there already is cut by nobody but start.
        open_parts(config, cache.url, owns_server=False) as parts,
    ):
        for series, file in batches:
            merged = await parts.store.merge(series, list(file.candles()), parts.retention, announce=False, by="load")
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
