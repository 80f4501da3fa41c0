"""How instants, durations and counts are said to people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_YEAR_10000 = 253_402_300_800_000


def iso(instant: int, unit: Literal["minutes", "seconds"] = "minutes") -> str:
    """Return an instant (ms UTC) as `2026-01-31T13:00Z`; beyond the year 9999, which no calendar writes, in ms."""
    if instant >= _YEAR_10000:
        return f"{instant}ms"
    return datetime.fromtimestamp(instant // 1_000, UTC).replace(tzinfo=None).isoformat(timespec=unit) + "Z"


def counted(number: object, what: str) -> str:
    """Return `1 slot`, or `0 slots`, `2 slots`."""
    return f"{number} {what}{'' if str(number) == '1' else 's'}"


def ago(instant: int | None, now: int) -> str:
    """Return how long ago an instant was (both ms UTC), `-` where there is none."""
    return "-" if instant is None else f"{describe_span(max(0, now - instant))} ago"


def ahead(instant: int | None, now: int) -> str:
    """Return how far ahead an instant is (both ms UTC), `never` where there is none."""
    return "never" if instant is None else f"in {describe_span(max(0, instant - now))}"


def describe_span(duration_ms: int | None) -> str:
    """Return a duration as people say it: `0.3 s`, `12 s`, `4 m 5 s`, `2 h 3 m`, `5 d 1 h`."""
    if duration_ms is None:
        return "-"
    if duration_ms < 10 * _SECOND:
        return f"{duration_ms / _SECOND:.1f} s"
    for unit, name, below, small in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "m"), (_MINUTE, "m", _SECOND, "s")):
        if duration_ms >= unit:
            return f"{duration_ms // unit} {name} {duration_ms % unit // below} {small}"
    return f"{duration_ms // _SECOND} s"


def told_slots(filled: int, empty: int, left: int) -> str:
    """Return the outcomes of the slots that a pass found without a candle, in parts that add up to their number."""
    proved = f", {empty} proved empty" if empty else ""
    return f"{counted(filled + empty + left, 'slot')} without a candle: {filled} filled{proved}, {left} left"


SKEW_TOLD_MS = 1_000
"""The exchange's clock and Redis' may differ by so much before people are told."""


def describe_skew(skew_ms: int, source: str) -> str | None:
    """Return the consequence of the exchange's clock less Redis' (ms); None where the skew is too small to matter.

    An exchange on this machine, by its host `source`, that lives on another day is a simulated one.
    """
    is_replayed = abs(skew_ms) >= _DAY and source.startswith(("127.", "localhost", "[::1]"))
    if abs(skew_ms) <= SKEW_TOLD_MS or is_replayed:
        return None
    span = describe_span(abs(skew_ms))
    if skew_ms < 0:
        what = f"Redis' clock is {span} ahead of the exchange's: `ready` asks for bars that have not closed yet"
    else:
        what = f"Redis' clock is {span} behind the exchange's: bars are looked for, and judged, that much too late"
    return f"{what}; set the clock of Redis' machine by NTP"


def causes(counts: Mapping[str, int], most: int = 3) -> str:
    """Return messages by how often each came, the most frequent first, each once; at most `most` of them."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{text} ({count} times)" if count > 1 else text for text, count in ranked[:most]]
    return "; ".join([*told, *([f"and {len(ranked) - most} other causes"] if len(ranked) > most else [])])


QUOTED_LIMIT = 200
"""Characters of another's text that a message quotes."""


def quoted(text: str) -> str:
    """Return the beginning of a text that others wrote, as long as a message can hold it."""
    return text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}..."


def printable(text: str) -> str:
    """Return a text as one line that a terminal shows and obeys in nothing: signs that steer it are written out."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
