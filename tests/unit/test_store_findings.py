"""A day's findings as bytes: they come back as they were, and what is none is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import SIGHTINGS_LIMIT, Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.store.findings import DAY_MS, days_of, decode_day, encode_day, span_of

DAY = 20_454
MINUTE = 60_000
instants = st.integers(0, 2**53)
findings = st.builds(
    Finding,
    st.sampled_from([state for state in State if state not in (State.PRESENT, State.UNVERIFIED, State.UNKNOWN)]),
    st.sampled_from(Reason),
    instants,
    instants,
    st.integers(0, SIGHTINGS_LIMIT),
    st.none() | instants,
)


@given(
    timeframe=st.sampled_from(Timeframe),
    borders=st.sets(st.integers(0, 1_440), max_size=20),
    notes=st.lists(st.none() | findings, min_size=20, max_size=20),
)
def test_findings_come_back_as_they_were(timeframe, borders, notes):
    step = timeframe.step_ms
    inside = sorted({min(border, DAY_MS // step) for border in borders})
    ledger = Ledger(
        FindingInterval(DAY * DAY_MS + first * step, DAY * DAY_MS + last * step, note)
        for first, last, note in zip(inside, inside[1:], notes, strict=False)
        if note is not None
    )
    body = encode_day(ledger.within(span_of(DAY)), DAY, step)
    assert bool(body) is bool(ledger.findings)
    assert decode_day(body, DAY, step) == list(ledger.findings)


def test_a_day_of_every_other_minute_is_small():
    note = Finding(State.EMPTY, Reason.BETWEEN_CANDLES, 0, 0, 1, None)
    starts = range(DAY * DAY_MS, (DAY + 1) * DAY_MS, 2 * MINUTE)
    assert len(encode_day([FindingInterval(start, start + MINUTE, note) for start in starts], DAY, MINUTE)) == 4_351


def body_of(*triples: tuple[int, int, int], version: int = 1, state: int = 0, reason: int = 0) -> bytes:
    head = struct.pack("<BHBBHqqq", version, 1, state, reason, 1, 0, 0, -1)
    return head + b"".join(struct.pack("<HHH", *triple) for triple in triples)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"\x01", "1 bytes are not findings"),
        (b"garbage!", "version 103; known: 1"),
        (body_of((0, 1, 0), version=2), "version 2; known: 1"),
        (body_of((0, 1, 0))[:-1], "are not findings"),
        (body_of((0, 1, 0))[:20], "are not findings"),
        (body_of((0, 1, 1)), "are not findings"),
        (body_of((0, 1, 0), state=5), "are not findings"),
        (body_of((0, 1, 0), reason=20), "are not findings"),
        (body_of((0, 0, 0)), "slot 0"),
        (body_of((5, 2, 0), (6, 1, 0)), "slot 6 comes after slot 7"),
        (body_of((1_439, 2, 0)), "slot 1440 of 60000 ms lies outside a day"),
    ],
)
def test_what_is_no_findings_is_refused(body, fault):
    with pytest.raises(ValueError, match=fault):
        decode_day(body, DAY, MINUTE)


@pytest.mark.parametrize(
    ("start", "stop", "days"),
    [(0, 0, []), (0, 1, [0]), (0, DAY_MS, [0]), (DAY_MS - 1, DAY_MS + 1, [0, 1]), (DAY_MS, DAY_MS, [])],
)
def test_days_of_an_interval(start, stop, days):
    assert list(days_of(Interval(start, stop))) == days


def test_a_doubt_about_a_live_candle_of_an_earlier_version_waits_for_a_second_answer():
    (found,) = decode_day(body_of((0, 1, 0), state=4, reason=8), DAY, MINUTE)
    assert (found.finding.state, found.finding.reason) == (State.SUSPECT, Reason.SECOND_ANSWER)
