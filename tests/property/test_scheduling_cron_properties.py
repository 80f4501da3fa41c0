"""Cron expressions against a brute force that knows only `datetime`, `calendar` and the grammar."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler_engine.scheduling.cron import CronError, CronExpression, NoNextSlot
from reconciler_engine.scheduling.zones import offset_at

ZONES = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "UTC",
]
MINUTE = 60
FIRST = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2035, 12, 28, tzinfo=UTC).timestamp())
# Samoa skipped the 30th of December 2011.
APIA = int(datetime(2011, 12, 30, 10, tzinfo=UTC).timestamp())
WALK = 2 * 1_440

LOW = {"minute": 0, "hour": 0, "day": 1, "month": 1, "weekday": 0}
HIGH = {"minute": 59, "hour": 23, "day": 31, "month": 12, "weekday": 6}


@cache
def changes(zone: str) -> list[int]:
    """The instants (s) at which a zone's offset changes, by looking every day and halving."""
    found = [APIA] if zone == "Pacific/Apia" else []
    tz = ZoneInfo(zone)
    for left in range(FIRST, LAST, 86_400):
        low, high = left, left + 86_400
        before = offset_at(tz, low)
        if offset_at(tz, high) == before:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset_at(tz, middle) == before else (low, middle)
        found.append(high)
    return found


@cache
def selected(text: str, name: str) -> frozenset[int]:
    """The plain values of a field, straight from its text."""
    values: set[int] = set()
    for item in text.split(","):
        body, _, step = item.partition("/")
        first, _, last = body.partition("-")
        low, high = (LOW[name], HIGH[name]) if body in "*?" else (int(first), int(last or first))
        values.update(range(low, high + 1, int(step or 1)))
    return frozenset(values)


@cache
def working_days(year: int, month: int) -> list[int]:
    """The days of a month from Monday to Friday."""
    length = calendar.monthrange(year, month)[1]
    return [day for day in range(1, length + 1) if date(year, month, day).weekday() < 5]


def day_matches(text: str, at: date) -> bool:
    length = calendar.monthrange(at.year, at.month)[1]
    for item in text.split(","):
        if item == "L":
            hit = at.day == length
        elif item == "LW":
            hit = at.day == working_days(at.year, at.month)[-1]
        elif item.endswith("W"):
            wanted = int(item[:-1])
            near = working_days(at.year, at.month)
            hit = wanted <= length and at.day == min(near, key=lambda day: (abs(day - wanted), day))
        else:
            hit = at.day in selected(item, "day")
        if hit:
            return True
    return False


def weekday_matches(text: str, at: date) -> bool:
    weekday = (at.weekday() + 1) % 7
    for item in text.split(","):
        if "#" in item:
            wanted, _, week = item.partition("#")
            hit = weekday == int(wanted) % 7 and (at.day + 6) // 7 == int(week)
        elif item.endswith("L"):
            next_week = at + timedelta(days=7)
            hit = weekday == int(item[:-1]) % 7 and next_week.month != at.month
        else:
            hit = weekday in {value % 7 for value in selected(item, "weekday")}
        if hit:
            return True
    return False


def date_matches(fields: list[str], at: date) -> bool:
    _, _, day, month, weekday = fields
    if at.month not in selected(month, "month"):
        return False
    both = day[0] in "*?" or weekday[0] in "*?"
    hits = day_matches(day, at), weekday_matches(weekday, at)
    return all(hits) if both else any(hits)


class Walk:
    """Fires by looking at every minute of a zone."""

    def __init__(self, text: str, tz: ZoneInfo) -> None:
        self.fields = text.split()
        self.minutes = selected(self.fields[0], "minute")
        self.hours = selected(self.fields[1], "hour")
        self.follows = "*" in {self.fields[0][0], self.fields[1][0]}
        self.tz = tz
        self.dates: dict[date, bool] = {}

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        day = wall.date()
        if day not in self.dates:
            self.dates[day] = date_matches(self.fields, day)
        return self.dates[day]

    def fires(self, minute: int) -> bool:
        wall = datetime.fromtimestamp(minute * MINUTE, self.tz)
        if self.follows:
            return self.matches(wall)
        if self.matches(wall) and wall.fold == 0:
            return True
        earlier = datetime.fromtimestamp(minute * MINUTE - MINUTE, self.tz).replace(tzinfo=None)
        skipped = earlier + timedelta(minutes=1)
        while skipped < wall.replace(tzinfo=None):
            if self.matches(skipped):
                return True
            skipped += timedelta(minutes=1)
        return False

    def slots(self, after: int, minutes: int) -> list[int]:
        first = after // MINUTE + 1
        return [minute * MINUTE for minute in range(first, first + minutes) if self.fires(minute)]


def spans(name: str) -> st.SearchStrategy[str]:
    value = st.integers(LOW[name], HIGH[name])
    pair = st.tuples(value, value).map(sorted)
    return st.one_of(
        value.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(pair, st.integers(1, 40)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
    )


def field(name: str, special: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[str]:
    items = spans(name) if special is None else st.one_of(spans(name), special)
    listed = st.lists(items, min_size=1, max_size=3).map(",".join)
    star = st.one_of(st.just("*"), st.integers(1, HIGH[name] + 3).map(lambda step: f"*/{step}"))
    both = st.tuples(star, listed).map(",".join)
    return st.one_of(st.just("*"), listed, star, both)


DAYS = st.one_of(st.sampled_from(["L", "LW"]), st.integers(1, 31).map(lambda day: f"{day}W"))
WEEKDAYS = st.one_of(
    st.tuples(st.integers(0, 7), st.integers(1, 5)).map(lambda drawn: f"{drawn[0]}#{drawn[1]}"),
    st.integers(0, 7).map(lambda weekday: f"{weekday}L"),
)
DATES = st.tuples(field("day", DAYS), field("month"), field("weekday", WEEKDAYS)).map(" ".join)
EVERY_DATE = st.just("* * *")
TIMES = st.tuples(field("minute"), st.one_of(field("hour"), st.sampled_from(["0-4", "1", "2", "1,2", "23,0-3"])))
EXPRESSIONS = st.tuples(TIMES.map(" ".join), st.one_of(EVERY_DATE, EVERY_DATE, DATES)).map(" ".join)
SIX = st.tuples(field("minute"), EXPRESSIONS).map(" ".join)

# So coarse that equal ones are drawn often.
COARSE = st.tuples(
    st.sampled_from(["0", "*/60", "0-59", "*"]),
    st.sampled_from(["0", "*", "0-23"]),
    st.sampled_from(["*", "1-31", "28-31,L", "28-31", "8-14", "L"]),
    st.sampled_from(["*", "2", "1-12"]),
    st.sampled_from(["*", "0-6", "0", "0#2", "*/7", "7"]),
).map(" ".join)


@st.composite
def zoned_instants(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and an instant (s), often close to a clock change."""
    zone = draw(st.sampled_from(ZONES))
    near = draw(st.integers(0, 3))
    if changes(zone) and near:
        return zone, draw(st.sampled_from(changes(zone))) + draw(st.integers(-30 * 3_600, 4 * 3_600))
    return zone, draw(st.integers(FIRST, LAST))


@given(EXPRESSIONS, zoned_instants())
@example("30 2 * * *", ("America/New_York", 1_772_953_200))
@example("*/30 0-1 * 11 *", ("America/New_York", 1_793_509_200 + 5_400))
@example("0 12 30 12 *", ("Pacific/Apia", APIA - 3_600))
@example("15 2 * * *", ("Australia/Lord_Howe", 1_791_039_600))
def test_agrees_with_a_walk_over_every_minute(text: str, zoned: tuple[str, int]) -> None:
    zone, after = zoned
    expression, tz = CronExpression.parse(text), ZoneInfo(zone)
    walked = Walk(text, tz).slots(after, WALK)
    found = list(islice(expression.slots_after(after * 1_000, tz), len(walked) + 1))
    assert [slot // 1_000 for slot in found[: len(walked)]] == walked
    end = (after // MINUTE + WALK) * MINUTE * 1_000
    assert len(found) == len(walked) or found[-1] > end
    assert expression.count(after * 1_000, end, tz) == len(walked)


@given(DATES, st.integers(2020, 2034))
def test_dates_agree_with_a_walk_over_every_day(dates: str, year: int) -> None:
    expression = CronExpression.parse(f"0 0 {dates}")
    days = [date(year, 1, 1) + timedelta(days=ahead) for ahead in range(366)]
    expected = [day for day in days if date_matches(f"0 0 {dates}".split(), day)]
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000
    slots = islice(expression.slots_after(begin - 1), len(expected))
    assert [datetime.fromtimestamp(slot / 1_000, UTC).date() for slot in slots] == expected
    if expected:
        assert not expression.never_fires
    assert expression.count(begin - 1, begin + 365 * 86_400_000) == len(expected)


@given(DATES)
def test_never_fires_is_exact(dates: str) -> None:
    expression = CronExpression.parse(f"0 0 {dates}")
    fields = f"0 0 {dates}".split()
    # Any date that exists at all exists within 40 years (a 29th of February on a given weekday, over 2100).
    anything = any(date_matches(fields, date(2080, 1, 1) + timedelta(days=ahead)) for ahead in range(41 * 366))
    assert expression.never_fires != anything


@given(st.one_of(EXPRESSIONS, SIX))
def test_the_normal_form_means_the_same(text: str) -> None:
    expression = CronExpression.parse(text)
    twin = CronExpression.parse(str(expression))
    assert twin == expression
    assert hash(twin) == hash(expression)
    assert str(twin) == str(expression)
    assert twin.follows_wall_clock == expression.follows_wall_clock or expression.never_fires
    assert expression.describe()


@given(SIX, zoned_instants())
def test_slots_increase_strictly_and_are_counted(text: str, zoned: tuple[str, int]) -> None:
    zone, after = zoned
    expression, tz = CronExpression.parse(text), ZoneInfo(zone)
    previous = after * 1_000
    slots = list(islice(expression.slots_after(previous, tz), 50))
    for slot in slots:
        assert slot > previous
        previous = slot
    if slots:
        assert expression.count(after * 1_000, slots[-1], tz) == len(slots)
        assert expression.next_after(slots[-1] - 1, tz) == slots[-1]


@given(COARSE, COARSE, st.integers(FIRST, LAST))
def test_equal_expressions_fire_alike(one: str, other: str, after: int) -> None:
    left, right = CronExpression.parse(one), CronExpression.parse(other)
    tz = ZoneInfo("America/New_York")
    if left == right:
        instant = after * 1_000
        assert list(islice(left.slots_after(instant, tz), 5)) == list(islice(right.slots_after(instant, tz), 5))


@given(st.text(alphabet="0123456789*,-/LW#?@ JANSUFRIdaily", max_size=30))
def test_any_text_is_parsed_or_refused_with_its_place(text: str) -> None:
    try:
        expression = CronExpression.parse(text)
    except CronError as refused:
        for fault in refused.faults:
            assert text.startswith(fault.token, fault.column - 1)
        return
    try:
        assert expression.next_after(0) > 0
    except NoNextSlot:
        assert expression.never_fires
