"""The budget of requests to the exchange, and the limits of the token bucket (GCRA) in token_bucket.lua.

A bucket is stored as its theoretical arrival time (TAT). A permit's slot is `max(now, TAT - tolerance)`, and taking it
moves the TAT to `max(TAT, slot) + interval`. So for the slots s_i <= s_j of two permits
`s_j >= s_i + (j - i) * interval - tolerance`. If each permit is used at most `lateness` after its slot, a half-open
window of length W has at most `ceil((W + tolerance + lateness) / interval)` requests. All limits below follow from this
bound.

A bucket that Redis has lost starts empty: its first slot is one interval ahead, so the loss grants no permits.

If the exchange refuses for rate, it allows less than configured. Each refusal halves the rate, down to a sixteenth.
Then the rate recovers by a hundredth of the full rate each second. Intervals are never shorter than the budget's, so
the bound above still holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from reconciler_engine.market.rounding import ceil_div

# A permit is void later than this after its slot (design.md section 3).
LONGEST_LATENESS_US: Final = 250_000

# Longest wait of a reservation, and longest pause. A reservation that would wait longer is refused.
LONGEST_WAIT_US: Final = 3_600_000_000

_HOUR_US: Final = 3_600_000_000

WHOLE_PPM: Final = 1_000_000

# A tenth of the hourly budget may go out as fast as the other limit allows, before it is paced.
_HOURLY_BURST_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit: permits are `interval_us` apart on average, and may be up to `tolerance_us` early."""

    interval_us: int
    tolerance_us: int


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests may go out.

    Attributes:
        burst: Number of permits in a full bucket, at least 1.
        period_ms: Time in which an empty bucket fills (ms), at least 1. The rate is burst / period.
        hourly: Most permits in any hour, at least 2; None for no hourly limit.

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    burst: int
    period_ms: int
    hourly: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("burst", self.burst, 1),
            ("period_ms", self.period_ms, 1),
            ("hourly", self.hourly, 2),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} {value} must be at least {least}")

    @property
    def rate_per_s(self) -> float:
        """Average permits a second in the long run, by the stricter limit."""
        return 1_000_000 / max(limit.interval_us for limit in self.limits)

    def share(self, part: float) -> Budget:
        """Return a budget with the fraction `part` of this one's rate (above 0, at most 1).

        Its full bucket holds the permits of a minute, so a job that runs in only a part of each minute can use them
        all.
        """
        rate_per_s = self.rate_per_s * part
        burst = max(1, int(60 * rate_per_s))
        return Budget(burst, max(1, ceil(1_000 * burst / rate_per_s)))

    @property
    def lateness_us(self) -> int:
        """How long after its slot a permit may be used: 250 ms, or the fill time of the bucket if that is shorter."""
        return min(LONGEST_LATENESS_US, self.burst * self._interval_us)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of the bucket and of the hour. Every permit obeys all of them.

        The bucket: its tolerance is reduced by the lateness, so that tolerance + lateness <= burst * interval. So at
        most burst + rate * W + 1 permits are used in any window W, not only granted.

        The hour: its tolerance is a tenth of an hour, and interval = (hour + tolerance + lateness) / (hourly - 1). So
        at most `hourly` permits are used in any hour, even if Redis loses the bucket in that hour, once or more often.
        10,000 an hour allows 909 at once, and then one each 0.396 s.
        """
        interval_us, lateness_us = self._interval_us, self.lateness_us
        tolerance_us = (self.burst - 1) * interval_us - max(0, lateness_us - interval_us)
        bucket = Limit(interval_us, tolerance_us)
        if self.hourly is None:
            return (bucket,)
        ahead_us = _HOUR_US // _HOURLY_BURST_SHARE
        return (bucket, Limit(ceil_div(_HOUR_US + ahead_us + lateness_us, self.hourly - 1), ahead_us))

    @property
    def _interval_us(self) -> int:
        # Rounded up, so that the rate never exceeds the configured one.
        return ceil_div(self.period_ms * 1000, self.burst)


def stretched_us(interval_us: int, share: int) -> int:
    """Return the interval at a share (ppm) of the full rate; at most `LONGEST_WAIT_US` longer than the given one."""
    return min(interval_us * WHOLE_PPM // share, interval_us + LONGEST_WAIT_US)
