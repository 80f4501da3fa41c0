"""Candle files: CSV, usually gzipped, with columns `start_ms,open,high,low,close,volume`."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series, check_symbol
from reconciler_engine.market.timeframe import Timeframe

COLUMNS = ("start_ms", "open", "high", "low", "close", "volume")
"""The header, in this order."""

_FAULT_LIMIT = 1000
# The longest row of the known captures has 82 bytes; no row that is one comes near this.
_LINE_LIMIT = 1024
_SHOWN_LIMIT = 60
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_HEADER = ",".join(COLUMNS)
_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?"
# 15 digits end in the year 33658 and fit every integer and float that meets them later.
_START = r"[0-9]{1,15}"
_ROW = re.compile(rf"({_START}),(({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER}))")


class BadRow(NamedTuple):
    """A row that is no candle.

    Attributes:
        line: Line number in the file; the header is line 1.
        column: Name of the column, or `row` where the columns cannot be told apart.
        value: Text of the column as it stands, shortened.
        problem: What is wrong with it and what is allowed.
    """

    line: int
    column: str
    value: str
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.column} {self.value!r} {self.problem}"


@dataclass(frozen=True, slots=True)
class CandleFile:
    """The candles of one file, one a start, ascending.

    Attributes:
        path: The file.
        starts: Open times (ms UTC), strictly ascending.
        texts: For each start the values as the file writes them: `open,high,low,close,volume`.
        duplicates: Rows that repeated an earlier one, value for value, and were dropped.
        bad: Rows that were skipped, in file order; at most 1,000 are kept.
        skipped: How many rows were skipped.
    """

    path: Path
    starts: array[int]
    texts: list[str]
    duplicates: int
    bad: tuple[BadRow, ...] = ()
    skipped: int = 0

    @property
    def rows(self) -> int:
        """Usable rows in the file, repeated ones included."""
        return len(self.starts) + self.duplicates

    def candles(self) -> Iterator[Candle]:
        """Yield the candles, oldest first; values are the floats nearest to the file's text."""
        for start, text in zip(self.starts, self.texts, strict=True):
            first, high, low, last, volume = map(float, text.split(","))
            yield Candle(start, first, high, low, last, volume)


def parse_file_name(path: Path, symbol: str | None = None, timeframe: Timeframe | None = None) -> Series:
    """Return the series in a file named `SYMBOL_TIMEFRAME[_ANYTHING].csv[.gz]`.

    What is given as `symbol` or `timeframe` is taken instead of the name's part.

    Raises:
        ValueError: The name does not say what was not given, or a part is not a product id or a timeframe.
    """
    stem = path.name.removesuffix(".gz").removesuffix(".csv")
    parts = stem.split("_")
    if symbol is None or timeframe is None:
        if len(parts) < 2:  # noqa: PLR2004 - a symbol and a timeframe
            raise ValueError(
                f"file name {path.name!r} does not say its series; allowed: SYMBOL_TIMEFRAME_....csv.gz, "
                "or name symbol and timeframe"
            )
        try:
            symbol = check_symbol(parts[0]) if symbol is None else symbol
            timeframe = Timeframe.parse(parts[1]) if timeframe is None else timeframe
        except ValueError as problem:
            raise ValueError(f"file name {path.name!r}: {problem}") from problem
    return Series(symbol, timeframe)


def read_candle_file(path: Path, *, grid: Timeframe | None = None, skip_bad: bool = False) -> CandleFile:
    """Read a whole candle file, plain or gzipped (told by its first bytes).

    Rows may come in any order; blank lines are passed over. A row is bad if it has other than six columns, a
    value is not a finite decimal number, a price is not above 0, high and low do not bound open and close, or its
    start was there before with other values (the first one stays).

    Args:
        path: The file.
        grid: If given, a start that is no multiple of this timeframe's step makes a bad row, too.
        skip_bad: Leave bad rows out and list them in the answer, instead of refusing the file.

    Raises:
        CandleFileError: The file cannot be read to its end, its header is not `COLUMNS`, or it has bad rows
            and `skip_bad` is off. Lists every bad row found (the first 1,000 of them).
    """
    reading = _Reading(None if grid is None else grid.step_ms)
    problem = _read_lines(path, reading)
    if problem is not None:
        raise CandleFileError(str(path), [*map(str, reading.bad), problem], reading.bad_total + 1)
    if reading.bad_total and not skip_bad:
        raise CandleFileError(str(path), [str(row) for row in reading.bad], reading.bad_total)
    starts = array("q", sorted(reading.texts))
    return CandleFile(
        path=path,
        starts=starts,
        texts=[reading.texts[start] for start in starts],
        duplicates=reading.duplicates,
        bad=tuple(reading.bad),
        skipped=reading.bad_total,
    )


def _read_lines(path: Path, reading: _Reading) -> str | None:
    """Pass every line on to `reading`; return what kept the file from being read to its end, if so."""
    number = 1
    try:
        with _opened(path) as file:
            header = file.readline(_LINE_LIMIT).removeprefix(_BOM).rstrip(b"\r\n")
            if header.decode("ascii", "replace") != _HEADER:
                return f"line 1: header {_shorten(header)!r} is not {_HEADER!r}"
            while line := file.readline(_LINE_LIMIT):
                number += 1
                if len(line) == _LINE_LIMIT and not line.endswith(b"\n"):
                    return f"line {number}: row {_shorten(line)!r} is longer than {_LINE_LIMIT} bytes"
                reading.take(number, line)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (EOFError, zlib.error) as error:
        return f"after line {number}: the gzip data is cut short or damaged: {error}"
    return None


@contextmanager
def _opened(path: Path) -> Iterator[gzip.GzipFile | BinaryIO]:
    """Open a file that may be gzipped, or a pipe, whose bytes are there once: they are looked at, not taken."""
    with path.open("rb") as file:
        if not file.peek(len(_GZIP)).startswith(_GZIP):
            yield file
            return
        with gzip.open(file, "rb") as unzipped:
            yield unzipped


class _Reading:
    """Rows so far, by start; memory is that of the file's rows."""

    def __init__(self, step_ms: int | None) -> None:
        self._step_ms = step_ms
        self._lines: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.duplicates = 0
        self.bad: list[BadRow] = []
        self.bad_total = 0

    def take(self, number: int, line: bytes) -> None:
        """Take one line of the file."""
        text = line.rstrip(b"\r\n").decode("ascii", "replace")
        if not text:
            return
        match = _ROW.fullmatch(text)
        if match is None:
            self._refuse(number, *_find_fault(text))
            return
        if (fault := _check_values(match)) is not None:
            self._refuse(number, *fault)
            return
        start = int(match[1])
        if self._step_ms is not None and start % self._step_ms:
            self._refuse(number, "start_ms", match[1], f"is no multiple of the step {self._step_ms} ms")
            return
        known = self.texts.setdefault(start, match[2])
        if self._lines.setdefault(start, number) == number:
            return
        if _numbers(known) == _numbers(match[2]):
            self.duplicates += 1
        else:
            self._refuse(number, "start_ms", match[1], f"repeats line {self._lines[start]} with other values")

    def _refuse(self, number: int, column: str, value: str, problem: str) -> None:
        self.bad_total += 1
        if len(self.bad) < _FAULT_LIMIT:
            self.bad.append(BadRow(number, column, value[:_SHOWN_LIMIT], problem))


def _check_values(match: re.Match[str]) -> tuple[str, str, str] | None:
    """Return column, value and problem of a row whose numbers do not make a candle."""
    first, high, low, last, volume = map(float, match.groups()[2:])
    if 0 < low <= first <= high < math.inf and low <= last <= high and volume < math.inf:
        return None
    for name, text in zip(COLUMNS[1:], match.groups()[2:], strict=True):
        if float(text) == math.inf:
            return name, text, "is no finite number"
        if not float(text) and name != "volume":
            return name, text, "is not above 0"
    if high < max(first, low, last):
        return "high", match[4], f"is below {max(first, low, last)!r}, the greatest of open, low and close"
    return "low", match[5], f"is above {min(first, last)!r}, the least of open and close"


def _find_fault(text: str) -> tuple[str, str, str]:
    """Return column, value and problem of a row that is not six plain numbers."""
    values = text.split(",")
    if len(values) != len(COLUMNS):
        return "row", text, f"has {len(values)} columns; allowed: {_HEADER}"
    if re.fullmatch(_START, values[0]) is None:
        return "start_ms", values[0], "is no whole number of milliseconds since 1970 (at most 15 digits)"
    pairs = zip(COLUMNS[1:], values[1:], strict=True)
    name, value = next(pair for pair in pairs if re.fullmatch(_NUMBER, pair[1]) is None)
    return name, value, "is no finite decimal number >= 0"


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split(",")]


def _shorten(line: bytes) -> str:
    return line[:_SHOWN_LIMIT].decode("ascii", "replace")
