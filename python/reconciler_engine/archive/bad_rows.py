"""Collects rows that are not candles: keeps the first ones, and counts all of them by kind of mistake."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

SHOWN_LIMIT = 60
"""Most characters of a cell or line that a message shows."""

_KEPT = 1000
_TOLD_OF_A_KIND = 3
_FIGURES = re.compile(r"[0-9][0-9.e+-]*")


@lru_cache(1_024)
def _kind(column: str, problem: str) -> tuple[str, str]:
    return column, _FIGURES.sub("#", problem)


class BadRow(NamedTuple):
    """A row that is not a candle.

    Attributes:
        line: Line number in the file, from 1.
        column: Name of the column; `row` if the mistake is of the whole line.
        value: Text of the cell or line, shortened.
        problem: The mistake, and the allowed values.
    """

    line: int
    column: str
    value: str
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.column} {self.value!r} {self.problem}"


class BadRows:
    """Bad rows of a file, found so far.

    Attributes:
        rows: The first 1,000 bad rows, in file order.
        total: Number of all bad rows.
    """

    def __init__(self) -> None:
        self.rows: list[BadRow] = []
        self.total = 0
        self._first: dict[tuple[str, str], list[BadRow]] = {}
        self._count: dict[tuple[str, str], int] = {}

    def note(self, line: int, column: str, value: str, problem: str) -> None:
        """Add a bad row."""
        self.total += 1
        kind = _kind(column, problem)
        count = self._count[kind] = self._count.get(kind, 0) + 1
        if self.total > _KEPT and count > _TOLD_OF_A_KIND:
            return
        row = BadRow(line, column, value[:SHOWN_LIMIT], problem)
        if self.total <= _KEPT:
            self.rows.append(row)
        if count <= _TOLD_OF_A_KIND:
            self._first.setdefault(kind, []).append(row)

    def told(self) -> list[str]:
        """Return, for each kind of mistake, a line for each of its first three rows and one line for the rest."""
        lines: list[str] = []
        for kind, first in self._first.items():
            lines += map(str, first)
            if more := self._count[kind] - len(first):
                lines.append(f"and {more:,} more like line {first[-1].line}, {self._count[kind]:,} in all")
        return lines
