"""Candle files: CSV, usually gzipped, with columns `start_ms,open,high,low,close,volume`."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.foreign_file import HEAD_BYTES, describe_foreign, describe_header
from reconciler_engine.market.series import Series, check_symbol
from reconciler_engine.market.time_unit import TimeUnit, mistaken_step, mistaken_unit
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
# Milliseconds of 15 digits end in the year 33658 and fit every integer and float that meets them later; nanoseconds
# have four digits more than those.
_LATEST_MS = 10**15
_START = r"[0-9]{1,19}"
# Rows of a candle file shrink to a tenth, not to less than a hundredth.
_MOST_RATIO = 200
_UNPACKED_BETWEEN_LOOKS = 512 * 1024
_MOST_BAD_ROWS = 100_000
_LINES_BETWEEN_LOOKS = 1024
_TOLD_OF_A_KIND = 3
_FIGURES = re.compile(r"[0-9][0-9.e+-]*")
_LARGEST = 2**63 - 1
STANDARD_INPUT = Path("-")
"""A file of this name is standard input."""
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


def read_candle_file(
    path: Path,
    *,
    timeframe: Timeframe | None = None,
    grid: Timeframe | None = None,
    unit: TimeUnit = TimeUnit.MILLISECONDS,
    skip_bad: bool = False,
) -> CandleFile:
    """Read a whole candle file, plain or gzipped (told by its first bytes).

    Rows may come in any order; blank lines are passed over. A row is bad if it has other than six columns, a
    value is not a finite decimal number, a price is not above 0, high and low do not bound open and close, or its
    start was there before with other values (the first one stays).

    Args:
        path: The file; `-` is standard input.
        timeframe: If given, a file whose open times look like another unit or another timeframe's is refused.
        grid: If given, a start that is no multiple of this timeframe's step makes a bad row, too.
        unit: Unit of the open times.
        skip_bad: Leave bad rows out and list them in the answer, instead of refusing the file.

    Raises:
        CandleFileError: The file cannot be read to its end, its header is not `COLUMNS`, it is of another form or
            misleads, or it has bad rows and `skip_bad` is off. Lists every bad row found (the first 1,000 of them).
    """
    reading = _Reading(unit, None if grid is None else grid.step_ms)
    problem = _read_lines(path, reading)
    if timeframe is not None and (misleading := reading.find_misleading(timeframe)) is not None:
        raise CandleFileError(str(path), [misleading])
    if problem is not None:
        faults = [*map(str, reading.bad), problem]
        raise CandleFileError(str(path), faults, reading.bad_total + 1, told=[*reading.kinds.told(), problem])
    if reading.bad_total and not skip_bad:
        raise CandleFileError(str(path), [*map(str, reading.bad)], reading.bad_total, told=reading.kinds.told())
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
            if (fault := _check_form(file)) is not None:
                return fault
            while line := file.lines.readline(_LINE_LIMIT):
                number += 1
                if len(line) == _LINE_LIMIT and not line.endswith(b"\n"):
                    return f"line {number}: row {_shorten(line)!r} is longer than {_LINE_LIMIT} bytes"
                if number % _LINES_BETWEEN_LOOKS == 0 and (fault := _check_going_on(file, reading)) is not None:
                    return f"after line {number}: {fault}"
                reading.take(number, line)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (EOFError, zlib.error) as error:
        return f"after line {number}: the gzip data is cut short or damaged: {error}"
    return None


def _check_going_on(file: _Opened, reading: _Reading) -> str | None:
    """Say why the rest of a file is not worth reading; None where it is."""
    if file.is_bomb():
        return f"unpacks to more than {_MOST_RATIO} times its size, as no candles do"
    if reading.bad_total >= _MOST_BAD_ROWS:
        return "the rest was not read, after so many bad rows"
    return None


def _check_form(file: _Opened) -> str | None:
    """Take the header; return what is wrong with it, or which other form the file has."""
    foreign = describe_foreign(file.head)
    header = file.lines.readline(_LINE_LIMIT).removeprefix(_BOM).rstrip(b"\r\n").decode("ascii", "replace")
    if foreign is not None or header == _HEADER:
        return foreign
    return f"line 1: header {header[:_SHOWN_LIMIT]!r} is not {_HEADER!r}{describe_header(header, _HEADER)}"


class _Packed:
    """A gzipped file that counts what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._taken = 0
        self._seen = (0, 0)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._taken += len(data)
        return data

    def is_bomb(self, unpacked: int) -> bool:
        """Whether so few bytes have become so many since the last look that no candles can be in them."""
        taken_before, unpacked_before = self._seen
        grown = unpacked - unpacked_before
        if grown < _UNPACKED_BETWEEN_LOOKS:
            return False
        self._seen = (self._taken, unpacked)
        return grown > _MOST_RATIO * (self._taken - taken_before)


class _Opened(NamedTuple):
    """A candle file's first bytes, unpacked, and its lines; `packed` where it is gzipped."""

    head: bytes
    lines: gzip.GzipFile | BufferedReader
    packed: _Packed | None = None

    def is_bomb(self) -> bool:
        """Whether the file holds too little for what it unpacks to."""
        return self.packed is not None and self.packed.is_bomb(self.lines.tell())


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    """Open a file that may be gzipped, or a pipe, whose bytes are there once: they are looked at, not taken."""
    with open(0, "rb", closefd=False) if path == STANDARD_INPUT else path.open("rb") as file:
        head = file.peek(HEAD_BYTES)
        if not head.startswith(_GZIP):
            yield _Opened(head, file)
            return
        packed = _Packed(file)
        with gzip.GzipFile(fileobj=cast("BinaryIO", packed), mode="rb") as unzipped:
            yield _Opened(unzipped.peek(HEAD_BYTES), unzipped, packed)


class _Kinds:
    """Faults by their kind: the first three of each, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], list[BadRow]] = {}
        self._count: Counter[tuple[str, str]] = Counter()

    def note(self, row: BadRow) -> None:
        kind = (row.column, _FIGURES.sub("#", row.problem))
        self._count[kind] += 1
        first = self._first.setdefault(kind, [])
        if len(first) < _TOLD_OF_A_KIND:
            first.append(row)

    def told(self) -> list[str]:
        """Return a line for each of the first of a kind, and one for the number of others."""
        lines: list[str] = []
        for kind, first in self._first.items():
            lines += map(str, first)
            if more := self._count[kind] - len(first):
                lines.append(f"and {more:,} more like line {first[-1].line}, {self._count[kind]:,} in all")
        return lines


class _Reading:
    """Rows so far, by start; memory is that of the file's rows."""

    def __init__(self, unit: TimeUnit, step_ms: int | None) -> None:
        self._unit = unit
        self._per_second = unit.per_second
        self._step_ms = step_ms
        self._lines: dict[int, int] = {}
        self._counts = array("q")
        self.texts: dict[int, str] = {}
        self.duplicates = 0
        self.bad: list[BadRow] = []
        self.bad_total = 0
        self.kinds = _Kinds()

    def find_misleading(self, timeframe: Timeframe) -> str | None:
        """Say of which other unit or timeframe the open times look, those of refused rows included."""
        if not self._counts:
            return None
        other = mistaken_unit(self._counts, timeframe, self._unit)
        if other is not None:
            looks = f"its open times look like {other.name.lower()}, not {self._unit.name.lower()}"
            return f"{looks}; allowed: --time-unit {other.value} of gaps and load"
        starts = {start for count in self._counts if (start := self._unit.to_ms(count)) is not None}
        return mistaken_step(sorted(starts), timeframe)

    def take(self, number: int, line: bytes) -> None:
        """Take one line of the file."""
        text = line.rstrip(b"\r\n").decode("ascii", "replace")
        if not text:
            return
        match = _ROW.fullmatch(text)
        if match is None:
            self._refuse(number, *_find_fault(text, self._unit))
            return
        count = int(match[1])
        if count <= _LARGEST:
            self._counts.append(count)
        start, rest = divmod(count * 1_000, self._per_second)
        if rest or start >= _LATEST_MS:
            self._refuse(number, "start_ms", match[1], _no_instant(self._unit))
            return
        if (fault := _check_values(match)) is not None:
            self._refuse(number, *fault)
            return
        if self._step_ms is not None and start % self._step_ms:
            self._refuse(number, "start_ms", match[1], f"is no multiple of the step {self._step_ms} ms")
            return
        known = self.texts.setdefault(start, match[2])
        if self._lines.setdefault(start, number) == number:
            return
        if known == match[2] or _numbers(known) == _numbers(match[2]):
            self.duplicates += 1
        else:
            self._refuse(number, "start_ms", match[1], f"repeats line {self._lines[start]} with other values")

    def _refuse(self, number: int, column: str, value: str, problem: str) -> None:
        row = BadRow(number, column, value[:_SHOWN_LIMIT], problem)
        self.bad_total += 1
        self.kinds.note(row)
        if len(self.bad) < _FAULT_LIMIT:
            self.bad.append(row)


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


def _no_instant(unit: TimeUnit) -> str:
    digits = len(str((_LATEST_MS - 1) * unit.per_second // 1_000))
    return f"is no whole number of {unit.name.lower()} since 1970 (at most {digits} digits)"


def _find_fault(text: str, unit: TimeUnit) -> tuple[str, str, str]:
    """Return column, value and problem of a row that is not six plain numbers."""
    values = text.split(",")
    if len(values) != len(COLUMNS):
        return "row", text, f"has {len(values)} columns; allowed: {_HEADER}"
    if re.fullmatch(_START, values[0]) is None:
        return "start_ms", values[0], _no_instant(unit)
    pairs = zip(COLUMNS[1:], values[1:], strict=True)
    name, value = next(pair for pair in pairs if re.fullmatch(_NUMBER, pair[1]) is None)
    return name, value, "is no finite decimal number >= 0"


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split(",")]


def _shorten(line: bytes) -> str:
    return line[:_SHOWN_LIMIT].decode("ascii", "replace")
