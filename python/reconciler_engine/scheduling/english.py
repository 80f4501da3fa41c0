"""Describe cron fields in an English sentence, for logs and help."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.scheduling.calendar import EVERY_DAY, day_table
from reconciler_engine.scheduling.fields import WEEKS, Field, Kind, bits, runs, stepped

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("", "January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_MOST_TIMES = 6
_LONGEST_LIST = 2


def sentence(fields: Sequence[Field]) -> str:
    """Return a description of six fields, such as `At 09:30 on Monday to Friday`."""
    second, minute, hour, day, month, weekday = fields
    parts = [_clock(second, minute, hour), _days(day, weekday)]
    if month.values != Kind.MONTH.full:
        parts.append("in " + _list(month.values, _MONTHS))
    text = " ".join(part for part in parts if part)
    return text[0].upper() + text[1:]


def _clock(second: Field, minute: Field, hour: Field) -> str:
    times = second.values.bit_count() * minute.values.bit_count() * hour.values.bit_count()
    if times <= _MOST_TIMES:
        seconds = second.values != 1
        return "at " + _join(
            [
                f"{h:02}:{m:02}:{s:02}" if seconds else f"{h:02}:{m:02}"
                for h in bits(hour.values)
                for m in bits(minute.values)
                for s in bits(second.values)
            ]
        )
    parts = []
    if second.values != 1:
        parts.append(_unit(Kind.SECOND, second))
    if minute.values != Kind.MINUTE.full:
        parts.append(_unit(Kind.MINUTE, minute))
    elif not parts or not parts[0].startswith("every"):
        parts.append("every minute")
    if hour.values != Kind.HOUR.full:
        parts.append(_unit(Kind.HOUR, hour))
    elif not parts[-1].startswith("every"):
        parts.append("every hour")
    text = " of ".join(parts)
    return text if text.startswith("every") else f"at {text}"


def _unit(kind: Kind, field: Field) -> str:
    name = kind.value
    values = bits(field.values)
    if field.values == kind.full:
        return f"every {name}"
    if len(values) > 1:
        step = values[1] - values[0]
        even = (kind.high + 1) % step == 0
        if even and step > 1 and field.values == stepped(0, kind.high, step):
            ending = {2: "nd", 3: "rd"}.get(step, "th")
            return f"every {step} {name}s" if kind is not Kind.HOUR else f"every {step}{ending} hour"
    return f"{name}{'s' if len(values) > 1 else ''} {_list(field.values)}"


def _days(day: Field, weekday: Field) -> str:
    if day_table(day, weekday) == EVERY_DAY:
        return ""
    dates, weekdays = _dates(day), _weekday_list(weekday)
    if not day.restricts(Kind.DAY):
        return f"on {weekdays}"
    if not weekday.restricts(Kind.WEEKDAY):
        return f"on {dates} of the month"
    if day.star or weekday.star:
        return f"on {dates} of the month if it is {weekdays}"
    return f"on {dates} of the month or on {weekdays}"


def _dates(day: Field) -> str:
    items = []
    if day.values:
        items.append(f"day{'s' if day.values.bit_count() > 1 else ''} {_list(day.values)}")
    items += [f"the weekday nearest to day {wanted}" for wanted in bits(day.nearest)]
    items += ["the last day"] * day.last + ["the last weekday"] * day.last_weekday
    return _join(items)


def _weekday_list(weekday: Field) -> str:
    items = [_list(weekday.values, _WEEKDAYS)] if weekday.values else []
    items += [f"the {_ORDINALS[at % WEEKS]} {_WEEKDAYS[at // WEEKS]} of the month" for at in bits(weekday.nth)]
    items += [f"the last {_WEEKDAYS[at]} of the month" for at in bits(weekday.last_of)]
    return _join(items)


def _list(values: int, names: Sequence[object] = range(Kind.MINUTE.high + 1)) -> str:
    items: list[str] = []
    for first, last in runs(values):
        said = [str(name) for name in names[first : last + 1]]
        items += said if len(said) <= _LONGEST_LIST else [f"{said[0]} to {said[-1]}"]
    return _join(items)


def _join(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + f" and {items[-1]}"
