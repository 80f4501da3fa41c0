"""The ways a file can write its open times: as numbers of a unit, or as dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar

from reconciler_engine.archive.time_unit import TimeUnit, unit_of

# Milliseconds of 15 digits end in the year 33658 and fit every integer and float that meets them later; nanoseconds
# have four digits more than those.
LATEST_MS = 10**15
"""First instant (ms UTC) that is too late."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Years before months: every other order of a date would be a guess.
_SLASHED = re.compile(r"([0-9]{4})[/.]([0-9]{2})[/.]([0-9]{2})(?=[ T]|$)")
_ALLOWED = "allowed: whole numbers, or ISO 8601 such as 2026-01-31T13:00Z"


class NumberClock:
    """Open times as whole numbers of a unit since 1970."""

    pattern: ClassVar[str] = r"[0-9]{1,19}(?:\.0+)?"

    def __init__(self, unit: TimeUnit) -> None:
        self.unit = unit
        self._per_second = unit.per_second

    def count(self, text: str) -> int:
        """Return the number that a cell of the pattern is."""
        return int(text if text.isdigit() else text.partition(".")[0])

    def to_ms(self, count: int) -> int | None:
        """Return the instant (ms UTC) of a count; None if it lies between two milliseconds, or too late."""
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
    """Open times as dates of ISO 8601, also with slashes or dots between year, month and day.

    `zone` applies to dates without a zone; None if each date must name one.
    """

    zone: tzinfo | None
    unit: ClassVar[TimeUnit] = TimeUnit.MILLISECONDS
    pattern: ClassVar[str] = r"[0-9][0-9A-Za-z:+. /-]{7,39}"

    def count(self, text: str) -> int:
        """Return the instant (ms UTC) of a cell of the pattern; a negative number if it is not an instant."""
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
        """Return an instant of `count` from 1970 on, None for others."""
        return count if count >= 0 else None

    def problem(self, text: str) -> str:
        """Return the reason why a cell is not an instant."""
        moment = parse_date(text)
        if moment is None:
            return f"is not a time; {_ALLOWED}"
        if moment.tzinfo is None and self.zone is None:
            return "names no zone, and others do; allowed: a zone in each, or --time-zone"
        if moment.tzinfo is None and moment.replace(tzinfo=UTC) >= _EPOCH and not moment.microsecond % 1_000:
            return f"comes twice or never in zone {self.zone}, where clocks change; allowed: times with their zone"
        return "lies before 1970 or between two milliseconds"

    def __str__(self) -> str:
        return "dates with their zone" if self.zone is None else f"dates in {self.zone}"


Clock = NumberClock | DateClock


def parse_date(text: str) -> datetime | None:
    """Return the moment of an ISO 8601 date, without a zone if the text has none; None if the text is not a date."""
    text = text.strip()
    if text.endswith((" UTC", " GMT")):
        text = f"{text[:-4]}+00:00"
    try:
        return datetime.fromisoformat(_SLASHED.sub(r"\1-\2-\3", text))
    except ValueError:
        return None


def say_zone_lacks(name: str, cell: str) -> str:
    """Return the error for a column of dates without a zone, with one of its cells."""
    return f"column {name!r}: times such as {cell!r} name no zone; allowed: --time-zone UTC, or another zone"


def recognise_clock(
    name: str, cells: Sequence[str], *, unit: TimeUnit | None, zone: tzinfo | None, named_unit: TimeUnit | None
) -> Clock:
    """Return how a column writes its times.

    Args:
        name: Name of the column, for messages.
        cells: Some of its cells, in file order.
        unit: Unit of numbers, if the user says it.
        zone: Zone of dates without one, if the user or the column's name says it.
        named_unit: Unit that the column's name says.

    Raises:
        ValueError: The cells are neither numbers nor dates, or could be several; says the allowed flags.
    """
    for cell in cells:
        if re.fullmatch(NumberClock.pattern, cell):
            found = unit or named_unit or unit_of(int(cell.partition(".")[0]))
            if found is None:
                raise ValueError(
                    f"column {name!r}: {cell} is an instant between 2009 and 2099 in no unit; "
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
