"""The wall-clock times that an expression matches, without regard to time zones.

A wall second is a wall clock's reading as a number: the seconds from its 1970-01-01 00:00, without offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from reconciler_engine.scheduling.calendar import (
    EPOCH_ORDINAL,
    EVERY_DAY,
    SHORTEST,
    WEEK,
    DayTable,
    count_days,
    day_table,
    month_length,
    months_that_match,
    reachable,
)
from reconciler_engine.scheduling.fields import Field, Kind

DAY_S = 86_400
# The last day of `datetime.date`, 9999-12-31, in days since 1970-01-01.
_LAST_DAY = date.max.toordinal() - EPOCH_ORDINAL
_LAST_YEAR = date.max.year


class WallTimes:
    """Wall seconds that six fields match. A search uses bit arithmetic within a day, and one step for each month."""

    __slots__ = (
        "_clock_first",
        "_every_day",
        "_hours",
        "_minute_first",
        "_minutes",
        "_months",
        "_second_first",
        "_seconds",
        "_table",
    )

    def __init__(self, fields: Sequence[Field]) -> None:
        second, minute, hour, day, month, weekday = fields
        self._seconds = second.values
        self._minutes = minute.values
        self._hours = hour.values
        self._table = day_table(day, weekday)
        self._months = months_that_match(self._table, month.values)
        self._every_day = self._table is EVERY_DAY and month.values == Kind.MONTH.full
        # The first match of a minute, of an hour and of a day, in seconds from its beginning.
        self._second_first = _lowest(self._seconds)
        self._minute_first = _lowest(self._minutes) * 60 + self._second_first
        self._clock_first = _lowest(self._hours) * 3_600 + self._minute_first

    @property
    def is_empty(self) -> bool:
        """Whether no date can ever match."""
        return self._months == 0

    @property
    def months(self) -> int:
        """Mask of the months that have a match in any year."""
        return self._months

    @property
    def meaning(self) -> tuple[int, int, int, int, DayTable]:
        """Key that is equal for two instances if and only if they match the same wall seconds."""
        if self.is_empty:
            return 0, 0, 0, 0, ()
        table = reachable(self._table, self._months)
        return self._seconds, self._minutes, self._hours, self._months, table

    def first_from(self, wall: int) -> int | None:
        """Return the first match at or after `wall`, or None if there is none before the year 10000."""
        day, clock = divmod(wall, DAY_S)
        matching = day if self._every_day else self._day_from(day)
        if matching == day:
            ahead = self._wait(clock)
            if ahead is not None:
                return wall + ahead
            matching = self._day_from(day + 1)
        return None if matching is None else matching * DAY_S + self._clock_first

    def _wait(self, clock: int) -> int | None:
        """Return the seconds from `clock` (s of the day) to the first match at or after it on this day, or None."""
        hour, rest = divmod(clock, 3_600)
        if self._hours >> hour & 1:
            minute, second = divmod(rest, 60)
            if self._minutes >> minute & 1:
                ahead = self._seconds >> second
                if ahead:
                    return (ahead & -ahead).bit_length() - 1
            ahead = self._minutes >> minute + 1
            if ahead:
                return (ahead & -ahead).bit_length() * 60 + self._second_first - second
        ahead = self._hours >> hour + 1
        return (ahead & -ahead).bit_length() * 3_600 + self._minute_first - rest if ahead else None

    def count(self, start: int, stop: int) -> int:
        """Return the number of matches in `[start, stop)`. The cost is one step for each month."""
        if stop <= start:
            return 0
        first, first_clock = divmod(start, DAY_S)
        last, last_clock = divmod(stop, DAY_S)
        days = last - first if self._every_day else count_days(self._table, self._months, first, last)
        total = days * self._hours.bit_count() * self._minutes.bit_count() * self._seconds.bit_count()
        if first_clock and self._matches_day(first):
            total -= self._count_before(first_clock)
        if last_clock and self._matches_day(last):
            total += self._count_before(last_clock)
        return total

    def _matches_day(self, day: int) -> bool:
        return self._day_from(day) == day

    def _count_before(self, clock: int) -> int:
        hour, rest = divmod(clock, 3_600)
        minute, second = divmod(rest, 60)
        each_minute = self._seconds.bit_count()
        total = _below(self._hours, hour) * self._minutes.bit_count() * each_minute
        if self._hours >> hour & 1:
            total += _below(self._minutes, minute) * each_minute
            if self._minutes >> minute & 1:
                total += _below(self._seconds, second)
        return total

    def _day_from(self, day: int) -> int | None:
        """Return the first matching day at or after `day` (days since 1970-01-01)."""
        if day > _LAST_DAY:
            return None
        if self._every_day:
            return day
        at = date.fromordinal(day + EPOCH_ORDINAL)
        year, month, behind = at.year, at.month, at.day
        first = day - behind + 1
        months = self._months
        if months >> month & 1:
            # The weekday of day 0, a Thursday, is 4.
            ahead = self._table[(month_length(year, month) - SHORTEST) * WEEK + (first + 4) % WEEK] >> behind
            if ahead:
                return day + (ahead & -ahead).bit_length() - 1
        while True:
            ahead = months >> month + 1
            if ahead:
                month += (ahead & -ahead).bit_length()
            else:
                year += 1
                month = _lowest(months)
                if year > _LAST_YEAR or not months:
                    return None
            first = date(year, month, 1).toordinal() - EPOCH_ORDINAL
            ahead = self._table[(month_length(year, month) - SHORTEST) * WEEK + (first + 4) % WEEK]
            if ahead:
                return first + (ahead & -ahead).bit_length() - 2


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _below(mask: int, bit: int) -> int:
    return (mask & (1 << bit) - 1).bit_count()
