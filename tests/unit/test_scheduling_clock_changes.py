"""Jobs when the wall clock is set forward or back: cron.md's rules, zone by zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from reconciler_engine.scheduling.cron import CronExpression, NoNextSlot
from reconciler_engine.scheduling.zones import load_zone, offset_at, span_at

NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        # Spring, a fixed time in the gap: once, at the first minute after it.
        (
            "30 2 * * *",
            NEW_YORK,
            "2026-03-07T12:00:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        # Several fixed times of one job in one gap make one run; the time of that run counts itself too.
        (
            "0,15,30 2 * * *",
            NEW_YORK,
            "2026-03-08T00:00:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"],
        ),
        (
            "0 2,3 * * *",
            NEW_YORK,
            "2026-03-08T00:00:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"],
        ),
        (
            "30 2,3 * * *",
            NEW_YORK,
            "2026-03-08T00:00:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-08T03:30:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        ("30 2 8 3 *", NEW_YORK, "2026-03-01T00:00:00-05:00", ["2026-03-08T03:00:00-04:00"]),
        ("30 15 2 * * *", NEW_YORK, "2026-03-08T00:00:00-05:00", ["2026-03-08T03:00:00-04:00"]),
        (
            "0 3 * * *",
            NEW_YORK,
            "2026-03-08T00:00:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T03:00:00-04:00"],
        ),
        # Spring, following the wall clock: skipped times do not happen.
        (
            "*/30 * * * *",
            NEW_YORK,
            "2026-03-08T01:00:00-05:00",
            ["2026-03-08T01:30:00-05:00", "2026-03-08T03:00:00-04:00"],
        ),
        ("*/30 2 * * *", NEW_YORK, "2026-03-08T00:00:00-05:00", ["2026-03-09T02:00:00-04:00"]),
        ("15 */2 * * *", NEW_YORK, "2026-03-08T00:30:00-05:00", ["2026-03-08T04:15:00-04:00"]),
        # Autumn, a fixed time in the repeated hour: the first pass only.
        (
            "30 1 * * *",
            NEW_YORK,
            "2026-11-01T00:00:00-04:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        ("30 1 * * *", NEW_YORK, "2026-11-01T01:10:00-05:00", ["2026-11-02T01:30:00-05:00"]),
        ("0 2 * * *", NEW_YORK, "2026-11-01T01:10:00-05:00", ["2026-11-01T02:00:00-05:00"]),
        ("59 1 1 11 *", NEW_YORK, "2026-11-01T01:59:00-04:00", ["2027-11-01T01:59:00-04:00"]),
        # Autumn, following the wall clock: both passes.
        (
            "*/30 * * * *",
            NEW_YORK,
            "2026-11-01T01:00:00-04:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00"],
        ),
        (
            "*/30 1 1 11 *",
            NEW_YORK,
            "2026-11-01T01:30:00-04:00",
            ["2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00", "2027-11-01T01:00:00-04:00"],
        ),
        ("* 1 1 11 *", NEW_YORK, "2026-11-01T01:59:00-04:00", ["2026-11-01T01:00:00-05:00"]),
        ("* 1 1 11 *", NEW_YORK, "2026-11-01T01:59:30-04:00", ["2026-11-01T01:00:00-05:00"]),
        # London changes at 01:00 UTC.
        ("30 1 * * *", "Europe/London", "2026-03-29T00:00:00+00:00", ["2026-03-29T02:00:00+01:00"]),
        (
            "0 * * * *",
            "Europe/London",
            "2026-10-25T00:30:00+01:00",
            ["2026-10-25T01:00:00+01:00", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+00:00"],
        ),
        # Lord Howe changes by half an hour: 02:00 to 02:30, and 02:00 back to 01:30.
        ("15 2 * * *", LORD_HOWE, "2026-10-04T00:00:00+10:30", ["2026-10-04T02:30:00+11:00"]),
        ("45 2 * * *", LORD_HOWE, "2026-10-04T00:00:00+10:30", ["2026-10-04T02:45:00+11:00"]),
        (
            "*/15 * * * *",
            LORD_HOWE,
            "2026-10-04T01:30:00+10:30",
            ["2026-10-04T01:45:00+10:30", "2026-10-04T02:30:00+11:00"],
        ),
        (
            "*/15 * * * *",
            LORD_HOWE,
            "2026-04-05T01:30:00+11:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T01:45:00+10:30"],
        ),
        (
            "40 1 * * *",
            LORD_HOWE,
            "2026-04-05T00:00:00+11:00",
            ["2026-04-05T01:40:00+11:00", "2026-04-06T01:40:00+10:30"],
        ),
        # Samoa had no 30th of December 2011.
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00-10:00",
            ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"],
        ),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00-10:00", ["2011-12-31T00:00:00+14:00"]),
        ("0 * 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00-10:00", ["2012-12-30T00:00:00+14:00"]),
        # Casablanca leaves its summer time for Ramadan.
        (
            "30 2 * * *",
            "Africa/Casablanca",
            "2026-02-14T12:00:00+01:00",
            ["2026-02-15T02:30:00+01:00", "2026-02-16T02:30:00+00:00"],
        ),
        ("30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00:00+00:00", ["2026-03-22T03:00:00+01:00"]),
        ("0 9 * * *", "Asia/Kolkata", "2026-03-08T00:00:00+05:30", ["2026-03-08T09:00:00+05:30"]),
        ("0 0 29 2 *", NEW_YORK, "2026-01-01T00:00:00-05:00", ["2028-02-29T00:00:00-05:00"]),
        # An offset with seconds: Monrovia went from -0:44:30 to UTC on 1972-01-07, at 00:00 by its wall clock.
        ("30 0 * * *", "Africa/Monrovia", "1972-01-06T12:00:00+00:00", ["1972-01-07T00:45:00+00:00"]),
    ],
)
def test_slots_across_a_change(text: str, zone: str, after: str, expected: list[str]) -> None:
    expression, tz = CronExpression.parse(text), load_zone(zone)
    slots = list(islice(expression.slots_after(instant(after), tz), len(expected)))
    assert [datetime.fromtimestamp(slot / 1_000, tz).isoformat() for slot in slots] == expected
    assert expression.count(instant(after), slots[-1], tz) == len(expected)


@pytest.mark.parametrize("text", ["0 0-23 * * *", "0 * * * *", "0 0,12 * * *"])
def test_each_zone_fires_alike_when_nothing_changes(text: str) -> None:
    """A fixed offset, given as `timezone` or as a zone without changes, only shifts the answer."""
    expression = CronExpression.parse(text)
    after = instant("2026-06-01T00:10:00+00:00")
    for tz in (ZoneInfo("UTC"), timezone(timedelta(0)), load_zone("UTC")):
        assert expression.next_after(after, tz) == expression.next_after(after)
    shift = 5_400_000
    shifted = expression.next_after(after - shift, timezone(timedelta(milliseconds=shift)))
    assert shifted == expression.next_after(after) - shift


def test_a_time_that_is_always_skipped_has_no_slot() -> None:
    """New York skips 02:00 to 03:00 on the second Sunday of March, every year that its rules know."""
    expression = CronExpression.parse("* 2 * 3 0#2")
    assert not expression.never_fires
    with pytest.raises(NoNextSlot):
        expression.next_after(instant("2026-01-01T00:00:00+00:00"), ZoneInfo(NEW_YORK))


def test_counts_every_second_of_a_year_with_clock_changes() -> None:
    every_second, daily = CronExpression.parse("* * * * * *"), CronExpression.parse("30 1 * * *")
    begin, end = instant("2026-01-01T00:00:00-05:00"), instant("2027-01-01T00:00:00-05:00")
    assert every_second.count(begin, end, ZoneInfo(NEW_YORK)) == 365 * 86_400
    assert daily.count(begin, end, ZoneInfo(NEW_YORK)) == 365


def test_spans_of_a_zone_meet_and_hold_its_offset() -> None:
    tz = ZoneInfo("Africa/Casablanca")
    at, end = instant("2026-01-01T00:00:00+00:00") // 1_000, instant("2028-01-01T00:00:00+00:00") // 1_000
    offsets: list[int] = []
    while at < end:
        span = span_at(tz, at)
        assert span.start <= at < span.stop
        assert offset_at(tz, at) == offset_at(tz, span.stop - 1) == span.offset
        offsets += [span.offset] if offsets[-1:] != [span.offset] else []
        at = span.stop
    assert offsets == [3_600, 0, 3_600, 0, 3_600]


def test_utc_is_the_standard_librarys() -> None:
    assert load_zone("UTC") is UTC


@pytest.mark.parametrize("name", ["Nope/Zone", "", "Europe", "../UTC", "/etc/passwd", "\0", "New York", "x" * 300])
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="is unknown; allowed: an IANA name such as UTC") as caught:
        load_zone(name)
    assert repr(name[:64]) in str(caught.value)
