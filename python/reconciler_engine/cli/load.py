"""`load`: loads candle files into the cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler_engine.archive.candle_file import CandleFile, read_parts
from reconciler_engine.archive.found_files import find_sources
from reconciler_engine.archive.hints import Hints
from reconciler_engine.cli.candle_files import raise_all
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import LOAD_SETTINGS, Given, prints, takes_candle_files, takes_settings
from reconciler_engine.cli.output import Output, say
from reconciler_engine.errors import CandleFileError, ConfigError, StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import printable

if TYPE_CHECKING:
    from reconciler_engine.cli.session import Session


@click.command()
@takes_candle_files()
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out instead of refusing.")
@prints
@takes_settings(*LOAD_SETTINGS)
def load(
    *,
    files: Sequence[Path],
    hints: Hints,
    skip_bad: bool,
    output: Output,
    given: Given,
) -> None:
    """Load candle files into the cache; keep the candles it holds.

    \b
    Examples:
      reconciler-engine load BTC-USD_5m_2025.csv.gz --max-candles 0
      reconciler-engine load --symbol BTC-USD --timeframe 1m dump.csv --redis-url redis://localhost:6379
      reconciler-engine load Coinbase_BTCUSD_1h.csv --max-candles 0

    Exports of other programs are recognised as by `gaps`. Every file is read and checked before the first candle is
    written.
    """
    from reconciler_engine.cli.session import in_session
    from reconciler_engine.cli.setting_sources import load_config

    config = load_config(*given, windows=())
    batches = _read_all(files, hints, skip_bad=skip_bad)
    _check_retention(batches, config.max_candles)
    loads = [Loaded(one, file) for one, file in batches]
    for loaded in loads:
        if loaded.file.read_as and not output.as_json:
            say(f"{loaded.file.path.name} {loaded.series}: read as {loaded.file.read_as}")
    try:
        in_session(config, output, "load", partial(_load, loads), writes=True)
    finally:
        # Also after an error, print a line for each file that is loaded.
        for loaded in loads:
            if loaded.is_whole:
                _print(loaded, output)
        if any(loaded.is_begun and not loaded.is_whole for loaded in loads):
            sys.stderr.write("".join(f"reconciler-engine: {printable(line)}\n" for line in _describe_rest(loads)))
    if refused := sum(loaded.refused for loaded in loads):
        leave(
            UNRESOLVED,
            f"{refused} candles not loaded: the cache keeps the newest max_candles {config.max_candles} of a series "
            "and holds newer ones; allowed: a larger --max-candles, or --max-candles 0 for unlimited",
        )


@dataclass(slots=True)
class Loaded:
    """Progress of loading a file's candles, in numbers of slots.

    Attributes:
        series: Series of the candles.
        file: Candles to load.
        inserted: Slots that were empty.
        present: Slots that held the same candle.
        differing: Slots that held another candle, which is kept.
        refused: Slots older than those that the cache keeps.
        is_begun: Whether the first candles were sent.
        is_doubtful: Whether Redis may have taken the candles sent last although it did not answer.
        is_whole: Whether all candles were sent, and Redis has answered.
    """

    series: Series
    file: CandleFile
    inserted: int = 0
    present: int = 0
    differing: int = 0
    refused: int = 0
    is_begun: bool = False
    is_doubtful: bool = True
    is_whole: bool = False

    @property
    def merged(self) -> int:
        """Number of candles that were sent and that Redis has answered for."""
        return self.inserted + self.present + self.differing + self.refused


_OUTCOMES = ("inserted", "present", "differing", "refused")


def _print(loaded: Loaded, output: Output) -> None:
    if output.as_json:
        output.print_json(_fields(loaded))
        return
    say(
        f"{loaded.file.path.name}: {loaded.inserted} candles loaded as {loaded.series}, {loaded.present} there "
        f"already, {loaded.differing} kept as they were, {loaded.file.skipped} bad rows skipped"
        f"{f', {loaded.refused} refused' if loaded.refused else ''}"
    )


def _describe_rest(loads: Sequence[Loaded]) -> Iterator[str]:
    """Yield a line for each file that says how much of it is loaded, after a load that ended early."""
    from reconciler_engine.store.merge_script import MERGE_CANDLES

    for loaded in loads:
        total = len(loaded.file.starts)
        if loaded.is_whole:
            yield f"{loaded.file.path}: loaded"
        elif loaded.is_begun:
            # Redis may have taken the part for which it did not answer.
            most = min(total, loaded.merged + MERGE_CANDLES) if loaded.is_doubtful else loaded.merged
            upto = f"{loaded.merged} to {most}" if most > loaded.merged else str(most)
            yield f"{loaded.file.path}: loaded in part, the first {upto} of {total} candles"
        else:
            yield f"{loaded.file.path}: not loaded"
    yield "the same command loads the rest"


def _read_all(files: Sequence[Path], hints: Hints, *, skip_bad: bool) -> list[tuple[Series, CandleFile]]:
    read: list[tuple[Series, CandleFile]] = []
    faults: list[CandleFileError] = []
    for file in (file for source in find_sources(files, hints) for file in source.files):
        try:
            parts = list(read_parts(file.path, naming=file.naming, on_grid=True, hints=hints, skip_bad=skip_bad))
        except CandleFileError as error:
            faults.append(error)
        else:
            read += [(part.series, part) for part in parts if part.series is not None]
    raise_all(faults)
    return read


def _check_retention(batches: Sequence[tuple[Series, CandleFile]], max_candles: int) -> None:
    """Refuse files with more candles than the cache keeps: it would drop some of them again."""
    if max_candles == 0:
        return
    starts: dict[Series, set[int]] = {}
    for series, file in batches:
        starts.setdefault(series, set()).update(file.starts)
    faults = [
        f"{series}: {len(found)} candles, but max_candles {max_candles} keeps the newest {max_candles}; "
        "allowed: a shorter file, a larger --max-candles, or --max-candles 0 for unlimited"
        for series, found in starts.items()
        if len(found) > max_candles
    ]
    if faults:
        raise ConfigError(faults)


async def _load(loads: Sequence[Loaded], session: Session) -> None:
    from reconciler_engine.store.merge_script import MERGE_CANDLES

    parts = session.parts
    filled = [] if parts.config.allow_other_layout else [loaded.series for loaded in loads]
    misplaced = await parts.store.find_misplaced(filled)
    if faults := [str(fault) for fault in misplaced if fault is not None]:
        raise ConfigError(faults)
    for loaded in loads:
        loaded.is_begun = True
        candles = list(loaded.file.candles())
        # Sent in parts, so that the number of loaded candles is known if Redis stops.
        for first in range(0, len(candles), MERGE_CANDLES):
            part = candles[first : first + MERGE_CANDLES]
            try:
                merged = await parts.store.merge(loaded.series, part, parts.retention, announce=False, by="load")
            except StoreError as error:
                # An error that the server answered means that nothing was written.
                loaded.is_doubtful = not error.code
                raise
            for outcome in _OUTCOMES:
                setattr(loaded, outcome, getattr(loaded, outcome) + len(getattr(merged, outcome)))
        loaded.is_whole = True


def _fields(loaded: Loaded) -> dict[str, object]:
    return {
        "file": str(loaded.file.path),
        "symbol": loaded.series.symbol,
        "timeframe": loaded.series.timeframe.value,
        "rows": loaded.file.rows,
        **{outcome: getattr(loaded, outcome) for outcome in _OUTCOMES},
        "duplicates": loaded.file.duplicates,
        "skipped": loaded.file.skipped,
        **({"read_as": [loaded.file.read_as]} if loaded.file.read_as else {}),
    }
