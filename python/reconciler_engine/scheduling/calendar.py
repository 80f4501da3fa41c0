"""Compute the days that a pair of day fields selects, for each of the 28 shapes of a month.

A month has 28 to 31 days and begins on one of seven weekdays, which makes 28 shapes. A table with a mask of days for
each shape tells which days match, whether any day can match, and whether two pairs of fields are equivalent.
"""

from __future__ import annotations

from datetime import date

from reconciler_engine.scheduling.fields import WEEKS, Field, Kind, bits

WEEK = 7
SHORTEST = 28
# Bit d of a mask stands for day d of the month, so bit 0 is never set.
_WHOLE = tuple((1 << length + 1) - 2 for length in (28, 29, 30, 31))
# Every seventh bit, to spread a week's pattern over a month.
_WEEKLY = sum(1 << WEEK * week for week in range(5))
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FEBRUARY = 2
_SATURDAY = 6

# The ordinal of 1970-01-01 in `datetime.date`.
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

DayTable = tuple[int, ...]
"""28 masks. A month of `length` days whose 1st is weekday `first` (Sunday 0) has index `(length - 28) * 7 + first`."""

EVERY_DAY: DayTable = tuple(whole for whole in _WHOLE for _ in range(WEEK))


def month_length(year: int, month: int) -> int:
    """Return the number of days in a month."""
    if month == _FEBRUARY and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month]


def day_table(day: Field, weekday: Field) -> DayTable:
    """Return the table of two day fields.

    If the text of either field begins with `*`, a day must match both. Otherwise it must match at least one.
    """
    both = day.star or weekday.star
    every_weekday = weekday.values == Kind.WEEKDAY.full
    if day.values == Kind.DAY.full:
        if every_weekday or not both:
            return EVERY_DAY
    elif every_weekday and not both:
        return EVERY_DAY
    if every_weekday and day.is_plain:
        return tuple(day.values & whole for whole in _WHOLE for _ in range(WEEK))
    weekdays = [_weekdays(weekday, first) for first in range(WEEK)]
    table = []
    for whole in _WHOLE:
        length = whole.bit_length() - 1
        for first in range(WEEK):
            selected = day.values if day.is_plain else _days(day, length, first)
            others = weekdays[first]
            if weekday.last_of:
                others |= sum(1 << length - (first + length - 1 - last) % WEEK for last in bits(weekday.last_of))
            table.append((selected & others if both else selected | others) & whole)
    return tuple(table)


def months_that_match(table: DayTable, months: int) -> int:
    """Return the mask of those `months` that have a matching day in any year."""
    matching = 0
    for month in bits(months):
        at = (_LENGTHS[month] - SHORTEST) * WEEK
        stop = at + (2 * WEEK if month == _FEBRUARY else WEEK)
        if any(table[at:stop]):
            matching |= 1 << month
    return matching


def reachable(table: DayTable, months: int) -> DayTable:
    """Return the table with empty masks for all shapes that none of `months` can have."""
    lengths = {_LENGTHS[month] for month in bits(months)} | ({29} if months >> _FEBRUARY & 1 else set())
    return tuple(mask if at // WEEK + SHORTEST in lengths else 0 for at, mask in enumerate(table))


def count_days(table: DayTable, months: int, start: int, stop: int) -> int:
    """Return the number of matching days in `[start, stop)`, in days since 1970-01-01. It takes one step a month."""
    total = 0
    at = start
    while at < stop:
        day = date.fromordinal(at + EPOCH_ORDINAL)
        length = month_length(day.year, day.month)
        first = at - day.day + 1
        if months >> day.month & 1:
            mask = table[(length - SHORTEST) * WEEK + (first + 4) % WEEK]
            mask >>= day.day
            mask &= (1 << min(stop - at, length)) - 1
            total += mask.bit_count()
        at = first + length
    return total


def _weekdays(weekday: Field, first: int) -> int:
    week = weekday.values | weekday.values << WEEK
    mask = (week >> first & (1 << WEEK) - 1) * _WEEKLY << 1
    for at in bits(weekday.nth):
        mask |= 1 << (at // WEEKS - first) % WEEK + at % WEEKS * WEEK + 1
    return mask


def _days(day: Field, length: int, first: int) -> int:
    mask = day.values
    if day.last:
        mask |= 1 << length
    if day.last_weekday:
        mask |= 1 << _nearest_weekday(length, length, first)
    for wanted in bits(day.nearest):
        if wanted <= length:
            mask |= 1 << _nearest_weekday(wanted, length, first)
    return mask


def _nearest_weekday(day: int, length: int, first: int) -> int:
    """Return the day of the month nearest to `day` that is not on a weekend."""
    weekday = (first + day - 1) % WEEK
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
