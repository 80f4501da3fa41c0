"""Reads and checks candles in text files: our own (`start_ms,open,high,low,close,volume`) or other programs'."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler_engine.archive.bad_rows import BadRow
from reconciler_engine.archive.candle_rows import CandleRows, SeriesRows
from reconciler_engine.archive.hints import NO_HINTS, VALUES, Hints
from reconciler_engine.archive.naming import Naming
from reconciler_engine.archive.opened_file import LINES_BETWEEN_LOOKS, Unreadable, open_text
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series

_MOST_BAD_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class CandleFile:
    """The candles of one series in a file or in a part of it, ascending, at most one for each start.

    Attributes:
        path: The file.
        starts: Open times (ms UTC), strictly ascending.
        texts: For each start the file's own text of `open,high,low,close,volume`; empty if values were not read.
        repeats: Start of each dropped row; a row is dropped if it repeats an earlier one with equal values.
        bad: Skipped rows, in file order; at most 1,000 are kept.
        skipped: Number of all skipped rows.
        series: Series of the candles; None if the caller named no series.
        read_as: Dialect of the file; empty for our own files.
    """

    path: Path
    starts: array[int]
    texts: list[str]
    repeats: array[int]
    bad: tuple[BadRow, ...] = ()
    skipped: int = 0
    series: Series | None = None
    read_as: str = ""

    @property
    def duplicates(self) -> int:
        """Number of rows that repeat an earlier one."""
        return len(self.repeats)

    @property
    def rows(self) -> int:
        """Number of good rows in the file, including repeated ones."""
        return len(self.starts) + self.duplicates

    def candles(self) -> Iterator[Candle]:
        """Yield the candles, oldest first, with the file's values as floats."""
        for start, text in zip(self.starts, self.texts, strict=True):
            first, high, low, last, volume = map(float, text.split(","))
            yield Candle(start, first, high, low, last, volume)


def read_candle_file(
    path: Path, *, series: Series | None = None, on_grid: bool = False, hints: Hints = NO_HINTS, skip_bad: bool = False
) -> CandleFile:
    """Read a whole file of one series; a row of another series is a bad row. See `read_parts`."""
    naming = None if series is None else Naming(series.symbol, series.timeframe)
    (whole,) = read_parts(path, naming=naming, on_grid=on_grid, hints=hints, skip_bad=skip_bad)
    return whole


def read_parts(
    path: Path,
    *,
    naming: Naming | None = None,
    on_grid: bool = False,
    hints: Hints = NO_HINTS,
    skip_bad: bool = False,
    needed: Collection[str] = VALUES,
    most: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[CandleFile]:
    """Read a text file, plain or gzipped (recognised by its first bytes), and yield the candles of each series in it.

    The dialect is recognised from the first lines. Rows may be in any order; blank lines are ignored. A row is bad if
    its number of columns is not that of the header, its time or a value cannot be read, a price is not above 0, its
    high or low does not bound open and close, or an earlier row has the same start and other values (that row is kept).

    Args:
        path: The file; `-` is standard input.
        naming: If given, rows must belong to a series that it allows, and a file whose open times look like another
            unit or timeframe is refused.
        on_grid: Whether a start off the timeframe's grid makes a row bad; needs `naming`.
        hints: Facts from the user.
        skip_bad: Skip bad rows and list them in the first part yielded, instead of refusing the file at its end.
        needed: Kinds of columns that the file must have. Values are checked if the file has all five.
        most: Most rows of a part, to bound memory use; repeated rows are found only within a part. None: one part for
            each series.
        advance: Called from time to time with the bytes read so far.

    Raises:
        CandleFileError: The file cannot be read to its end or recognised, its times look like another unit or
            timeframe, or it has bad rows and `skip_bad` is off; lists the first 1,000 bad rows. Discard the parts
            yielded before.
    """
    rows = CandleRows(path, naming, on_grid=on_grid)
    problem = None
    is_begun = False
    try:
        with open_text(path) as file:
            for number, line in rows.begin(file, hints, needed):
                if number % LINES_BETWEEN_LOOKS == 0:
                    advance(file.bytes_read())
                    if rows.bad.total >= _MOST_BAD_ROWS:
                        raise Unreadable(f"after line {number}: the rest was not read, after so many bad rows")
                rows.take(number, line)
                if most is not None and rows.size >= most:
                    is_begun = True
                    yield from (_part(path, rows, one) for one in rows.collect())
    except Unreadable as fault:
        problem = str(fault)
    parts = [_part(path, rows, one) for one in rows.collect(even_none=problem is None and not is_begun)]
    bad = rows.bad
    if problem is not None:
        raise CandleFileError(str(path), [*map(str, bad.rows), problem], bad.total + 1, told=[*bad.told(), problem])
    if bad.total and not skip_bad:
        raise CandleFileError(str(path), [*map(str, bad.rows)], bad.total, told=bad.told())
    for index, part in enumerate(parts):
        yield part if index else replace(part, bad=tuple(bad.rows), skipped=bad.total)


def _part(path: Path, rows: CandleRows, one: SeriesRows) -> CandleFile:
    starts = array("q", sorted(one.texts))
    texts = [one.texts[start] for start in starts]
    return CandleFile(path, starts, texts, one.repeats, series=one.series, read_as=str(rows.dialect))
