"""Instants, durations and numbers in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_YEAR_10000 = 253_402_300_800_000


def iso(instant: int, unit: Literal["minutes", "seconds", "milliseconds"] = "minutes") -> str:
    """Return an instant (ms UTC) as `2026-01-31T13:00Z`, cut to `unit`; after the year 9999, as a number of ms."""
    if instant >= _YEAR_10000:
        return f"{instant}ms"
    seconds, ms = divmod(instant, 1_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None, microsecond=ms * 1_000)
    return f"{moment.isoformat(timespec=unit)}Z"


def iso_uncut(instant: int) -> str:
    """Return an instant (ms UTC) like `iso`, with its seconds and milliseconds where they are not 0."""
    return iso(instant, "milliseconds" if instant % _SECOND else "seconds" if instant % _MINUTE else "minutes")


def counted(number: object, what: str) -> str:
    """Return a number with its noun, such as `1 slot` or `2 slots`."""
    return f"{number} {what}{'' if str(number) == '1' else 's'}"


def ago(instant: int | None, now: int) -> str:
    """Return how long ago an instant was (both ms UTC); `-` for None."""
    return "-" if instant is None else f"{describe_span(max(0, now - instant))} ago"


def ahead(instant: int | None, now: int) -> str:
    """Return how long it is until an instant (both ms UTC); `never` for None."""
    return "never" if instant is None else f"in {describe_span(max(0, instant - now))}"


def describe_span(duration_ms: int | None) -> str:
    """Return a duration such as `0.3 s`, `12 s`, `4 m 5 s`, `2 h 3 m` or `5 d 1 h`; `-` for None."""
    if duration_ms is None:
        return "-"
    if duration_ms < 10 * _SECOND:
        return f"{duration_ms / _SECOND:.1f} s"
    for unit, name, below, small in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "m"), (_MINUTE, "m", _SECOND, "s")):
        if duration_ms >= unit:
            return f"{duration_ms // unit} {name} {duration_ms % unit // below} {small}"
    return f"{duration_ms // _SECOND} s"


def told_slots(filled: int, empty: int, left: int) -> str:
    """Return how many slots a pass found without a candle, and how many of them it filled, proved empty or left."""
    proved = f", {empty} proved empty" if empty else ""
    return f"{counted(filled + empty + left, 'slot')} without a candle: {filled} filled{proved}, {left} left"


SKEW_TOLD_MS = 1_000
"""Largest difference between the exchange's clock and Redis' that is not reported (ms)."""


def describe_skew(skew_ms: int, source: str) -> str | None:
    """Return the consequence of a skew, the exchange's clock minus Redis' (ms); None if it is too small to matter.

    None, too, for an exchange on this machine (by its host, `source`) that is a day or more off: it is simulated.
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
    """Join the most frequent messages with their numbers of occurrences, at most `most`; count the other messages."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{text} ({count} times)" if count > 1 else text for text, count in ranked[:most]]
    return "; ".join([*told, *([f"and {len(ranked) - most} other causes"] if len(ranked) > most else [])])


QUOTED_LIMIT = 200
"""Largest number of characters that a message quotes of a foreign text."""


def quoted(text: str) -> str:
    """Return a foreign text, cut to `QUOTED_LIMIT` characters."""
    return text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}..."


def printable(text: str) -> str:
    """Return a text as one line that is safe for a terminal: control characters are replaced by escapes."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
