"""Cron expressions: parse, compare, and find the next slot.

Changes of offset are handled as in Debian's cron (Vixie cron). The syntax is that of the Open Cron Pattern
Specification 1.0. A slot is an instant at which an expression fires. Pure: no function here reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, tzinfo

from reconciler_engine.scheduling.english import sentence
from reconciler_engine.scheduling.fields import CronError, Fault, Field, FieldReader, Kind
from reconciler_engine.scheduling.normal import normal_form
from reconciler_engine.scheduling.wall import DAY_S, WallTimes
from reconciler_engine.scheduling.zones import FIRST_S, LAST_S, OffsetInterval, span_at

__all__ = ["CronError", "CronExpression", "Fault", "NoNextSlot"]

# Longer than any change of offset, and shorter than the margin within which a span knows offset changes.
_NEAR_S = 2 * DAY_S
_LONGEST_TEXT = 1_024
_TOKEN = re.compile(r"\S+", re.ASCII)
_NICKNAMES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}


class NoNextSlot(ValueError):
    """An expression has no slot between an instant (ms UTC) and June of the year 9999, where the computation ends."""

    def __init__(self, expression: str, instant: int) -> None:
        self.expression = expression
        self.instant = instant
        super().__init__(f"cron expression {expression!r} never fires after {instant} ms")

    def __reduce__(self) -> tuple[type[NoNextSlot], tuple[str, int]]:
        return type(self), (self.expression, self.instant)


class CronExpression:
    """An immutable schedule, made by `parse`.

    Two expressions are equal if they fire at the same instants in every zone, even if their texts differ.
    `str()` gives a normal form that parses to an equal expression.
    """

    __slots__ = ("_fields", "_follows", "_text", "_wall", "_warnings")

    _fields: tuple[Field, ...]
    _follows: bool
    _text: str
    _wall: WallTimes
    _warnings: tuple[str, ...]

    def __init__(self, text: str) -> None:
        raise TypeError(f"build an expression with CronExpression.parse({text!r})")

    @classmethod
    def parse(cls, text: str) -> CronExpression:
        """Parse five fields, six fields with seconds first, or a nickname such as `@daily`.

        An expression that can never fire is accepted here (see `never_fires`), but refused by `Job`.

        Raises:
            CronError: The text is invalid; the error holds all its faults, left to right.
        """
        reader = FieldReader()
        fields = tuple(reader.read(kind, token, column) for kind, token, column in _split(text))
        if reader.faults:
            raise CronError(text, tuple(reader.faults))
        _, minute, hour, day, _, weekday = fields
        if (day.star or weekday.star) and day.restricts(Kind.DAY) and weekday.restricts(Kind.WEEKDAY):
            reader.warnings.append(
                "day-of-month or day-of-week begins with '*', so both must match; "
                "other schedulers fire when either does"
            )
        made = object.__new__(cls)
        put = object.__setattr__
        put(made, "_text", text)
        put(made, "_fields", fields)
        put(made, "_warnings", tuple(reader.warnings))
        put(made, "_follows", minute.star or hour.star)
        put(made, "_wall", WallTimes(fields))
        return made

    @property
    def text(self) -> str:
        """The expression as it was written."""
        return self._text

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about parts of the expression that may surprise, one sentence each."""
        return self._warnings

    @property
    def never_fires(self) -> bool:
        """Whether no date of the calendar can match (`0 0 30 2 *`)."""
        return self._wall.is_empty

    def ensure_fires(self) -> None:
        """Refuse an expression that can never fire.

        Raises:
            CronError: No date of the calendar matches.
        """
        if self.never_fires:
            _, _, _, (_, day, column), (_, month, _), (_, weekday, _) = _split(self._text)
            message = (
                f"never fires: no date has day-of-month {day!r} in month {month!r} with day-of-week {weekday!r}; "
                "allowed: fields that some date matches"
            )
            raise CronError(self._text, (Fault(Kind.DAY.value, day, column, message),))

    @property
    def follows_wall_clock(self) -> bool:
        """Whether the text of the minute or the hour begins with `*`. It matters when the zone's offset changes.

        If True, the expression fires at every matching minute that the wall clock shows: not in the skipped hour of
        spring, and twice in the repeated hour of autumn. If False, its times are fixed: matching times in the skipped
        hour give one slot at the first minute after it, and those in the repeated hour fire the first time only.
        """
        return self._follows

    def describe(self) -> str:
        """Return a description in an English sentence, without a full stop."""
        return sentence(self._fields)

    def next_after(self, instant: int, tz: tzinfo = UTC) -> int:
        """Return the first slot strictly after `instant` (both ms UTC) on the wall clock of `tz`.

        Raises:
            NoNextSlot: There is no slot before June of the year 9999.
            ValueError: `instant` lies before June of the year 1.
        """
        second = instant // 1_000 + 1
        if second < FIRST_S:
            raise ValueError(f"instant {instant} lies before June of the year 1")
        found = self._wall.first_from(second) if tz is UTC else self._first_from(second, tz)
        if found is None or found > LAST_S:
            raise NoNextSlot(self._text, instant)
        return found * 1_000

    def slots_after(self, instant: int, tz: tzinfo = UTC) -> Iterator[int]:
        """Yield all slots after `instant` (ms UTC), ascending."""
        while True:
            try:
                instant = self.next_after(instant, tz)
            except NoNextSlot:
                return
            yield instant

    def count(self, after: int, until: int, tz: tzinfo = UTC) -> int:
        """Return the number of slots in `(after, until]` (ms UTC).

        The cost grows with the number of months and clock changes in between, not with the number of slots. Instants
        outside the range of `next_after` are clamped to it.
        """
        second = max(after // 1_000 + 1, FIRST_S)
        stop = min(until // 1_000, LAST_S) + 1
        if tz is UTC:
            return self._wall.count(second, stop)
        total = 0
        while second < stop:
            span = span_at(tz, second)
            end = min(span.stop, stop)
            start, wall_stop = second + span.offset, end + span.offset
            if not self._follows:
                lands = start <= span.landing < wall_stop and self._lands(span)
                if lands and self._wall.first_from(span.landing) != span.landing:
                    total += 1
                start = max(start, span.fresh)
            total += self._wall.count(start, wall_stop)
            second = end
        return total

    def _first_from(self, second: int, tz: tzinfo) -> int | None:
        """Return the first slot at or after `second` (s UTC) in a zone whose offset may change."""
        while second <= LAST_S:
            span = span_at(tz, second)
            wall = second + span.offset
            if self._follows:
                found = self._wall.first_from(wall)
            else:
                found = self._wall.first_from(max(wall, span.fresh))
                if wall <= span.landing and self._lands(span):
                    found = span.landing if found is None else min(found, span.landing)
            if found is None:
                return None
            slot = found - span.offset
            if slot < span.stop:
                return slot
            # No slot in this span. Close to its end, a repeated hour may show times before `wall` again, so the next
            # span is searched. Otherwise no wall time before `found` matches, and the search continues near it.
            second = span.stop if span.stop - second <= _NEAR_S else max(span.stop, slot - _NEAR_S)
        return None

    def _lands(self, span: OffsetInterval) -> bool:
        """Return whether a matching wall time lies in the skipped hour before `span`."""
        found = self._wall.first_from(span.gap)
        return found is not None and found < span.landing

    def _meaning(self) -> object:
        return not self.never_fires and self._follows, self._wall.meaning

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CronExpression):
            return NotImplemented
        return self._meaning() == other._meaning()

    def __hash__(self) -> int:
        return hash(self._meaning())

    def __str__(self) -> str:
        return normal_form(self._fields, self._wall.months)

    def __repr__(self) -> str:
        return f"CronExpression.parse({self._text!r})"

    def __reduce__(self) -> tuple[Callable[[str], CronExpression], tuple[str]]:
        return CronExpression.parse, (self._text,)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an expression is immutable; {name} cannot be set")


def _split(text: str) -> list[tuple[Kind, str, int]]:
    """Return each field's kind, text and column, seconds first.

    Raises:
        CronError: The text is not a nickname and does not have five or six fields.
    """
    if len(text) > _LONGEST_TEXT:
        raise _whole(text[:_LONGEST_TEXT], f"is {len(text)} characters long; allowed: {_LONGEST_TEXT}")
    tokens = [(match[0], match.start() + 1) for match in _TOKEN.finditer(text)]
    if tokens and tokens[0][0].startswith("@"):
        nickname, column = tokens[0]
        known = _NICKNAMES.get(nickname.upper())
        if known is None or len(tokens) > 1:
            allowed = ", ".join(name.lower() for name in _NICKNAMES)
            raise _whole(text, f"is not a nickname; allowed: {allowed}, each alone")
        tokens = [(token, column) for token in known.split()]
    if len(tokens) == len(Kind) - 1:
        tokens.insert(0, ("0", 1))
    if len(tokens) != len(Kind):
        count = f"{len(tokens)} field{'' if len(tokens) == 1 else 's'}"
        raise _whole(
            text,
            f"has {count}; allowed: 5 (minute hour day-of-month month day-of-week), 6 (second before them) "
            "or a nickname such as @daily",
        )
    return [(kind, token, column) for kind, (token, column) in zip(Kind, tokens, strict=True)]


def _whole(text: str, message: str) -> CronError:
    begin = len(text) - len(text.lstrip()) + 1
    return CronError(text, (Fault("expression", text.strip(), begin, message),))
