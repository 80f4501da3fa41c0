"""How long after its close each bar was verified, read from the digests kept beside the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import Verified, block_fields, decode_blocks, digest_of


@dataclass
class Ages:
    """Bars that closed in a time.

    Attributes:
        verified_ms: Times from close to verification of those that are verified.
        unverified: Open times of the others, by series.
    """

    verified_ms: list[int] = field(default_factory=list)
    unverified: dict[Series, list[int]] = field(default_factory=dict)

    def __str__(self) -> str:
        left = sum(map(len, self.unverified.values()))
        ages = sorted(self.verified_ms) or [0]
        at = (ages[len(ages) // 2], ages[len(ages) * 99 // 100], ages[-1])
        middle, most, last = (f"{one / 60_000:.1f}" for one in at)
        return (
            f"{len(self.verified_ms)} bars verified, {left} not; after {middle} min in the middle, {most} for 99 %, "
            f"{last} at most"
        )


async def read_verified(redis: TrioRedis, scope: Scope, series: Series, slots: Interval) -> dict[int, Verified]:
    """Return what is noted of the slots of an interval, by open time."""
    step = series.timeframe.step_ms
    names = block_fields(slots, step)
    bodies = await redis.execute_command("HMGET", scope.evidence_key(series), *names)
    return decode_blocks({name: body for name, body in zip(names, bodies, strict=True) if body}, step)


async def read_ages(redis: TrioRedis, scope: Scope, series: Sequence[Series], closed: Interval) -> Ages:
    """Return when the bars that closed in an interval were verified; only digests that hold count."""
    ages = Ages()
    for one in series:
        step = one.timeframe.step_ms
        slots = Interval(closed.start - step, closed.stop - step)
        if not slots.grid(step):
            continue
        noted = await read_verified(redis, scope, one, slots)
        (members,) = all_served(
            await redis.pipe([("ZRANGEBYSCORE", scope.candle_key(one), slots.start, f"({slots.stop}", "WITHSCORES")])
        )
        for member, score in zip(members[::2], members[1::2], strict=True):
            at = int(score)
            kept = noted.get(at)
            if kept is not None and kept.digest == digest_of(member):
                ages.verified_ms.append(kept.at - at - step)
            else:
                ages.unverified.setdefault(one, []).append(at)
    return ages
