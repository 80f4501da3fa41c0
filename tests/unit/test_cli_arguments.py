"""Times of a command line, in the words of people."""

from __future__ import annotations

import time

import pytest

from reconciler_engine.cli import arguments
from reconciler_engine.cli.arguments import parse_instant

DAY = 86_400_000
NOW = 20_000 * DAY + 13 * 3_600_000


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Let it be one o'clock in the afternoon."""
    monkeypatch.setattr(arguments, "time", type("Clock", (), {"time_ns": staticmethod(lambda: NOW * 1_000_000)}))
    assert time.time_ns() != NOW * 1_000_000


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", NOW),
        ("today", 20_000 * DAY),
        ("yesterday", 19_999 * DAY),
        ("-2h", NOW - 7_200_000),
        ("-90s", NOW - 90_000),
        ("-30m", NOW - 1_800_000),
        ("-7d", NOW - 7 * DAY),
        ("-999999d", 0),
        ("1970-01-02", DAY),
    ],
)
def test_times_are_spoken_as_people_speak_them(text, instant):
    faults: list[str] = []
    assert (parse_instant("--since", text, faults), faults) == (instant, [])


@pytest.mark.parametrize("text", ["2h", "-2", "-2w", "--2h", "-2h30m", "tomorrow", "-1234567h"])
def test_other_words_are_refused_with_what_is_allowed(text):
    faults: list[str] = []
    parse_instant("--since", text, faults)
    (fault,) = faults
    assert fault.startswith(f"--since {text!r}: no time; allowed: an ISO 8601 time from 1970 on, such as 2026-01-31")
    assert fault.endswith(", or yesterday, -2h")
