"""Candles in text files, of our own (`start_ms,open,high,low,close,volume`, usually gzipped) or of other programs."""

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
    """The candles of one series in one file, or in a part of it: ascending, at most one a start.

    Attributes:
        path: The file.
        starts: Open times (ms UTC), strictly ascending.
        texts: Values for each start in the file's words, `open,high,low,close,volume`; empty texts if they were not
            read.
        repeats: Start of each row that repeated an earlier one, value for value, and was dropped.
        bad: Rows that were skipped, in file order; at most 1,000 are kept.
        skipped: Number of skipped rows.
        series: Series of the candles; None if the caller gave none.
        read_as: Dialect of the file, if it was recognised; empty for files of our own.
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
        """Rows that repeated an earlier one."""
        return len(self.repeats)

    @property
    def rows(self) -> int:
        """Usable rows in the file, repeated ones included."""
        return len(self.starts) + self.duplicates

    def candles(self) -> Iterator[Candle]:
        """Yield the candles, oldest first; values are the floats nearest to the file's text."""
        for start, text in zip(self.starts, self.texts, strict=True):
            first, high, low, last, volume = map(float, text.split(","))
            yield Candle(start, first, high, low, last, volume)


def read_candle_file(
    path: Path, *, series: Series | None = None, on_grid: bool = False, hints: Hints = NO_HINTS, skip_bad: bool = False
) -> CandleFile:
    """Read a whole file of one series; a row of another one is a bad row. See `read_parts`."""
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
    """Read a text file, plain or gzipped (told by its first bytes), and yield the candles of each series in it.

    The dialect is recognised from the first lines. Rows may come in any order; blank lines are passed over. A row
    is bad if it has other columns than the header, its time or a value cannot be read, a price is not above 0, high and
    low do not bound open and close, or its start was there before with other values (the first one stays).

    Args:
        path: The file; `-` is standard input.
        naming: If given, rows must belong to one of its series, and a file whose open times look like another unit or
            another timeframe's is refused.
        on_grid: Whether a start between two steps of the timeframe makes a bad row, too; with `naming`.
        hints: Facts that the user adds.
        skip_bad: Leave bad rows out and list them in the first answer, instead of refusing the file at its end.
        needed: Kinds of columns without which the file is refused. Values are checked if all five are there.
        most: Rows of a part, which bound the memory; repeated rows are compared within a part alone. None: one part
            a series.
        advance: Called now and then with the bytes read so far.

    Raises:
        CandleFileError: The file cannot be read to its end or recognised, misleads, or has bad rows and `skip_bad` is
            off. Lists every bad row found (the first 1,000 of them). Parts yielded before are void.
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
