"""The fields of a cron expression: parse their text into bit masks of values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from enum import Enum
from operator import or_
from types import MappingProxyType
from typing import Self

_WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_SUNDAY = 7
WEEKS = 5

_ITEM = re.compile(r"(?P<first>[^-/]*)(?:-(?P<last>[^-/]*))?(?:/(?P<step>[^/]*))?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_NEAREST = re.compile(r"([0-9]+)W", re.ASCII)
_NTH = re.compile(r"([0-9]+|[A-Za-z]{3})#(.*)", re.ASCII)
_LAST_OF = re.compile(r"([0-9]+|[A-Za-z]{3})[Ll]", re.ASCII)


class Kind(Enum):
    """The six fields in the order of writing. The enum value is the field's name in messages.

    Attributes:
        low: Smallest value.
        high: Largest value, inclusive. Sunday written as 7 becomes 0 after parsing.
        full: The mask of all values.
        names: Numbers of values by their three-letter name in capitals.
    """

    SECOND = "second", 0, 59
    MINUTE = "minute", 0, 59
    HOUR = "hour", 0, 23
    DAY = "day-of-month", 1, 31
    MONTH = "month", 1, 12, _MONTH_NAMES
    WEEKDAY = "day-of-week", 0, 6, _WEEKDAY_NAMES

    low: int
    high: int
    full: int
    names: Mapping[str, int]

    def __new__(cls, name: str, low: int, high: int, names: tuple[str, ...] = ()) -> Self:
        """Make a member from its tuple."""
        made = object.__new__(cls)
        made._value_ = name
        made.low = low
        made.high = high
        made.full = (1 << high + 1) - (1 << low)
        made.names = MappingProxyType({text: at for at, text in enumerate(names, start=low)})
        return made

    @property
    def allowed(self) -> str:
        """Description of the allowed items of this field, for messages."""
        text = f"{self.low}-{_SUNDAY if self is Kind.WEEKDAY else self.high}"
        match self:
            case Kind.DAY:
                return f"{text}, '*', 'L', 'LW' or a day with 'W' (15W)"
            case Kind.MONTH:
                return f"{text}, JAN-DEC or '*'"
            case Kind.WEEKDAY:
                return f"{text}, SUN-SAT, '*', the nth of a month (5#2) or the last (5L)"
            case _:
                return f"{text} or '*'"


_DAY_KINDS = frozenset({Kind.DAY, Kind.WEEKDAY})


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of an expression.

    Attributes:
        field: Name of the field.
        token: The faulty item as written.
        column: Position of its first character in the text, from 1.
        message: Description of the fault and of the allowed values.
    """

    field: str
    token: str
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.field} {self.token!r} at column {self.column}: {self.message}"


class CronError(ValueError):
    """A cron expression was refused; `faults` holds all its faults, left to right."""

    def __init__(self, expression: str, faults: tuple[Fault, ...]) -> None:
        self.expression = expression
        self.faults = faults
        super().__init__(f"cron expression {expression!r} refused: " + "; ".join(str(fault) for fault in faults))

    def __reduce__(self) -> tuple[type[CronError], tuple[str, tuple[Fault, ...]]]:
        return type(self), (self.expression, self.faults)


@dataclass(frozen=True, slots=True)
class Field:
    """Values that a field selects. Bit n of a mask stands for the value n.

    Attributes:
        star: Whether its text begins with `*` or `?`, which decides how the field combines with others.
        values: Mask of plain values.
        last: Whether `L` is selected; this and the next two are for day-of-month only.
        last_weekday: Whether `LW` is selected.
        nearest: Mask of the days written with `W`.
        nth: Mask with bit `weekday * 5 + n - 1` for `weekday#n`; this and the next are for day-of-week (Sunday 0) only.
        last_of: Mask of the weekdays written with `L`.
    """

    star: bool = False
    values: int = 0
    last: bool = False
    last_weekday: bool = False
    nearest: int = 0
    nth: int = 0
    last_of: int = 0

    def union(self, other: Field) -> Field:
        """Return the union of both selections, with the `star` of `self`."""
        _, *ours = astuple(self)
        _, *others = astuple(other)
        return Field(self.star, *map(or_, ours, others))

    @property
    def is_plain(self) -> bool:
        """Whether the field selects plain values only, without L, W or #."""
        return not (self.last or self.last_weekday or self.nearest or self.nth or self.last_of)

    def restricts(self, kind: Kind) -> bool:
        """Return whether this field of `kind` is anything but a plain `*`."""
        return not self.star or self.values != kind.full


def bits(mask: int) -> list[int]:
    """Return the positions of the set bits, ascending."""
    return [at for at in range(mask.bit_length()) if mask >> at & 1]


def runs(mask: int) -> Iterable[tuple[int, int]]:
    """Return the first and the last position of each run of set bits, ascending."""
    return zip(bits(mask & ~(mask << 1)), bits(mask & ~(mask >> 1)), strict=True)


def stepped(first: int, last: int, step: int) -> int:
    """Return the mask of `first`, `first + step`, ... up to `last` (inclusive)."""
    return sum(1 << value for value in range(first, last + 1, step))


_STARS = {kind: Field(star=True, values=kind.full) for kind in Kind}


class FieldReader:
    """Parses fields, and collects their faults and warnings."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[str] = []

    def read(self, kind: Kind, text: str, column: int) -> Field:
        """Parse the field `text` at `column`. Faults are collected, not raised."""
        if text == "*":
            return _STARS[kind]
        # A fast path, since most fields are a single number.
        if text.isascii() and text.isdigit() and kind.low <= int(text) <= kind.high:
            return Field(values=1 << int(text))
        field: Field | None = None
        for written in text.split(","):
            item = _Item(kind, written, column, self)
            selected = item.read()
            field = selected if field is None else field.union(selected)
            column += len(written) + 1
        return field or Field()


class _Item:
    """Parses one item of the comma-separated list in a field."""

    def __init__(self, kind: Kind, written: str, column: int, reader: FieldReader) -> None:
        self._kind = kind
        self._written = written
        self._column = column
        self._reader = reader

    def read(self) -> Field:
        kind = self._kind
        if not self._written:
            return self._refuse(f"an item of the list is missing; allowed: {kind.allowed}")
        special = self._special()
        if special is not None:
            return special
        parts = _ITEM.fullmatch(self._written)
        if parts is None:
            return self._refuse(f"is not a value, a range or a step; allowed: {kind.allowed}")
        first, last, step = parts["first"], parts["last"], parts["step"]
        star = first == "*" or (first == "?" and kind in _DAY_KINDS)
        if not star and last is None:
            return self._single(first, step)
        limits = (kind.low, kind.high) if star and last is None else self._range(first, last)
        every = 1 if step is None else self._step(step, limits)
        if limits is None or every is None:
            return Field()
        return Field(star=star, values=_folded(kind, stepped(*limits, every)))

    def _special(self) -> Field | None:
        if self._kind is Kind.DAY:
            return self._day()
        return self._weekday() if self._kind is Kind.WEEKDAY else None

    def _day(self) -> Field | None:
        """Parse a form that only day-of-month has, or return None."""
        text = self._written.upper()
        if text in {"L", "LW"}:
            return Field(last=text == "L", last_weekday=text == "LW")
        nearest = _NEAREST.fullmatch(text)
        if nearest is None:
            return None
        value = self._value(nearest[1])
        return Field() if value is None else Field(nearest=1 << value)

    def _weekday(self) -> Field | None:
        """Parse a form that only day-of-week has, or return None."""
        nth, last = _NTH.fullmatch(self._written), _LAST_OF.fullmatch(self._written)
        if nth is not None:
            value, week = self._value(nth[1]), nth[2]
            if not _NUMBER.fullmatch(week) or not 1 <= int(week) <= WEEKS:
                return self._refuse(f"{week!r} is not an occurrence in a month; allowed after '#': 1-{WEEKS}")
            return Field() if value is None else Field(nth=1 << value % _SUNDAY * WEEKS + int(week) - 1)
        if last is None:
            return None
        value = self._value(last[1])
        return Field() if value is None else Field(last_of=1 << value % _SUNDAY)

    def _single(self, text: str, step: str | None) -> Field:
        value = self._value(text)
        if value is None:
            return Field()
        if step is not None:
            return self._refuse(f"a step needs a range; write '*/{step}' or '{text}-{self._kind.high}/{step}'")
        return Field(values=_folded(self._kind, 1 << value))

    def _value(self, text: str) -> int | None:
        kind = self._kind
        named = kind.names.get(text.upper())
        if named is not None:
            return named
        if not _NUMBER.fullmatch(text):
            self._refuse(f"{text!r} is not a value; allowed: {kind.allowed}")
            return None
        value = int(text)
        if not kind.low <= value <= (_SUNDAY if kind is Kind.WEEKDAY else kind.high):
            self._refuse(f"{text} is out of range; allowed: {kind.allowed}")
            return None
        return value

    def _range(self, first: str, last: str) -> tuple[int, int] | None:
        low, high = self._value(first), self._value(last)
        if low is None or high is None:
            return None
        if last.upper() == "SUN":
            # As the end of a range, SUN is day 7. SUN-SUN is a single day, not a week.
            low, high = _SUNDAY if first.upper() == "SUN" else low, _SUNDAY
        if high < low:
            kind = self._kind
            self._refuse(f"the range runs backward; write '{first}-{kind.high},{kind.low}-{last}'")
            return None
        return low, high

    def _step(self, text: str, limits: tuple[int, int] | None) -> int | None:
        if not _NUMBER.fullmatch(text) or not text.strip("0"):
            self._refuse(f"step {text!r} is not a whole number above 0")
            return None
        step = int(text)
        if limits is not None and step > max(limits[1] - limits[0], 1):
            self._reader.warnings.append(
                f"{self._kind.value} {self._written!r}: the step is longer than its range, only {limits[0]} matches"
            )
        return step

    def _refuse(self, message: str) -> Field:
        self._reader.faults.append(Fault(self._kind.value, self._written, self._column, message))
        return Field()


def _folded(kind: Kind, values: int) -> int:
    """Replace Sunday written as 7 by 0."""
    return values & kind.full | 1 if kind is Kind.WEEKDAY and values >> _SUNDAY else values
