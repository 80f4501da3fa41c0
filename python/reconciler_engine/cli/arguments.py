"""Parsers of times, ranges and series on a command line. They collect faults, so that all are reported together."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

_BEFORE_NOW = re.compile(r"-(\d{1,6})([smhd])")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DAYS_AGO = {"today": 0, "yesterday": 1}


def parse_range(from_: str | None, to: str | None, faults: list[str]) -> Interval | None:
    """Return the range between two times; None if both are missing, or if faults were added to `faults`."""
    if from_ is None and to is None:
        return None
    start = parse_instant("--from", from_, faults)
    stop = parse_instant("--to", to, faults)
    if not faults and start >= stop:
        faults.append(f"--to {to}: lies not after --from {from_}; allowed: a later time")
    return None if faults else Interval(start, stop)


def parse_instant(flag: str, text: str | None, faults: list[str]) -> int:
    """Return the instant (ms UTC) that a text names; add a fault to `faults` if it cannot be read.

    Allowed are ISO 8601, `now`, `today` and `yesterday` (the beginning of the day, UTC), and times such as `-2h`, which
    is two hours before now.
    """
    allowed = "allowed: an ISO 8601 time from 1970 on, such as 2026-01-31 or 2026-01-31T13:00Z, or yesterday, -2h"
    if text is None:
        faults.append(f"{flag} is missing; --from and --to go together")
        return 0
    if (spoken := _spoken(text, time.time_ns() // 1_000_000)) is not None:
        return spoken
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        faults.append(f"{flag} {text!r}: no time; {allowed}")
        return 0
    instant = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    if instant < 0:
        faults.append(f"{flag} {text!r}: lies before 1970; {allowed}")
    return instant


def is_relative(text: str | None) -> bool:
    """Return whether a text names a time by the present one, such as `now`, `today` or `-2h`."""
    return text is not None and _spoken(text, 0) is not None


def _spoken(text: str, now: int) -> int | None:
    """Return the instant of a text such as `today` or `-2h`, seen from `now` (ms UTC); None for other texts."""
    if text == "now":
        return now
    if text in _DAYS_AGO:
        return now - now % _UNITS_MS["d"] - _DAYS_AGO[text] * _UNITS_MS["d"]
    found = _BEFORE_NOW.fullmatch(text)
    return max(now - int(found[1]) * _UNITS_MS[found[2]], 0) if found else None


def parse_series(symbol: str, timeframe: str | None, faults: list[str]) -> Series | None:
    """Return the series of a symbol and a timeframe; add faults of the two to `faults`."""
    try:
        parsed = Timeframe.parse(timeframe or "")
    except ValueError as error:
        allowed = ", ".join(one.value for one in Timeframe)
        faults.append(str(error) if timeframe else f"TIMEFRAME is missing; allowed: {allowed}")
        parsed = Timeframe.M1
    try:
        return Series(symbol, parsed)
    except ValueError as error:
        faults.append(str(error))
        return None
