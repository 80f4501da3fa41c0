"""How soon after its close each bar is verified: the digests are looked at once a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields, decode_blocks, digest_of

_EVERY_S: Final = 60.0


@dataclass
class VerifiedTimes:
    """A watch over the bars that close in a time.

    Attributes:
        closed: Instants between which they close (ms UTC).
        after_ms: Times from close to the first verification, by series and open time.
    """

    redis: TrioRedis
    scope: Scope
    series: Sequence[Series]
    closed: Interval
    after_ms: dict[tuple[Series, int], int] = field(default_factory=dict)

    async def run(self) -> None:
        """Look once a minute, until cancelled."""
        while True:
            await trio.sleep(_EVERY_S)
            wanted = [(one, self._slots(one)) for one in self.series]
            asked = [
                (one, slots, block_fields(slots, one.timeframe.step_ms))
                for one, slots in wanted
                if slots.grid(one.timeframe.step_ms)
            ]
            replies = await self.redis.pipe(
                [("HMGET", self.scope.evidence_key(one), *names) for one, _, names in asked]
            )
            for (one, slots, names), bodies in zip(asked, all_served(replies), strict=True):
                step = one.timeframe.step_ms
                noted = decode_blocks({name: body for name, body in zip(names, bodies, strict=True) if body}, step)
                for at, kept in noted.items():
                    if at in slots:
                        self.after_ms.setdefault((one, at), kept.at - at - step)

    def _slots(self, series: Series) -> Interval:
        step = series.timeframe.step_ms
        return Interval(self.closed.start - step, self.closed.stop - step)

    async def unverified(self) -> dict[str, int]:
        """Return how many of the bars that are there are not verified now, by timeframe."""
        found: dict[str, int] = {}
        for one in self.series:
            slots, step = self._slots(one), one.timeframe.step_ms
            if not slots.grid(step):
                continue
            names = block_fields(slots, step)
            key = self.scope.candle_key(one)
            commands = [
                ("ZRANGEBYSCORE", key, slots.start, f"({slots.stop}", "WITHSCORES"),
                ("HMGET", self.scope.evidence_key(one), *names),
            ]
            members, bodies = all_served(await self.redis.pipe(commands))
            noted = decode_blocks({name: body for name, body in zip(names, bodies, strict=True) if body}, step)
            for member, score in zip(members[::2], members[1::2], strict=True):
                kept = noted.get(int(score))
                if kept is None or kept.digest != digest_of(member):
                    found[one.timeframe.value] = found.get(one.timeframe.value, 0) + 1
        return found

    @property
    def longest_ms(self) -> int:
        """The longest time from a close to the first verification."""
        return max(self.after_ms.values())

    def __str__(self) -> str:
        ages = sorted(self.after_ms.values()) or [0]
        at = (ages[len(ages) // 2], ages[len(ages) * 99 // 100], ages[-1])
        middle, most, last = (f"{one / 60_000:.1f}" for one in at)
        return f"{len(self.after_ms)} bars verified after {middle} min in the middle, {most} for 99 %, {last} at most"
