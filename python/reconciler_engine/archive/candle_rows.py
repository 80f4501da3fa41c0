"""Collects the rows of one text file, line by line: candles by series and start, and bad rows."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from reconciler_engine.archive.bad_rows import BadRows
from reconciler_engine.archive.dialect import HEAD_LINES, NUMBER, OWN, recognise
from reconciler_engine.archive.hints import VALUES, Hints
from reconciler_engine.archive.naming import Naming
from reconciler_engine.archive.opened_file import OpenedFile, Unreadable, describe_foreign
from reconciler_engine.archive.time_unit import find_misleading
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import quoted

_LARGEST = 2**63 - 1


@dataclass(slots=True)
class SeriesRows:
    """Rows of one series.

    Attributes:
        series: The series; None if the caller named no series.
        texts: By start, the text of `open,high,low,close,volume`; empty if values are not read.
        lines: By start, the line number of the row.
        repeats: Starts of rows that repeat an earlier one.
        counts: Times in the file's unit, including those of bad rows.
    """

    series: Series | None
    texts: dict[int, str] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)
    repeats: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))


class CandleRows:
    """Collects the rows of a file.

    Attributes:
        dialect: Dialect of the file.
        bad: Rows that are not candles.
        size: Rows taken since the last `collect`.
    """

    def __init__(self, path: Path, naming: Naming | None, *, on_grid: bool) -> None:
        self._path = path
        self._naming = naming
        self._on_grid = on_grid
        self._keys: tuple[str, ...] = ()
        self._values: tuple[str, ...] = ()
        self._rows: dict[Series | None, SeriesRows] = {}
        self._by_cells: dict[str | tuple[str, ...], SeriesRows] = {}
        self.dialect = OWN
        self.bad = BadRows()
        self.size = 0

    def begin(self, file: OpenedFile, hints: Hints, needed: Collection[str]) -> Iterator[tuple[int, bytes]]:
        """Recognise the dialect; return the lines after the header, each with its line number in the file (from 1).

        Raises:
            Unreadable: The file has another format, a needed column is missing, or several columns match its kind.
        """
        if (foreign := describe_foreign(file.head)) is not None:
            raise Unreadable(foreign)
        lines = file.lines()
        head = list(islice(lines, HEAD_LINES))
        symbol = None if self._naming is None else self._naming.symbol
        try:
            self.dialect = recognise(
                [_text(line).removeprefix("\ufeff") for _, line in head], hints, needed, symbol=symbol
            )
        except ValueError as fault:
            raise Unreadable(str(fault)) from None
        if self._naming is not None:
            if self._naming.lacks(self.dialect.places):
                raise Unreadable(self._naming.fault)
            self._keys = tuple(kind for kind in ("symbol", "timeframe") if kind in self.dialect.places)
        self._values = VALUES if "open" in self.dialect.places else ()
        return chain(head[self.dialect.first :], lines)

    def take(self, number: int, line: bytes) -> None:
        """Add one line of the file, as a candle or as a bad row."""
        text = _text(line)
        if not text:
            return
        match = self.dialect.row.fullmatch(text)
        if match is None:
            self.refuse_text(number, text)
            return
        # Check the row's series first: a wrong series explains more than wrong values.
        self.size += 1
        try:
            rows = self._rows_of(match.group(*self._keys) if self._keys else ())
        except ValueError as problem:
            self._refuse(number, self._keys[0], match[self._keys[0]], str(problem))
            return
        # Keep the times of bad rows, too: with a wrong unit most rows are bad, and only their times show it.
        clock, time = self.dialect.clock, match["time"]
        count = clock.count(time)
        if count <= _LARGEST:
            rows.counts.append(count)
        start = clock.to_ms(count)
        if start is None:
            self._refuse(number, "time", time, clock.problem(time))
        elif self._values and (fault := _check_values(values := match.group(*VALUES))) is not None:
            self._refuse(number, *fault)
        elif self._on_grid and rows.series is not None and start % (step := rows.series.timeframe.step_ms):
            self._refuse(number, "time", time, f"is not a multiple of the step {step} ms")
        else:
            self._keep(number, rows, start, time, ",".join(values) if self._values else "")

    def collect(self, *, even_none: bool = False) -> list[SeriesRows]:
        """Return the rows added since the last call, by series; with `even_none`, at least one series, maybe empty.

        Raises:
            CandleFileError: The times of a series look like another unit or timeframe.
        """
        collected = [rows for rows in self._rows.values() if rows.counts]
        for rows in collected:
            if rows.series is None:
                continue
            unit = self.dialect.clock.unit
            if (misleading := find_misleading(rows.counts, rows.series.timeframe, unit)) is not None:
                raise CandleFileError(str(self._path), [misleading])
        if even_none and not collected:
            if self._naming is not None and self._naming.fault:
                raise CandleFileError(str(self._path), [f"has no row that names its series; {self._naming.fault}"])
            collected = [SeriesRows(None if self._naming is None else self._naming.series())]
        self._rows, self._by_cells = {}, {}
        self.size = 0
        return collected

    def _rows_of(self, key: str | tuple[str, ...]) -> SeriesRows:
        rows = self._by_cells.get(key)
        if rows is None:
            cells = dict(zip(self._keys, (key,) if isinstance(key, str) else key, strict=True))
            series = None if self._naming is None else self._naming.series(**cells)
            # Different spellings can name the same series.
            rows = self._by_cells[key] = self._rows.setdefault(series, SeriesRows(series))
        return rows

    def _keep(self, number: int, rows: SeriesRows, start: int, time: str, text: str) -> None:
        known = rows.texts.setdefault(start, text)
        if rows.lines.setdefault(start, number) == number:
            return
        if known == text or _numbers(known) == _numbers(text):
            rows.repeats.append(start)
        else:
            self._refuse(number, "time", time, f"repeats line {rows.lines[start]} with other values")

    def _refuse(self, number: int, kind: str, value: str, problem: str) -> None:
        self.bad.note(number, self.dialect.name(kind), value, problem)

    def refuse_text(self, number: int, text: str) -> None:
        """Add a line that does not match the dialect as a bad row, with its first wrong column."""
        dialect = self.dialect
        cells = dialect.cells(text)
        if len(cells) != len(dialect.names):
            allowed = quoted(dialect.separator.join(dialect.names))
            self.bad.note(number, "row", text, f"has {len(cells)} columns; allowed: {allowed}")
            return
        time = cells[dialect.places["time"]]
        if re.fullmatch(dialect.clock.pattern, time) is None:
            self._refuse(number, "time", time, dialect.clock.problem(time))
            return
        for kind in self._values:
            value = cells[dialect.places[kind]]
            if re.fullmatch(NUMBER, value) is None:
                self._refuse(number, kind, value, "is not a finite decimal number >= 0")
                return
        self.bad.note(number, "row", text, "has quotes within its cells; allowed: about whole cells")


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("utf-8", "replace")


def _check_values(values: tuple[str, ...]) -> tuple[str, str, str] | None:
    """Return kind, text and problem of the first wrong value, or None if the values make a candle."""
    first, high, low, last, volume = map(float, values)
    if 0 < low <= first <= high < math.inf and low <= last <= high and volume < math.inf:
        return None
    for kind, text in zip(VALUES, values, strict=True):
        if float(text) == math.inf:
            return kind, text, "is not a finite number"
        if not float(text) and kind != "volume":
            return kind, text, "is not above 0"
    if high < max(first, low, last):
        return "high", values[1], f"is below {max(first, low, last)!r}, the greatest of open, low and close"
    return "low", values[2], f"is above {min(first, last)!r}, the least of open and close"


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split(",")]
