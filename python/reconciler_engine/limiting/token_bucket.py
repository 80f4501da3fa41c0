"""The token bucket's arithmetic: GCRA on integer microseconds. token_bucket.lua does the same inside Redis.

A bucket is kept as its theoretical arrival time (TAT). A permit's slot is `max(now, TAT - tolerance)`, and taking it
moves the TAT to `max(TAT, slot) + interval`. So for the slots s_i <= s_j of two permits
`s_j >= s_i + (j - i) * interval - tolerance`, and if each permit is used at most `lateness` after its slot, a half-open
window of length W sees at most `ceil((W + tolerance + lateness) / interval)` of them. All bounds below are this one.

A bucket nobody remembers starts empty: its first slot is one interval away, so that losing it grants nothing.

An exchange that refuses for rate allows less than we think. Each refusal halves the rate, down to a sixteenth; without
one it comes back by a hundredth of the whole a second. The intervals in between are longer than the budget's and never
shorter, so that all bounds stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

# A permit is void when used later than this after its slot (design.md section 3).
LONGEST_LATENESS_US: Final = 250_000

# Longest wait a reservation may have, and longest push-back: beyond it the budget is refused, not queued.
LONGEST_WAIT_US: Final = 3_600_000_000

# A TAT further ahead than any reservation or push-back can bring it is damage, and is started anew.
_HORIZON_US: Final = 2 * LONGEST_WAIT_US

_HOUR_US: Final = 3_600_000_000

WHOLE_PPM: Final = 1_000_000
_LEAST_PPM: Final = WHOLE_PPM // 16

# The rate comes back by one part in a million each 100 microseconds: whole again 50 s after it was halved.
_RECOVERY_US: Final = 100

# Part of an hour's budget that may go out as fast as the other limit allows, before it is paced.
_HOURLY_BURST_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """One limit: permits `interval_us` apart on average, up to `tolerance_us` ahead of that."""

    interval_us: int
    tolerance_us: int


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests may go out.

    Attributes:
        burst: Permits of a full bucket, at least 1.
        period_ms: Time in which an empty bucket fills (ms), at least 1: the rate is burst / period.
        hourly: Most permits in any hour, at least 2, or None for no such limit.

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
        """Permits a second in the long run."""
        return 1_000_000 / max(pace.interval_us for pace in self.paces)

    @property
    def lateness_us(self) -> int:
        """How long after its slot a permit may be used: 250 ms, or the time a bucket takes to fill if that is less."""
        return min(LONGEST_LATENESS_US, self.burst * self._interval_us)

    @property
    def paces(self) -> tuple[Pace, ...]:
        """The limits; a permit keeps all of them.

        The bucket: lateness eats into the burst, so that tolerance + lateness <= burst * interval and every window W
        sees at most burst + rate * W + 1 permits as used, not only as granted.

        The hour: with a tolerance of a tenth of it, interval = (hour + tolerance + lateness) / (hourly - 1), so that
        an hour sees at most `hourly` permits even if the bucket was lost within it (any number of losses costs one).
        10,000 an hour are 909 at once and then one each 0.396 s.
        """
        interval_us, lateness_us = self._interval_us, self.lateness_us
        tolerance_us = (self.burst - 1) * interval_us - max(0, lateness_us - interval_us)
        bucket = Pace(interval_us, tolerance_us)
        if self.hourly is None:
            return (bucket,)
        ahead_us = _HOUR_US // _HOURLY_BURST_SHARE
        return (bucket, Pace(-(-(_HOUR_US + ahead_us + lateness_us) // (self.hourly - 1)), ahead_us))

    @property
    def _interval_us(self) -> int:
        # Rounded up: never faster than asked.
        return -(-self.period_ms * 1000 // self.burst)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is remembered of a bucket; all instants are microseconds of its own clock.

    The bucket's clock is the server's, plus `offset`: it stands still where the server's clock was set back, until time
    has passed it; so a step back neither locks the bucket nor frees its permits.

    Attributes:
        born: When the bucket was last started empty, which names it: a reservation made in another one is void.
        seen: The latest instant anybody asked.
        offset: What the bucket's clock is ahead of the server's.
        until: No permit has a slot before this: the exchange asked for a pause.
        granted: Permits granted so far.
        tats: Theoretical arrival time of each limit.
        share: Parts in a million of the budget's rate that were left when it was cut last.
        cut: When that was.
        cause: HTTP status of the refusal it was cut for; 0 where it never was.
    """

    born: int
    seen: int
    offset: int
    until: int
    granted: int
    tats: tuple[int, ...]
    share: int = WHOLE_PPM
    cut: int = 0
    cause: int = 0

    @classmethod
    def empty(cls, now_us: int, paces: tuple[Pace, ...]) -> Self:
        """Start a bucket without a single permit in it."""
        return cls(now_us, now_us, 0, 0, 0, tuple(_empty_tat(now_us, pace) for pace in paces))


@dataclass(frozen=True, slots=True)
class Reservation:
    """A slot that was taken: use it after `wait_us`, once `confirm` allows."""

    wait_us: int
    slot: int
    born: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """No slot was taken: the next one is `wait_us` away."""

    wait_us: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The permit may be used; its slot was `late_us` ago."""

    late_us: int


@dataclass(frozen=True, slots=True)
class Early:
    """The slot is still `wait_us` away."""

    wait_us: int


@dataclass(frozen=True, slots=True)
class Void:
    """The reservation counts no more: too late, pushed back, or the bucket was lost."""


def reserve(
    bucket: Bucket | None, now_us: int, paces: tuple[Pace, ...], max_wait_us: int
) -> tuple[Bucket, Reservation | Refusal]:
    """Take the next slot that all limits allow, unless it is more than `max_wait_us` away.

    A reservation without a wait is granted by this and needs no `confirm`.
    """
    bucket = awake(bucket, now_us, paces)
    slot = max(
        bucket.seen, bucket.until, *(tat - pace.tolerance_us for tat, pace in zip(bucket.tats, paces, strict=True))
    )
    wait_us = slot - bucket.seen
    if wait_us > max_wait_us:
        return bucket, Refusal(wait_us)
    share = share_ppm(bucket)
    tats = tuple(
        # The hour's limit is not the one that was refused.
        max(tat, slot) + (pace.interval_us if number else stretched_us(pace.interval_us, share))
        for number, (tat, pace) in enumerate(zip(bucket.tats, paces, strict=True))
    )
    granted = bucket.granted + (wait_us == 0)
    return replace(bucket, tats=tats, granted=granted), Reservation(wait_us, slot, bucket.born)


def confirm(
    bucket: Bucket | None, now_us: int, reservation: Reservation, lateness_us: int
) -> tuple[Bucket | None, Granted | Early | Void]:
    """Say whether a reservation may be used now."""
    if bucket is None:
        return None, Void()
    bucket = _at(bucket, now_us)
    late_us = bucket.seen - reservation.slot
    if bucket.born != reservation.born or reservation.slot < bucket.until or late_us > lateness_us:
        return bucket, Void()
    if late_us < 0:
        return bucket, Early(-late_us)
    return replace(bucket, granted=bucket.granted + 1), Granted(late_us)


def push_back(bucket: Bucket | None, now_us: int, paces: tuple[Pace, ...], pause_us: int) -> Bucket:
    """Let no permit have a slot in the next `pause_us`, and the bucket be empty then; never shortens a pause."""
    bucket = awake(bucket, now_us, paces)
    until = max(bucket.until, bucket.seen + pause_us)
    first, *others = bucket.tats
    return replace(bucket, until=until, tats=(max(first, until + paces[0].tolerance_us), *others))


def slow_down(bucket: Bucket, cause: int) -> Bucket:
    """Halve the rate that is left after the exchange refused for rate with the status `cause`."""
    return replace(bucket, share=max(_LEAST_PPM, share_ppm(bucket) // 2), cut=bucket.seen, cause=cause)


def share_ppm(bucket: Bucket) -> int:
    """Return the parts in a million of the budget's rate that the bucket gives now."""
    since_us = bucket.seen - bucket.cut
    if since_us < 0:
        return WHOLE_PPM
    back = min(since_us, _RECOVERY_US * WHOLE_PPM) // _RECOVERY_US
    return min(WHOLE_PPM, max(_LEAST_PPM, bucket.share) + back)


def stretched_us(interval_us: int, share: int) -> int:
    """Return an interval at a share (ppm) of the rate; at most `LONGEST_WAIT_US` longer."""
    return min(interval_us * WHOLE_PPM // share, interval_us + LONGEST_WAIT_US)


def awake(bucket: Bucket | None, now_us: int, paces: tuple[Pace, ...]) -> Bucket:
    """Bring the bucket to `now_us`; start it empty where it is lost, damaged or has another number of limits."""
    if bucket is None:
        return Bucket.empty(now_us, paces)
    bucket = _at(bucket, now_us)
    tats = list(bucket.tats[: len(paces)])
    is_sound = bucket.until <= bucket.seen + _HORIZON_US and len(tats) == len(paces)
    is_sound = is_sound and all(
        tat <= _empty_tat(bucket.seen, pace) + _HORIZON_US for tat, pace in zip(tats, paces, strict=True)
    )
    if is_sound:
        return replace(bucket, tats=tuple(tats))
    fresh = Bucket.empty(bucket.seen, paces)
    return replace(
        fresh,
        offset=bucket.offset,
        granted=bucket.granted,
        share=bucket.share,
        cut=bucket.cut,
        cause=bucket.cause,
    )


def _at(bucket: Bucket, now_us: int) -> Bucket:
    behind = max(0, bucket.seen - (now_us + bucket.offset))
    return replace(bucket, seen=now_us + bucket.offset + behind, offset=bucket.offset + behind)


def _empty_tat(now_us: int, pace: Pace) -> int:
    return now_us + pace.tolerance_us + pace.interval_us
