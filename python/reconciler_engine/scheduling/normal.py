"""The normal form of a cron expression: equivalent expressions have the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler_engine.scheduling.calendar import EVERY_DAY, day_table
from reconciler_engine.scheduling.fields import WEEKS, Field, Kind, bits, runs, stepped

_SHORTEST_PROGRESSION = 3


def normal_form(fields: Sequence[Field], months: int) -> str:
    """Return the normal form of six fields; the seconds are left out if they are 0.

    `months` is the mask of months in which a date can match. If it is 0, the month field is written as given.
    """
    second, minute, hour, day, month, weekday = fields
    parts = [_time_field(Kind.SECOND, second, star=_is_regular(Kind.SECOND, second))]
    parts += _clock(minute, hour)
    day_text, weekday_text = _days(day, weekday)
    month = Field(values=months or month.values)
    month_text = _time_field(Kind.MONTH, month, star=_is_regular(Kind.MONTH, month))
    parts += [day_text, month_text, weekday_text]
    return " ".join(parts[1:] if parts[0] == "0" else parts)


def _clock(minute: Field, hour: Field) -> list[str]:
    """Write minute and hour. One begins with `*` if and only if the expression follows the wall clock."""
    follows = minute.star or hour.star
    stars = [follows and _is_regular(Kind.MINUTE, minute), follows and _is_regular(Kind.HOUR, hour)]
    if follows and not any(stars):
        stars = [minute.star, hour.star and not minute.star]
    return [_time_field(Kind.MINUTE, minute, star=stars[0]), _time_field(Kind.HOUR, hour, star=stars[1])]


def _days(day: Field, weekday: Field) -> tuple[str, str]:
    table = day_table(day, weekday)
    if table == EVERY_DAY:
        return "*", "*"
    anything = Field(star=True, values=Kind.DAY.full)
    if table == day_table(day, replace(anything, values=Kind.WEEKDAY.full)):
        return _day_field(Kind.DAY, day, star=_is_regular(Kind.DAY, day)), "*"
    if table == day_table(anything, weekday):
        return "*", _day_field(Kind.WEEKDAY, weekday, star=_is_regular(Kind.WEEKDAY, weekday))
    both = day.star or weekday.star
    stars = [both and _is_regular(Kind.DAY, day), both and _is_regular(Kind.WEEKDAY, weekday)]
    if both and not any(stars):
        stars = [day.star, weekday.star and not day.star]
    return _day_field(Kind.DAY, day, star=stars[0]), _day_field(Kind.WEEKDAY, weekday, star=stars[1])


def _is_regular(kind: Kind, field: Field) -> bool:
    """Return whether `*` or `*/n` selects exactly these values, and there are enough of them to prefer it to a list."""
    values = bits(field.values)
    if len(values) < (_SHORTEST_PROGRESSION if kind is Kind.WEEKDAY else 2):
        return False
    return field.values == stepped(kind.low, kind.high, values[1] - values[0])


def _time_field(kind: Kind, field: Field, *, star: bool) -> str:
    return ",".join(_starred(kind, field.values) if star else _listed(field.values))


def _day_field(kind: Kind, field: Field, *, star: bool) -> str:
    items = _starred(kind, field.values) if star else _listed(field.values)
    items += [f"{day}W" for day in bits(field.nearest)]
    items += ["L"] * field.last + ["LW"] * field.last_weekday
    items += [f"{at // WEEKS}#{at % WEEKS + 1}" for at in bits(field.nth)]
    items += [f"{weekday}L" for weekday in bits(field.last_of)]
    return ",".join(items)


def _starred(kind: Kind, values: int) -> list[str]:
    """Write values as `*`, or as `*/n` with the smallest n that fits and a list of the rest.

    The values include the lowest of the field.
    """
    if values == kind.full:
        return ["*"]
    for step in range(2, kind.high + 2):
        pattern = stepped(kind.low, kind.high, step)
        if pattern & values == pattern:
            return [f"*/{step}", *_listed(values & ~pattern)]
    return _listed(values)


def _listed(values: int) -> list[str]:
    """Write values as a single stepped range if possible, otherwise as ranges and single values."""
    found = bits(values)
    if len(found) >= _SHORTEST_PROGRESSION:
        step = found[1] - found[0]
        if step > 1 and values == stepped(found[0], found[-1], step):
            return [f"{found[0]}-{found[-1]}/{step}"]
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs(values)]
