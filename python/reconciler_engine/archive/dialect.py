"""Recognises the dialect of a text file from its first lines: separator, columns, form of times."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC

from reconciler_engine.archive.bad_rows import SHOWN_LIMIT
from reconciler_engine.archive.clocks import Clock, NumberClock, recognise_clock
from reconciler_engine.archive.column_names import (
    choose_columns,
    find_columns,
    is_utc_by_name,
    matches,
    unit_in_name,
)
from reconciler_engine.archive.hints import KINDS, NO_HINTS, VALUES, Hints
from reconciler_engine.archive.naming import spell_symbol
from reconciler_engine.observe.words import counted

HEADER = "start_ms,open,high,low,close,volume"
"""The first line of candle files of our own."""

HEAD_LINES = 24
"""Number of first lines from which a dialect is recognised."""

_NOTES = 4
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
"""Pattern of a price or volume."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of a text file's rows.

    Attributes:
        separator: Character between two columns.
        names: Names of the columns; numbers from 1 in a file without a header.
        places: For each kind that is read, the index of its column.
        clock: Parser of the times.
        first: Line number of the header, from 1; 0 in a file without a header.
        is_newest_first: Whether the first rows are in descending order of time.
        row: Pattern of a row, with a group for each kind.
    """

    separator: str
    names: tuple[str, ...]
    places: Mapping[str, int]
    clock: Clock
    first: int
    is_newest_first: bool
    row: re.Pattern[str]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of values that are read: all five or none."""
        return VALUES if "open" in self.places else ()

    def cells(self, line: str) -> list[str]:
        """Return the cells of a line."""
        return split_line(line, self.separator)

    def name(self, kind: str) -> str:
        """Return the name of a kind's column."""
        return self.names[self.places[kind]]

    def row_of_any_values(self) -> re.Pattern[str]:
        """Return the pattern of a row in which any text may stand for a value."""
        return _row_pattern(
            self.separator, len(self.names), self.places, self.clock, rf'[^{re.escape(self.separator)}"]*'
        )

    def __str__(self) -> str:
        """Describe the dialect in words; empty for our own files, where there is nothing to tell."""
        if self.separator.join(self.names) == HEADER and self.first == 1:
            return ""
        told = [f"{kind} {self.name(kind)!r}" for kind in KINDS if kind in self.places]
        told[0] += f" ({self.clock})"
        if self.separator != ",":
            told.append(f"separated by {_SEPARATORS[self.separator]}")
        if self.first != 1:
            told.append(counted(self.first - 1, "note line") if self.first else "no header")
        if self.is_newest_first:
            told.append("newest first")
        if unread := [name for index, name in enumerate(self.names) if index not in self.places.values()]:
            told.append(f"not read: {', '.join(map(repr, unread))}")
        return ", ".join(told)


def recognise(lines: Sequence[str], hints: Hints, needed: Collection[str], *, symbol: str | None = None) -> Dialect:
    """Return the dialect of a file that begins with these lines.

    Args:
        lines: First lines of the file, without line ends.
        hints: Facts from the user.
        needed: Kinds of columns that the file must have, besides the time.
        symbol: Product id, if known: of two volume columns, the one in its base currency is read.

    Raises:
        ValueError: The header is missing, a needed kind has no column or several, or the times are not recognised; the
            message names the flags to use.
    """
    # Find the header and with it the separator, then split the rows.
    first, separator, names = _find_header(lines, hints)
    rows = [cells for line in lines[first:] if len(cells := split_line(line, separator)) == len(names)]

    def is_number(index: int) -> bool:
        return any(re.fullmatch(NumberClock.pattern, cells[index]) for cells in rows[:1])

    found = find_columns(names, hints.columns, is_number, base=_base(symbol, names, rows))
    places = choose_columns(names, found, ["time", *needed])
    # Recognise the unit of times and the order of rows from the times in the first rows.
    name = names[places["time"]]
    times = [cells[places["time"]] for cells in rows]
    clock = recognise_clock(
        name,
        times,
        unit=hints.unit,
        zone=hints.zone or (UTC if is_utc_by_name(name) else None),
        named_unit=unit_in_name(name),
    )
    counts = [clock.count(time) for time in times if re.fullmatch(clock.pattern, time)]
    return Dialect(
        separator=separator,
        names=tuple(names),
        places=places,
        clock=clock,
        first=first,
        is_newest_first=counts[:1] > counts[-1:],
        row=_row_pattern(separator, len(names), places, clock),
    )


def split_line(line: str, separator: str) -> list[str]:
    """Return the cells of a line, without the quotes and spaces around them."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return line.split(separator)


def _find_header(lines: Sequence[str], hints: Hints) -> tuple[int, str, list[str]]:
    """Return the number of lines before the first row, the separator, and the names of the columns."""
    said = hints.columns.values()
    for number, line in enumerate(lines[: _NOTES + 1], start=1):
        splits = [(sign, split_line(line, sign)) for sign in _SEPARATORS]
        fitting = [
            (sign, names)
            for sign, names in splits
            if (set(said) <= set(names) if said else any(matches("time", name) for name in names))
        ]
        if fitting:
            return number, *max(fitting, key=lambda split: len(split[1]))
    if said and all(name.isdigit() for name in said) and lines:
        sign, cells = max(((sign, split_line(lines[0], sign)) for sign in _SEPARATORS), key=lambda split: len(split[1]))
        return 0, sign, [str(index) for index in range(1, len(cells) + 1)]
    header = lines[0] if lines else ""
    hint = ""
    if header[:1].isdigit():
        numbered = ",".join(f"{kind}={index}" for index, kind in enumerate(("time", *VALUES), start=1))
        hint = f"; the file has no header: put {HEADER!r} before its first line, or say --columns {numbered}"
    elif said:
        hint = f"; no line has the names of --columns ({', '.join(said)})"
    raise ValueError(f"line 1: header {header[:SHOWN_LIMIT]!r} is not {HEADER!r}, and names no column of times{hint}")


def _base(symbol: str | None, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Return the base currency of the product id, or of the product id in the first row."""
    places = find_columns(names, {}, lambda _: False).get("symbol", ())
    if symbol is None and len(places) == 1 and rows:
        with suppress(ValueError):
            symbol = spell_symbol(rows[0][places[0]])
    return symbol and symbol.split("-")[0]


def _row_pattern(
    separator: str, columns: int, places: Mapping[str, int], clock: Clock, value: str = NUMBER
) -> re.Pattern[str]:
    """Return the pattern of a whole row; a cell may have quotes and spaces around it."""
    sign = re.escape(separator)
    cells = [rf'(?:"[^"]*"|[^{sign}"]*)'] * columns
    patterns = {"time": clock.pattern, **dict.fromkeys(VALUES, value)}
    for kind, index in places.items():
        cells[index] = rf' *"?(?P<{kind}>{patterns.get(kind, rf"""[^{sign}"]*""")})"? *'
    return re.compile(sign.join(cells))


OWN = recognise([HEADER], NO_HINTS, VALUES)
"""Dialect of our own files."""
