"""Compute how long to wait before a retry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from reconciler_engine.errors import RateLimited, SourceUnavailable

RETRY_AFTER_LIMIT_MS = 3_600_000
"""Longest wait that an exchange can impose: an hour, its longest known rate window (10,000 requests an hour)."""

_SECONDS = re.compile(r"[0-9]{1,12}")
_HTTP_DATE_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waits with full jitter: the wait after the n-th failure in a row is below `base_ms` * 2**(n-1).

    Attributes:
        base_ms: Bound of the first wait (ms), above 0.
        cap_ms: Bound of every wait (ms), at least `base_ms`.

    Raises:
        ValueError: The bounds are not as above.
    """

    base_ms: int
    cap_ms: int

    def __post_init__(self) -> None:
        if not 0 < self.base_ms <= self.cap_ms:
            raise ValueError(f"backoff base_ms {self.base_ms} and cap_ms {self.cap_ms}: 0 < base_ms <= cap_ms")

    def ceiling_ms(self, failures: int) -> int:
        """Return the bound of the wait after `failures` failures in a row.

        Raises:
            ValueError: `failures` is below 1.
        """
        if failures < 1:
            raise ValueError(f"failures {failures}: a wait follows at least 1 failure")
        # No cap exceeds 2**62 ms; limiting the shift keeps it cheap for any number of failures.
        return min(self.cap_ms, self.base_ms << min(failures - 1, 62))

    def delay_ms(self, failures: int, draw: float) -> int:
        """Return the wait (ms) after `failures` failures in a row: uniform in `[0, ceiling_ms(failures))`.

        Args:
            failures: Failures in a row, this one included; at least 1.
            draw: A uniform random draw from `[0, 1)`.

        Raises:
            ValueError: `failures` or `draw` is outside its range.
        """
        return int(_check_draw(draw) * self.ceiling_ms(failures))


THROTTLED = Backoff(base_ms=1_000, cap_ms=60_000)
"""For 429. Coinbase sends no Retry-After; its buckets refill within a second, and requests cluster at bar closes."""

BLOCKED = Backoff(base_ms=30_000, cap_ms=600_000)
"""For 403 `Too many errors`: keys then stay blocked for tens of seconds to minutes (field reports, 2026-01)."""


SILENT = Backoff(base_ms=500, cap_ms=10_000)
"""For an exchange that does not answer or reports trouble. The engine notices its return within ten seconds."""


def push_back_ms(refusal: RateLimited | SourceUnavailable, refusals: int, draw: float) -> int:
    """Return how long (ms) no process may ask the exchange after it limited the rate or did not serve.

    All processes of one budget share this wait. Half of it is fixed and only the other half is jitter, so that a draw
    near zero does not send all processes back at once. The result is at least the wait that the exchange asked for
    (up to `RETRY_AFTER_LIMIT_MS`), and grows with each refusal even if the exchange asks for a short wait.

    Args:
        refusal: The error that the request raised.
        refusals: Refusals in a row for this budget, this one included; at least 1.
        draw: A uniform random draw from `[0, 1)`.

    Returns:
        At most the larger of the schedule's cap and `RETRY_AFTER_LIMIT_MS`; at least half of the schedule's base.

    Raises:
        ValueError: `refusals` or `draw` is outside its range.
    """
    schedule = SILENT
    if isinstance(refusal, RateLimited):
        schedule = BLOCKED if refusal.blocked else THROTTLED
    ceiling = schedule.ceiling_ms(refusals)
    certain = ceiling // 2
    own = certain + int(_check_draw(draw) * (ceiling - certain))
    return max(own, min(refusal.retry_after_ms or 0, RETRY_AFTER_LIMIT_MS))


def retry_after_ms(header: str | None, now: int) -> int | None:
    """Return the wait (ms) that a Retry-After header asks for, or None if the header is absent or unreadable.

    Both forms of RFC 9110 section 10.2.3 are read: whole seconds and an HTTP date. A date in the past gives 0;
    a negative, fractional or otherwise unreadable value gives None; a huge one gives `RETRY_AFTER_LIMIT_MS`.

    Args:
        header: The header's value, None if it was not sent.
        now: The instant (ms UTC) from which a date is counted; best is the Date header of the same answer.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(int(text) * 1_000, RETRY_AFTER_LIMIT_MS)
    until = http_date_ms(text)
    return None if until is None else min(max(until - now, 0), RETRY_AFTER_LIMIT_MS)


def http_date_ms(text: str) -> int | None:
    """Return the instant (ms UTC) of an HTTP date, or None if `text` is not an HTTP date."""
    if not text or len(text) > _HTTP_DATE_LIMIT:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # HTTP defines its dates as UTC, so a date without a zone is not read in this machine's zone.
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _check_draw(draw: float) -> float:
    if not 0 <= draw < 1:
        raise ValueError(f"draw {draw!r} is outside [0, 1)")
    return draw
