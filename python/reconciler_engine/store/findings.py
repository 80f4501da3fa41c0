"""A day's findings as bytes: each different finding once, then the intervals that have it.

Layout, little-endian: version (u8), number of findings (u16); for each state (u8), reason (u8), sightings (u16),
first, last and next check (i64 ms; -1 for never); then for each interval first slot of the day, number of slots and
index of its finding (u16 each). A day of minutes with every other slot empty by one answer is 4.3 kB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.planning.ledger import Finding, FindingInterval, Reason, State

DAY_MS = 86_400_000
"""Length of a day; every timeframe's step divides it."""

_VERSION = 1
_HEAD = struct.Struct("<BH")
_FINDING = struct.Struct("<BBHqqq")
_STRETCH = struct.Struct("<HHH")
_NEVER = -1
# The places are the codes: new ones go to the end. That of SECOND_ANSWER once meant other values than came live.
_STATES = (State.MISSING, State.EMPTY, State.HALTED, State.UNLISTED, State.SUSPECT)
_REASONS = (
    Reason.ABSENT_ONCE,
    Reason.BETWEEN_CANDLES,
    Reason.ABSENT_TWICE,
    Reason.MARKET_HALTED,
    Reason.NOT_YET_LISTED,
    Reason.DELISTED,
    Reason.VALUES_DIFFER,
    Reason.BY_HAND,
    Reason.SECOND_ANSWER,
    Reason.ROW_UNUSABLE,
    Reason.WITH_REFERENCE,
    Reason.AMONG_WITNESSES,
    Reason.ABSENT_THRICE,
    Reason.AMONG_WITNESSES_ONCE,
    Reason.HALTED_TWICE,
    Reason.LACKED_ONCE,
    Reason.NOT_AT_EXCHANGE,
    Reason.WITHDRAWN,
    Reason.CONTESTED,
    Reason.BEFORE_FAILOVER,
)
_STATE_CODES = {state: code for code, state in enumerate(_STATES)}
_REASON_CODES = {reason: code for code, reason in enumerate(_REASONS)}


def days_of(interval: Interval) -> range:
    """Return the days, counted from the epoch, that an interval touches."""
    return range(interval.start // DAY_MS, ceil_div(interval.stop, DAY_MS)) if interval else range(0)


def span_of(day: int) -> Interval:
    """Return the interval of a day."""
    return Interval(day * DAY_MS, (day + 1) * DAY_MS)


def encode_day(known: Iterable[FindingInterval], day: int, step: int) -> bytes:
    """Write the findings of one day, ascending and inside it; nothing is the empty string."""
    start_of_day = day * DAY_MS
    codes: dict[Finding, int] = {}
    flat: list[int] = []
    for start, stop, finding in known:
        flat += ((start - start_of_day) // step, (stop - start) // step, codes.setdefault(finding, len(codes)))
    if not flat:
        return b""
    return b"".join(
        (
            _HEAD.pack(_VERSION, len(codes)),
            *(_packed(finding) for finding in codes),
            struct.pack(f"<{len(flat)}H", *flat),
        )
    )


def decode_day(body: bytes, day: int, step: int) -> list[FindingInterval]:
    """Read the findings of one day, ascending.

    Raises:
        ValueError: These are not findings of a day: another version, a code without meaning, intervals that overlap or
            leave the day.
    """
    if not body:
        return []
    try:
        version, count = _HEAD.unpack_from(body)
        if version != _VERSION:
            raise ValueError(f"version {version}; known: {_VERSION}")
        findings = [_unpacked(body, _HEAD.size + index * _FINDING.size) for index in range(count)]
        triples = _STRETCH.iter_unpack(memoryview(body)[_HEAD.size + count * _FINDING.size :])
        start_of_day = day * DAY_MS
        known: list[FindingInterval] = []
        free = 0
        for first, length, index in triples:
            if first < free or not length:
                raise ValueError(f"slot {first} comes after slot {free} or is the start of no slot")
            free = first + length
            start = start_of_day + first * step
            known.append(FindingInterval(start, start + length * step, findings[index]))
    except (struct.error, IndexError) as error:
        raise ValueError(f"{len(body)} bytes are not findings: {error}") from error
    if free * step > DAY_MS:
        raise ValueError(f"slot {free - 1} of {step} ms lies outside a day")
    return known


def decode_finding(body: bytes) -> Finding:
    """Read one finding, as the bytes of a day hold it.

    Raises:
        ValueError: This is not a finding: too few bytes, a code without meaning.
    """
    try:
        return _unpacked(body, 0)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{len(body)} bytes are not a finding: {error}") from error


def _packed(finding: Finding) -> bytes:
    return _FINDING.pack(
        _STATE_CODES[finding.state],
        _REASON_CODES[finding.reason],
        finding.sightings,
        finding.first,
        finding.last,
        _NEVER if finding.next_check is None else finding.next_check,
    )


def _unpacked(body: bytes, offset: int) -> Finding:
    state, reason, sightings, first, last, due = _FINDING.unpack_from(body, offset)
    return Finding(_STATES[state], _REASONS[reason], first, last, sightings, None if due == _NEVER else due)
