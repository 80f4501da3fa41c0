"""Cron expressions: those accepted and their meaning, those refused and the words for it."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from itertools import islice

import pytest

from reconciler_engine.scheduling.cron import CronError, CronExpression, NoNextSlot


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


def fires(text: str, after: str, count: int) -> list[str]:
    """The first slots after an instant, in UTC, to the minute or the second as the expression has them."""
    slots = islice(CronExpression.parse(text).slots_after(instant(after)), count)
    unit = "seconds" if len(text.split()) == 6 else "minutes"
    return [datetime.fromtimestamp(slot / 1_000, UTC).replace(tzinfo=None).isoformat(" ", unit) for slot in slots]


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("* * * * *", "2026-01-31 23:58", ["2026-01-31 23:59", "2026-02-01 00:00"]),
        ("*/5 * * * *", "2026-01-01 00:00", ["2026-01-01 00:05", "2026-01-01 00:10"]),
        ("*/7 * * * *", "2026-01-01 00:50", ["2026-01-01 00:56", "2026-01-01 01:00"]),
        ("5-20/7 * * * *", "2026-01-01 00:00", ["2026-01-01 00:05", "2026-01-01 00:12", "2026-01-01 00:19"]),
        ("3,1,2 12 * * *", "2026-01-01 00:00", ["2026-01-01 12:01", "2026-01-01 12:02", "2026-01-01 12:03"]),
        ("0 22-23,1 * * *", "2026-01-01 00:00", ["2026-01-01 01:00", "2026-01-01 22:00", "2026-01-01 23:00"]),
        ("0 0 1 jan-MAR *", "2026-01-15 00:00", ["2026-02-01 00:00", "2026-03-01 00:00", "2027-01-01 00:00"]),
        ("0 0 * * 7", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * * 0", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * * Fri-sun", "2026-01-01 00:00", ["2026-01-02 00:00", "2026-01-03 00:00", "2026-01-04 00:00"]),
        ("0 0 * * SAT-SUN", "2026-01-01 00:00", ["2026-01-03 00:00", "2026-01-04 00:00", "2026-01-10 00:00"]),
        ("0 0 * * 5-7", "2026-01-05 00:00", ["2026-01-09 00:00", "2026-01-10 00:00", "2026-01-11 00:00"]),
        ("0 0 * * SUN-SUN", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-11 00:00"]),
        ("0 0 * * SUN-TUE", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-05 00:00", "2026-01-06 00:00"]),
        ("0 0 * * mon,3,FRI", "2026-01-01 00:00", ["2026-01-02 00:00", "2026-01-05 00:00", "2026-01-07 00:00"]),
        ("0 0 ? * ?", "2026-01-01 00:00", ["2026-01-02 00:00", "2026-01-03 00:00"]),
        ("0 0 13 * ?", "2026-01-01 00:00", ["2026-01-13 00:00", "2026-02-13 00:00"]),
        # Both restricted: either. One begins with a star: both.
        ("0 0 13 * FRI", "2026-02-10 00:00", ["2026-02-13 00:00", "2026-02-20 00:00", "2026-02-27 00:00"]),
        ("0 0 1-7 * */7", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-02-01 00:00", "2026-03-01 00:00"]),
        ("0 0 */10 * MON", "2026-01-01 00:00", ["2026-05-11 00:00", "2026-06-01 00:00", "2026-08-31 00:00"]),
        ("0 0 1 * 0-6", "2026-01-01 00:00", ["2026-01-02 00:00", "2026-01-03 00:00"]),
        # The end of the month, the nearest weekday, the nth and the last.
        ("0 0 L * *", "2026-01-01 00:00", ["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00"]),
        ("0 0 L 2 *", "2026-03-01 00:00", ["2027-02-28 00:00", "2028-02-29 00:00"]),
        ("0 0 LW * *", "2026-01-01 00:00", ["2026-01-30 00:00", "2026-02-27 00:00", "2026-03-31 00:00"]),
        ("0 0 15W * *", "2026-01-31 00:00", ["2026-02-16 00:00", "2026-03-16 00:00", "2026-04-15 00:00"]),
        ("0 0 1W * *", "2026-01-31 00:00", ["2026-02-02 00:00", "2026-03-02 00:00", "2026-04-01 00:00"]),
        ("0 0 31W * *", "2026-01-01 00:00", ["2026-01-30 00:00", "2026-03-31 00:00", "2026-05-29 00:00"]),
        ("0 0 1,15w,l * *", "2026-02-01 00:00", ["2026-02-16 00:00", "2026-02-28 00:00", "2026-03-01 00:00"]),
        ("0 0 * * 5#2", "2026-01-01 00:00", ["2026-01-09 00:00", "2026-02-13 00:00"]),
        ("0 0 * * fri#5", "2026-01-01 00:00", ["2026-01-30 00:00", "2026-05-29 00:00"]),
        ("0 0 * * 5L", "2026-01-01 00:00", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        ("0 0 * * 7L,SUN#1", "2026-01-01 00:00", ["2026-01-04 00:00", "2026-01-25 00:00", "2026-02-01 00:00"]),
        ("0 0 29 2 *", "2026-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 *", "2096-03-01 00:00", ["2104-02-29 00:00"]),
        ("0 0 29 2 */7", "2026-01-01 00:00", ["2032-02-29 00:00", "2060-02-29 00:00"]),
        # Seconds first.
        ("*/20 * * * * *", "2026-01-01 00:00", ["2026-01-01 00:00:20", "2026-01-01 00:00:40"]),
        ("30 59 23 31 12 *", "2026-01-01 00:00", ["2026-12-31 23:59:30", "2027-12-31 23:59:30"]),
        ("10,5 0 12 * * *", "2026-01-01 12:00", ["2026-01-01 12:00:05", "2026-01-01 12:00:10"]),
    ],
)
def test_fires_at_the_expected_times(text: str, after: str, expected: list[str]) -> None:
    assert fires(text, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("nickname", "meaning"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@Annually", "0 0 1 1 *"),
        ("@MONTHLY", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        (" @hourly\n", "0 * * * *"),
    ],
)
def test_nicknames_in_any_case(nickname: str, meaning: str) -> None:
    assert CronExpression.parse(nickname) == CronExpression.parse(meaning)


@pytest.mark.parametrize(
    ("text", "field", "token", "column", "says"),
    [
        ("", "expression", "", 1, "has 0 fields"),
        ("   ", "expression", "", 4, "has 0 fields"),
        ("*", "expression", "*", 1, "has 1 field; allowed: 5"),
        ("* * * *", "expression", "* * * *", 1, "has 4 fields"),
        ("* * * * * * *", "expression", "* * * * * * *", 1, "has 7 fields"),
        ("@reboot", "expression", "@reboot", 1, "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
        ("@daily 5", "expression", "@daily 5", 1, "is not a nickname"),
        ("60 * * * *", "minute", "60", 1, "60 is out of range; allowed: 0-59 or '*'"),
        ("60 * * * * *", "second", "60", 1, "60 is out of range"),
        ("* 24 * * *", "hour", "24", 3, "allowed: 0-23"),
        ("* * 0 * *", "day-of-month", "0", 5, "allowed: 1-31"),
        ("* * 32W * *", "day-of-month", "32W", 5, "32 is out of range"),
        ("* * * 13 *", "month", "13", 7, "allowed: 1-12, JAN-DEC"),
        ("* * * * 8", "day-of-week", "8", 9, "allowed: 0-7, SUN-SAT"),
        ("* * * * -1", "day-of-week", "-1", 9, "'' is not a value"),
        ("1* * * * *", "minute", "1*", 1, "'1*' is not a value"),
        ("*5 * * * *", "minute", "*5", 1, "'*5' is not a value"),
        ("5x * * * *", "minute", "5x", 1, "'5x' is not a value"),
        ("+5 * * * *", "minute", "+5", 1, "'+5' is not a value"),
        ("\u0665 * * * *", "minute", "\u0665", 1, "is not a value"),
        ("1.5 * * * *", "minute", "1.5", 1, "is not a value"),
        ("9999999999999999999999 * * * *", "minute", "9" * 22, 1, "out of range"),
        ("0/15 * * * *", "minute", "0/15", 1, "a step needs a range; write '*/15' or '0-59/15'"),
        ("*/0 * * * *", "minute", "*/0", 1, "step '0' is not a whole number above 0"),
        ("*/ * * * *", "minute", "*/", 1, "step '' is not"),
        ("*/-2 * * * *", "minute", "*/-2", 1, "step '-2' is not a whole number above 0"),
        ("*/2/2 * * * *", "minute", "*/2/2", 1, "is not a value, a range or a step"),
        ("5-1-3 * * * *", "minute", "5-1-3", 1, "is not a value, a range or a step"),
        ("5- * * * *", "minute", "5-", 1, "'' is not a value"),
        ("*-5 * * * *", "minute", "*-5", 1, "'*' is not a value"),
        ("* 22-2 * * *", "hour", "22-2", 3, "the range runs backward; write '22-23,0-2'"),
        ("* * * * FRI-MON", "day-of-week", "FRI-MON", 9, "the range runs backward"),
        ("* * * * 5-0", "day-of-week", "5-0", 9, "the range runs backward"),
        ("* * * NOV-FEB *", "month", "NOV-FEB", 7, "write 'NOV-12,1-FEB'"),
        ("1,,2 * * * *", "minute", "", 3, "an item of the list is missing"),
        (",1 * * * *", "minute", "", 1, "an item of the list is missing"),
        ("1, * * * *", "minute", "", 3, "an item of the list is missing"),
        ("? * * * *", "minute", "?", 1, "'?' is not a value"),
        ("L * * * *", "minute", "L", 1, "'L' is not a value"),
        ("* * L-3 * *", "day-of-month", "L-3", 5, "'L' is not a value"),
        ("* * W * *", "day-of-month", "W", 5, "'W' is not a value"),
        ("* * 5L * *", "day-of-month", "5L", 5, "'5L' is not a value"),
        ("* * * * L", "day-of-week", "L", 9, "'L' is not a value"),
        ("* * * * 5W", "day-of-week", "5W", 9, "'5W' is not a value"),
        ("* * * * 5#6", "day-of-week", "5#6", 9, "'6' is not an occurrence in a month; allowed after '#': 1-5"),
        ("* * * * 5#0", "day-of-week", "5#0", 9, "'0' is not an occurrence"),
        ("* * * * 5#", "day-of-week", "5#", 9, "'' is not an occurrence"),
        ("* * * * 8#1", "day-of-week", "8#1", 9, "8 is out of range"),
        ("* * * * 9L", "day-of-week", "9L", 9, "9 is out of range"),
        ("* * * * 1-5#2", "day-of-week", "1-5#2", 9, "'5#2' is not a value"),
        ("* * * MONDAY *", "month", "MONDAY", 7, "'MONDAY' is not a value"),
        ("* * * MON *", "month", "MON", 7, "'MON' is not a value"),
        ("* * * * JAN", "day-of-week", "JAN", 9, "'JAN' is not a value"),
        ("* * * * MON/2", "day-of-week", "MON/2", 9, "a step needs a range"),
        ("0" * 1_025, "expression", "0" * 1_024, 1, "is 1025 characters long; allowed: 1024"),
    ],
)
def test_refuses_naming_field_token_column_and_what_is_allowed(
    text: str, field: str, token: str, column: int, says: str
) -> None:
    with pytest.raises(CronError) as caught:
        CronExpression.parse(text)
    (fault,) = caught.value.faults
    assert (fault.field, fault.token, fault.column) == (field, token, column)
    assert says in fault.message
    assert str(fault) in str(caught.value)


def test_names_every_fault_at_once_left_to_right() -> None:
    with pytest.raises(CronError) as caught:
        CronExpression.parse("  1*  0/15 33,2,,40 22-2/0 FRI-MON")
    places = [(fault.field, fault.token, fault.column) for fault in caught.value.faults]
    assert places == [
        ("minute", "1*", 3),
        ("hour", "0/15", 7),
        ("day-of-month", "33", 12),
        ("day-of-month", "", 17),
        ("day-of-month", "40", 18),
        ("month", "22-2/0", 21),
        ("month", "22-2/0", 21),
        ("day-of-week", "FRI-MON", 28),
    ]


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("*/60 * * * *", "minute '*/60': the step is longer than its range, only 0 matches"),
        ("0-10/11 * * * *", "only 0 matches"),
        ("0 0 */40 * *", "day-of-month '*/40'"),
        ("0 0 */2 * MON", "both must match"),
        ("0 0 1 * */2", "both must match"),
    ],
)
def test_accepts_with_a_warning_what_may_surprise(text: str, warns: str) -> None:
    (warning,) = CronExpression.parse(text).warnings
    assert warns in warning


@pytest.mark.parametrize(
    "text", ["*/59 * * * *", "0 0 1 * MON", "0 0 */2 * *", "0 0 */2 * ?", "0 0 * * */2", "5-5/1 * * * *", "* * * * *"]
)
def test_does_not_warn_of_what_all_schedulers_agree_on(text: str) -> None:
    assert CronExpression.parse(text).warnings == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("*/5 * * * *", "0 */5 * * * *"),
        ("*/15 * * * *", "*/15,30 * * * *"),
        ("0 0 * * 0", "0 0 * * 7"),
        ("0 0 * * 0", "0 0 * * SUN"),
        ("5 4 * JAN MON-FRI", "05 04 ? 1 1,2,3,4,5"),
        ("0 0 1 * 0-6", "0 0 * * *"),
        ("0 0 1-31 * *", "0 0 * * *"),
        ("0 0 28-31,L * *", "0 0 28-31 * *"),
        ("0 0 31 2,3 *", "0 0 31 3 *"),
        ("0 0 */2 * *", "0 0 1-31/2 * *"),
        ("* 0-23 * * *", "* * * * *"),
        ("0 0 8-14 * */7", "0 0 * * 0#2"),
        ("0 0 30 2 *", "5 5 31 4 *"),
    ],
)
def test_equal_by_meaning(one: str, other: str) -> None:
    left, right = CronExpression.parse(one), CronExpression.parse(other)
    assert left == right
    assert hash(left) == hash(right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("*/5 * * * *", "*/10 * * * *"),
        # The same wall times, but not in an hour that is skipped or repeated.
        ("* * * * *", "0-59 0-23 * * *"),
        ("0 */2 * * *", "0 0-23/2 * * *"),
        ("0 0 13 * FRI", "0 0 13 * *"),
        ("0 0 L * *", "0 0 31 * *"),
        ("0 0 * * 5#1", "0 0 * * 5L"),
        ("0 0 29 2 *", "0 0 L 2 *"),
    ],
)
def test_different_meaning_is_not_equal(one: str, other: str) -> None:
    assert CronExpression.parse(one) != CronExpression.parse(other)


def test_is_not_equal_to_its_text() -> None:
    assert CronExpression.parse("* * * * *") != "* * * * *"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("*/5  *\t* * *", "*/5 * * * *"),
        ("0 */5 * * * *", "*/5 * * * *"),
        ("30 */5 * * * *", "30 */5 * * * *"),
        ("0,15,30,45 9-17 * JAN,FEB MON-FRI", "0-45/15 9-17 * 1-2 1-5"),
        ("*/7,3 4 * * *", "*/7,3 4 * * *"),
        ("5 4 L,1,15W,LW * *", "5 4 1,15W,L,LW * *"),
        ("0 0 * * FRI#2,SUNL,SAT-SUN", "0 0 * * 0,6,5#2,0L"),
        ("@weekly", "0 0 * * 0"),
        ("0-59 0-23 * * *", "0-59 0-23 * * *"),
        ("* 0-23 * * *", "* * * * *"),
        ("0 0 1 * 0-6", "0 0 * * *"),
        ("*/60 5 * * *", "*/60 5 * * *"),
        ("0 0 */2 * 1", "0 0 */2 * 1"),
        ("0 0 1,2 * */3", "0 0 1-2 * */3"),
        ("0 0 30 FEB *", "0 0 30 2 *"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    expression = CronExpression.parse(text)
    assert str(expression) == normal
    assert CronExpression.parse(normal) == expression


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/7 * * * *", "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("* * * * * *", "Every second"),
        ("30 * * * * *", "At second 30 of every minute"),
        ("*/10 5 * * * *", "Every 10 seconds of minute 5 of every hour"),
        ("0 * * * *", "At minute 0 of every hour"),
        ("*/15 */2 * * *", "Every 15 minutes of every 2nd hour"),
        ("* 9-17 * * *", "Every minute of hours 9 to 17"),
        ("30 9,18 * * MON-FRI", "At 09:30 and 18:30 on Monday to Friday"),
        ("15 30 9 * * *", "At 09:30:15"),
        ("0 0 29 2 *", "At 00:00 on day 29 of the month in February"),
        ("0 0 13 * FRI", "At 00:00 on day 13 of the month or on Friday"),
        ("0 0 */16 * FRI", "At 00:00 on days 1 and 17 of the month if it is Friday"),
        (
            "0 0 15W,L,LW * *",
            "At 00:00 on the weekday nearest to day 15, the last day and the last weekday of the month",
        ),
        (
            "0 0 * JAN-MAR 5#2,1L",
            "At 00:00 on the second Friday of the month and the last Monday of the month in January to March",
        ),
    ],
)
def test_describes_in_english(text: str, sentence: str) -> None:
    assert CronExpression.parse(text).describe() == sentence


@pytest.mark.parametrize(
    "text",
    ["0 0 30 2 *", "0 0 30,31 FEB *", "0 0 31 2,4,6 *", "0 0 31 4,6,9,11 */2", "0 0 30W 2 *", "0 0 */31 2 5#2"],
)
def test_an_impossible_date_parses_and_never_fires(text: str) -> None:
    expression = CronExpression.parse(text)
    assert expression.never_fires
    with pytest.raises(NoNextSlot, match="never fires after 0 ms"):
        expression.next_after(0)
    assert list(expression.slots_after(0)) == []
    assert expression.count(0, 10**15) == 0
    assert CronExpression.parse(str(expression)) == expression
    with pytest.raises(CronError, match=r"never fires: no date has .*; allowed: fields that some date") as caught:
        expression.ensure_fires()
    (fault,) = caught.value.faults
    assert (fault.field, fault.token, fault.column) == ("day-of-month", text.split()[2], 5)


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 29 2 */7", "0 0 30 2 FRI", "0 0 31 2,3 *", "0 0 29W 2 *"])
def test_a_rare_date_is_not_impossible(text: str) -> None:
    expression = CronExpression.parse(text)
    assert not expression.never_fires
    expression.ensure_fires()
    assert expression.next_after(0) > 0


def test_next_is_strictly_after_to_the_millisecond() -> None:
    expression = CronExpression.parse("* * * * *")
    slot = instant("2026-01-01 00:01")
    assert expression.next_after(slot - 1) == slot
    assert expression.next_after(slot) == slot + 60_000
    assert expression.next_after(slot + 1) == slot + 60_000
    assert expression.next_after(slot + 59_999) == slot + 60_000


def test_instants_before_1970() -> None:
    assert CronExpression.parse("0 0 1 1 *").next_after(instant("1899-12-31 23:59")) == instant("1900-01-01 00:00")


def test_ends_with_the_calendar() -> None:
    yearly = CronExpression.parse("@yearly")
    assert yearly.next_after(instant("9998-06-01 00:00")) == instant("9999-01-01 00:00")
    with pytest.raises(NoNextSlot):
        yearly.next_after(instant("9999-01-01 00:00"))
    with pytest.raises(NoNextSlot):
        CronExpression.parse("* * * * *").next_after(10**18)
    with pytest.raises(ValueError, match="before June of the year 1"):
        yearly.next_after(-(10**18))


def test_counts_a_year_of_seconds() -> None:
    begin, end = instant("2026-01-01 00:00"), instant("2027-01-01 00:00")
    assert CronExpression.parse("* * * * * *").count(begin, end) == 365 * 86_400
    assert CronExpression.parse("0 12 29 2 *").count(0, instant("2026-01-01 00:00")) == 14
    assert CronExpression.parse("0 12 1 * *").count(begin, begin) == 0
    assert CronExpression.parse("0 0 * * *").count(begin - 1, begin) == 1
    assert CronExpression.parse("0 0 * * *").count(begin, begin + 1) == 0


def test_is_a_value() -> None:
    expression = CronExpression.parse("*/5 * * * *")
    assert copy.deepcopy(expression) == pickle.loads(pickle.dumps(expression)) == expression
    assert eval(repr(expression)) == expression
    assert expression.text == "*/5 * * * *"
    with pytest.raises(AttributeError, match="immutable"):
        setattr(expression, "text", "* * * * *")  # noqa: B010 - the type checker would refuse the plain form
    with pytest.raises(TypeError, match="parse"):
        CronExpression("* * * * *")


def test_its_errors_travel_between_processes() -> None:
    with pytest.raises(CronError) as caught:
        CronExpression.parse("60 * * * *")
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.faults) == (str(caught.value), caught.value.faults)
    ended = pickle.loads(pickle.dumps(NoNextSlot("@daily", 5)))
    assert str(ended) == str(NoNextSlot("@daily", 5))
