"""Parses open times in the forms that files use: whole numbers of a unit, or dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar

from reconciler_engine.archive.time_unit import TimeUnit, unit_of

# Milliseconds of 15 digits last until the year 33658 and fit into 64-bit integers and floats. Today's nanoseconds have
# 19 digits, so nanoseconds taken for milliseconds are too late and are noticed.
LATEST_MS = 10**15
"""Bound of open times (ms UTC): an instant must be before it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Only dates that begin with the year: any other order would be a guess.
_SLASHED = re.compile(r"([0-9]{4})[/.]([0-9]{2})[/.]([0-9]{2})(?=[ T]|$)")
_ALLOWED = "allowed: whole numbers, or ISO 8601 such as 2026-01-31T13:00Z"


class NumberClock:
    """Open times as whole numbers of a unit since 1970."""

    pattern: ClassVar[str] = r"[0-9]{1,19}(?:\.0+)?"

    def __init__(self, unit: TimeUnit) -> None:
        self.unit = unit
        self._per_second = unit.per_second

    def count(self, text: str) -> int:
        """Return the number in a cell that matches `pattern`."""
        return int(text if text.isdigit() else text.partition(".")[0])

    def to_ms(self, count: int) -> int | None:
        """Return the instant (ms UTC) of a number; None if it is not a whole millisecond or reaches `LATEST_MS`."""
        instant, rest = divmod(count * 1_000, self._per_second)
        return None if rest or instant >= LATEST_MS else instant

    def problem(self, text: str) -> str:
        """Return the reason why a cell is not an instant."""
        del text
        digits = len(str(self.unit.count(LATEST_MS - 1)))
        return f"is not a whole number of {self.unit.name.lower()} since 1970 (at most {digits} digits)"

    def __str__(self) -> str:
        return self.unit.name.lower()


@dataclass(frozen=True, slots=True)
class DateClock:
    """Open times as ISO 8601 dates, also with slashes or dots between year, month and day.

    `zone` applies to dates without a time zone; None if each date must name its zone.
    """

    zone: tzinfo | None
    unit: ClassVar[TimeUnit] = TimeUnit.MILLISECONDS
    pattern: ClassVar[str] = r"[0-9][0-9A-Za-z:+. /-]{7,39}"

    def count(self, text: str) -> int:
        """Return the instant (ms UTC) in a cell that matches `pattern`; a negative number if there is none."""
        moment = parse_date(text)
        if moment is None:
            return -1
        if moment.tzinfo is None:
            if self.zone is None:
                return -1
            moment = moment.replace(tzinfo=self.zone)
            if self.zone is not UTC and moment.utcoffset() != moment.replace(fold=1).utcoffset():
                return -1
        instant, rest = divmod(moment - _EPOCH, _MILLISECOND)
        return -1 if rest else instant

    def to_ms(self, count: int) -> int | None:
        """Return a result of `count` unchanged, or None if it is negative."""
        return count if count >= 0 else None

    def problem(self, text: str) -> str:
        """Return the reason why a cell is not an instant."""
        moment = parse_date(text)
        if moment is None:
            return f"is not a time; {_ALLOWED}"
        if moment.tzinfo is None and self.zone is None:
            return "has no time zone, but others have; allowed: a zone in each, or --time-zone"
        if moment.tzinfo is None and moment.replace(tzinfo=UTC) >= _EPOCH and not moment.microsecond % 1_000:
            return f"is repeated or skipped by a clock change in zone {self.zone}; allowed: times with their zone"
        return "lies before 1970 or between two milliseconds"

    def __str__(self) -> str:
        return "dates with their zone" if self.zone is None else f"dates in {self.zone}"


Clock = NumberClock | DateClock


def parse_date(text: str) -> datetime | None:
    """Parse an ISO 8601 date, into a datetime without a zone if the text has none; None if it is not a date."""
    text = text.strip()
    if text.endswith((" UTC", " GMT")):
        text = f"{text[:-4]}+00:00"
    try:
        return datetime.fromisoformat(_SLASHED.sub(r"\1-\2-\3", text))
    except ValueError:
        return None


def say_zone_lacks(name: str, cell: str) -> str:
    """Return the error message for a column of dates without a time zone; `cell` is an example."""
    return f"column {name!r}: times such as {cell!r} name no zone; allowed: --time-zone UTC, or another zone"


def recognise_clock(
    name: str, cells: Sequence[str], *, unit: TimeUnit | None, zone: tzinfo | None, named_unit: TimeUnit | None
) -> Clock:
    """Return the clock that parses the times of a column.

    Args:
        name: Name of the column, for messages.
        cells: First cells of the column, in file order.
        unit: Unit of numbers, if the user gives it.
        zone: Time zone of dates without one, if the user or the column's name gives it.
        named_unit: Unit in the column's name, if any.

    Raises:
        ValueError: The cells are not times, or their unit or time zone is unknown; the message names the flags to use.
    """
    for cell in cells:
        if re.fullmatch(NumberClock.pattern, cell):
            found = unit or named_unit or unit_of(int(cell.partition(".")[0]))
            if found is None:
                raise ValueError(
                    f"column {name!r}: {cell} is in no unit an instant between 2009 and 2099; "
                    "allowed: --time-unit s, ms, us or ns"
                )
            return NumberClock(found)
        moment = parse_date(cell)
        if moment is not None and moment.tzinfo is None and zone is None:
            raise ValueError(say_zone_lacks(name, cell))
        if moment is not None:
            return DateClock(None if moment.tzinfo else zone)
    if cells and not (unit or named_unit):
        raise ValueError(f"column {name!r}: {cells[0]!r} is not a time; {_ALLOWED}")
    return NumberClock(unit or named_unit or TimeUnit.MILLISECONDS)
