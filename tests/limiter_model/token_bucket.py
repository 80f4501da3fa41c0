"""The token bucket's arithmetic on integer microseconds: the model that token_bucket.lua is held to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from reconciler_engine.limiting.budget import LONGEST_WAIT_US, WHOLE_PPM, Limit, stretched_us

# A TAT further ahead than any reservation or push-back can bring it is damage, and is started anew.
_HORIZON_US: Final = 2 * LONGEST_WAIT_US

_LEAST_PPM: Final = WHOLE_PPM // 16

# The rate comes back by one part in a million each 100 microseconds: whole again 50 s after it was halved.
_RECOVERY_US: Final = 100


@dataclass(frozen=True, slots=True)
class Bucket:
    """State of a bucket; all instants are microseconds of its own clock.

    The bucket's clock is the server's, plus `offset`: it stands still where the server's clock was set back, until time
    has passed it; so a step back neither locks the bucket nor frees its permits.

    Attributes:
        born: When the bucket was last started empty, which names it: a reservation made in another one is void.
        seen: The latest instant anybody asked.
        offset: Lead of the bucket's clock over the server's.
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
    def empty(cls, now_us: int, limits: tuple[Limit, ...]) -> Self:
        """Start a bucket without a single permit in it."""
        return cls(now_us, now_us, 0, 0, 0, tuple(_empty_tat(now_us, limit) for limit in limits))


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
    bucket: Bucket | None, now_us: int, limits: tuple[Limit, ...], max_wait_us: int
) -> tuple[Bucket, Reservation | Refusal]:
    """Take the next slot that all limits allow, unless it is more than `max_wait_us` away.

    A reservation without a wait is granted by this and needs no `confirm`.
    """
    bucket = awake(bucket, now_us, limits)
    slot = max(
        bucket.seen, bucket.until, *(tat - limit.tolerance_us for tat, limit in zip(bucket.tats, limits, strict=True))
    )
    wait_us = slot - bucket.seen
    if wait_us > max_wait_us:
        return bucket, Refusal(wait_us)
    share = share_ppm(bucket)
    tats = tuple(
        # The hour's limit is not the one that was refused.
        max(tat, slot) + (limit.interval_us if number else stretched_us(limit.interval_us, share))
        for number, (tat, limit) in enumerate(zip(bucket.tats, limits, strict=True))
    )
    granted = bucket.granted + (wait_us == 0)
    return replace(bucket, tats=tats, granted=granted), Reservation(wait_us, slot, bucket.born)


def others_first_us(bucket: Bucket | None, now_us: int, limits: tuple[Limit, ...], max_wait_us: int) -> int:
    """Return how long a request of low priority lets others go first; 0 where it may take a slot, or finds none."""
    bucket = awake(bucket, now_us, limits)
    waits = [tat - limit.tolerance_us - bucket.seen for tat, limit in zip(bucket.tats, limits, strict=True)]
    wait_us = max(0, bucket.until - bucket.seen, *waits)
    if wait_us > max_wait_us:
        return 0
    return max(wait_us, *(wait + limit.interval_us for wait, limit in zip(waits, limits, strict=True)))


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


def push_back(bucket: Bucket | None, now_us: int, limits: tuple[Limit, ...], pause_us: int) -> Bucket:
    """Let no permit have a slot in the next `pause_us`, and the bucket be empty then; never shortens a pause."""
    bucket = awake(bucket, now_us, limits)
    until = max(bucket.until, bucket.seen + pause_us)
    first, *others = bucket.tats
    return replace(bucket, until=until, tats=(max(first, until + limits[0].tolerance_us), *others))


def slow_down(bucket: Bucket, cause: int) -> Bucket:
    """Halve the rate that is left after the exchange limited it with the status `cause`."""
    return replace(bucket, share=max(_LEAST_PPM, share_ppm(bucket) // 2), cut=bucket.seen, cause=cause)


def share_ppm(bucket: Bucket) -> int:
    """Return the parts in a million of the budget's rate that the bucket gives now."""
    since_us = bucket.seen - bucket.cut
    if since_us < 0:
        return WHOLE_PPM
    back = min(since_us, _RECOVERY_US * WHOLE_PPM) // _RECOVERY_US
    return min(WHOLE_PPM, max(_LEAST_PPM, bucket.share) + back)


def awake(bucket: Bucket | None, now_us: int, limits: tuple[Limit, ...]) -> Bucket:
    """Bring the bucket to `now_us`; start it empty where it is lost, damaged or has another number of limits."""
    if bucket is None:
        return Bucket.empty(now_us, limits)
    bucket = _at(bucket, now_us)
    tats = list(bucket.tats[: len(limits)])
    is_sound = bucket.until <= bucket.seen + _HORIZON_US and len(tats) == len(limits)
    is_sound = is_sound and all(
        tat <= _empty_tat(bucket.seen, limit) + _HORIZON_US for tat, limit in zip(tats, limits, strict=True)
    )
    if is_sound:
        return replace(bucket, tats=tuple(tats))
    fresh = Bucket.empty(bucket.seen, limits)
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


def _empty_tat(now_us: int, limit: Limit) -> int:
    return now_us + limit.tolerance_us + limit.interval_us
