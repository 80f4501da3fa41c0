"""Reads the bars of candle files in blocks of columns, without checking the values."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler_engine.archive.arrow_file import is_arrow, read_times
from reconciler_engine.archive.bad_rows import BadRows
from reconciler_engine.archive.candle_rows import CandleRows
from reconciler_engine.archive.found_files import FoundFile
from reconciler_engine.archive.hints import VALUES, Hints
from reconciler_engine.archive.opened_file import LINES_BETWEEN_LOOKS, Unreadable, open_text
from reconciler_engine.archive.orderly_text import NotOrderly, read_orderly
from reconciler_engine.archive.time_unit import find_misleading
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series

_ROWS_AT_ONCE = 1 << 16
# Number of rows to examine for another unit or timeframe.
_SAMPLE = 10_000


class BarBlock(NamedTuple):
    """Rows of one series, in the order of the file.

    Attributes:
        times: Open times (ms UTC), on the grid or off it.
        values: Columns of opens, highs, lows, closes and volumes; NaN for text that is not a number.
        read_as: Dialect of the file; empty for our own files.
        unread: Lines of the file that are not rows; only in the file's last block, else None.
    """

    times: array[int]
    values: tuple[Sequence[float], ...]
    read_as: str
    unread: BadRows | None = None


def read_blocks(file: FoundFile, hints: Hints, advance: Callable[[int], None]) -> Iterator[tuple[Series, BarBlock]]:
    """Yield the bars of each series in a file. Memory use is one block.

    Args:
        file: The file.
        hints: Facts from the user.
        advance: Called from time to time with the bytes read so far.

    Raises:
        CandleFileError: The file cannot be read to its end or recognised, lacks a column, or its open times look like
            another unit or timeframe. Discard the blocks yielded before.
    """
    if not is_arrow(file.path):
        yield from _read_text(file, hints, advance)
        return
    for series, instants, read_as, columns in read_times(file.path, file.naming, hints, advance, kinds=VALUES):
        for first in range(0, len(instants), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            values = tuple(column[part].to_pylist() for column in columns)
            yield series, BarBlock(array("q", instants[part].to_pylist()), values, read_as)


@dataclass(slots=True)
class _Columns:
    """Rows of one series that are not yielded yet, and its first times in the file's unit (`counts`)."""

    times: array[int] = field(default_factory=lambda: array("q"))
    values: tuple[array[float], ...] = field(default_factory=lambda: tuple(array("d") for _ in VALUES))
    counts: list[int] = field(default_factory=list)
    is_known: bool = False

    def take(self) -> tuple[array[int], tuple[array[float], ...]]:
        """Return the rows and drop them."""
        taken = self.times, self.values
        self.times, self.values = array("q"), tuple(array("d") for _ in VALUES)
        return taken


def _read_text(file: FoundFile, hints: Hints, advance: Callable[[int], None]) -> Iterator[tuple[Series, BarBlock]]:
    """Yield the rows of a text file: through pyarrow up to the first block that it cannot read, then line by line."""
    read = 0
    with suppress(NotOrderly):
        for part in read_orderly(file, hints, advance):
            if not part.values:
                raise NotOrderly
            values = tuple(column.to_pylist() for column in part.values)
            yield part.series, BarBlock(array("q", part.instants.to_pylist()), values, part.read_as)
            read += len(part.instants)
        return
    yield from _read_lines(file, hints, advance, read)


def _read_lines(
    file: FoundFile, hints: Hints, advance: Callable[[int], None], skipped: int
) -> Iterator[tuple[Series, BarBlock]]:
    """Yield the rows of a text file line by line, after the first `skipped` rows (blank lines are not rows)."""
    rows = CandleRows(file.path, file.naming, on_grid=False)
    found: dict[Series, _Columns] = {}
    try:
        with open_text(file.path) as opened:
            lines = rows.begin(opened, hints, VALUES)
            take = _taker(rows, file, found)
            for number, line in lines:
                if skipped and line.rstrip(b"\r\n"):
                    skipped -= 1
                    continue
                take(number, line)
                if number % LINES_BETWEEN_LOOKS == 0:
                    advance(opened.bytes_read())
                    if sum(len(one.times) for one in found.values()) >= _ROWS_AT_ONCE:
                        yield from _blocks(rows, file, found)
        yield from _blocks(rows, file, found, is_last=True)
    except Unreadable as fault:
        raise CandleFileError(str(file.path), [str(fault)]) from None


def _taker(rows: CandleRows, file: FoundFile, found: dict[Series, _Columns]) -> Callable[[int, bytes], None]:
    """Return a function that takes a line number and a line, and adds the row to the columns of its series."""
    dialect = rows.dialect
    match_row, clock = dialect.row_of_any_values().fullmatch, dialect.clock
    keys = [kind for kind in ("symbol", "timeframe") if kind in dialect.places]
    by_cells: dict[tuple[str, ...], _Columns] = {}

    def columns_of(cells: tuple[str, ...]) -> _Columns:
        if cells not in by_cells:
            series = file.naming.series(**dict(zip(keys, cells, strict=True)))
            by_cells[cells] = found.setdefault(series, _Columns())
        return by_cells[cells]

    def take(number: int, line: bytes) -> None:
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        if not text:
            return
        match = match_row(text)
        if match is None:
            rows.refuse_text(number, text)
            return
        time, *cells = match.group("time", *VALUES)
        try:
            columns = columns_of(tuple(match[kind] for kind in keys))
        except ValueError as problem:
            rows.bad.note(number, dialect.name(keys[0]), match[keys[0]], str(problem))
            return
        count = clock.count(time)
        if len(columns.counts) < _SAMPLE:
            columns.counts.append(count)
        instant = clock.to_ms(count)
        if instant is None:
            rows.bad.note(number, dialect.name("time"), time, clock.problem(time))
            return
        columns.times.append(instant)
        for column, cell in zip(columns.values, cells, strict=True):
            column.append(_number(cell))

    return take


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _blocks(
    rows: CandleRows, file: FoundFile, found: dict[Series, _Columns], *, is_last: bool = False
) -> Iterator[tuple[Series, BarBlock]]:
    """Yield the rows of each series that are not yielded yet; with `is_last`, the last block carries the bad lines.

    Raises:
        Unreadable: Open times look like another unit or timeframe, or the file has no rows and its series is unknown.
    """
    unit, read_as = rows.dialect.clock.unit, str(rows.dialect)
    if is_last and not found:
        if file.naming.fault:
            raise Unreadable(f"has no row that names its series; {file.naming.fault}")
        found[file.naming.series()] = _Columns()
    for index, (series, columns) in enumerate(found.items(), start=1):
        if not columns.is_known:
            columns.is_known = True
            if columns.counts and (other := find_misleading(columns.counts, series.timeframe, unit)) is not None:
                raise Unreadable(other)
        yield series, BarBlock(*columns.take(), read_as, rows.bad if is_last and index == len(found) else None)
