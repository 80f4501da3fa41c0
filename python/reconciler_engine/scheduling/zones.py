"""Split time zones into spans of constant offset, so that a search need not ask the zone at every minute."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reconciler_engine.market.rounding import ceil_to

# A step of three days sees every change of offset: a change and its reversal are at least 3.98 days apart (Freetown
# 1939; since 1945 6.96 days: Recife 2000, Gaza 2040). Checked for all zones of tzdata 2026.
_STRIDE_S = 3 * 86_400
_BLOCK_BITS = 23
_BLOCKS_KEPT = 1_024
_NEVER = -(1 << 62)

# `datetime` covers the years 1 to 9999; the margins leave room for any offset and for the surroundings of a block.
FIRST_S = int(datetime(1, 6, 1, tzinfo=UTC).timestamp())
LAST_S = int(datetime(9999, 6, 1, tzinfo=UTC).timestamp())


class OffsetInterval(NamedTuple):
    """A span of instants `start <= t < stop` (s UTC) with one offset.

    Its ends are changes of offset, or the ends of the block that was searched. An attribute that does not apply is
    `_NEVER`, which lies before all times.

    Attributes:
        start: First instant (s UTC).
        stop: First instant after the span (s UTC).
        offset: Offset from UTC (s).
        fresh: End of a repeated hour at the start: wall seconds before it were also shown before the span.
        landing: First whole wall minute after a skipped hour before the span.
        gap: Wall second at which that skipped hour began.
    """

    start: int
    stop: int
    offset: int
    fresh: int
    landing: int
    gap: int


def load_zone(name: str) -> tzinfo:
    """Return the IANA zone called `name`; `UTC` gives `datetime.UTC`.

    Raises:
        ValueError: No zone has this name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"timezone {name[:64]!r} is unknown; allowed: an IANA name such as UTC or America/New_York"
        ) from None


def offset_at(zone: tzinfo, instant_s: int) -> int:
    """Return the offset from UTC (s) that `zone` has at an instant (s UTC)."""
    offset = datetime.fromtimestamp(instant_s, zone).utcoffset()
    return 0 if offset is None else offset.days * 86_400 + offset.seconds


def span_at(zone: tzinfo, instant_s: int) -> OffsetInterval:
    """Return the span that holds an instant (s UTC). All changes of offset within two days of it are ends of spans.

    Spans are cached by zone and block of 97 days, in an LRU cache of 1,024 blocks.
    """
    spans = _spans(zone, instant_s >> _BLOCK_BITS)
    for span in spans:
        if instant_s < span.stop:
            return span
    return spans[-1]


@lru_cache(maxsize=_BLOCKS_KEPT)
def _spans(zone: tzinfo, block: int) -> tuple[OffsetInterval, ...]:
    start = (block << _BLOCK_BITS) - _STRIDE_S
    stop = (block + 1 << _BLOCK_BITS) + _STRIDE_S
    offset = offset_at(zone, start)
    span = OffsetInterval(start, stop, offset, _NEVER, _NEVER, _NEVER)
    spans = []
    at = start
    while at < stop:
        ahead = min(at + _STRIDE_S, stop)
        if offset_at(zone, ahead) == span.offset:
            at = ahead
            continue
        at = _change(zone, at, ahead)
        spans.append(span._replace(stop=at))
        span = _after(span.offset, at, offset_at(zone, at), stop)
    return (*spans, span)


def _after(before: int, start: int, offset: int, stop: int) -> OffsetInterval:
    if offset < before:
        return OffsetInterval(start, stop, offset, start + before, _NEVER, _NEVER)
    landing = ceil_to(start + offset, 60)
    return OffsetInterval(start, stop, offset, _NEVER, landing, start + before)


def _change(zone: tzinfo, left: int, right: int) -> int:
    """Return the instant in `(left, right]` at which the offset of `left` ends."""
    before = offset_at(zone, left)
    inside = range(left + 1, right)
    return left + 1 + bisect_left(inside, x=True, key=lambda instant: offset_at(zone, instant) != before)
