"""Times, ranges and series of a command line: texts in, values out, every fault noted."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe


def parse_range(from_: str | None, to: str | None, faults: list[str]) -> Interval | None:
    """Return the range between two ISO 8601 times; None where neither is given, or after adding to `faults`."""
    if from_ is None and to is None:
        return None
    start = parse_instant("--from", from_, faults)
    stop = parse_instant("--to", to, faults)
    if not faults and start >= stop:
        faults.append(f"--to {to}: lies not after --from {from_}; allowed: a later time")
    return None if faults else Interval(start, stop)


def parse_instant(flag: str, text: str | None, faults: list[str]) -> int:
    """Return the instant (ms UTC) that an ISO 8601 time names; add what is wrong with it to `faults`."""
    allowed = "allowed: an ISO 8601 time from 1970 on, such as 2026-01-31 or 2026-01-31T13:00Z"
    if text is None:
        faults.append(f"{flag} is missing; --from and --to go together")
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        faults.append(f"{flag} {text!r}: no time; {allowed}")
        return 0
    instant = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    if instant < 0:
        faults.append(f"{flag} {text!r}: lies before 1970; {allowed}")
    return instant


def parse_series(symbol: str, timeframe: str | None, faults: list[str]) -> Series | None:
    """Return the series that two arguments name; add to `faults` what is wrong with them."""
    try:
        parsed = Timeframe.parse(timeframe or "")
    except ValueError as error:
        faults.append(str(error))
        parsed = Timeframe.M1
    try:
        return Series(symbol, parsed)
    except ValueError as error:
        faults.append(str(error))
        return None
