"""A watch over a cache: asks the gate about every series, and holds its word and the digests to what exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.worlds.oracle import BARS, MAX_UNVERIFIED_MS, Figures, Oracle, Word

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields

LENIENT: Final = (15_000, MAX_UNVERIFIED_MS, 960_000)
"""Grace, longest time without verification, and the age up to which a slot may be without a candle (ms): a slot without
trades is seen by two scans, and the second one may be late."""

_PASS_MS: Final = 360_000
"""The next pass after a change is over so much later."""


@dataclass
class GateWatch:
    """A watch.

    Attributes:
        redis: Client to ask by.
        scope: Scope of the cache.
        series: Every series.
        oracle: Knows what exists.
        troubles: Times in which exchange or cache were not well.
        figures: Figures so far.
    """

    redis: TrioRedis
    scope: Scope
    series: Sequence[Series]
    oracle: Oracle
    troubles: list[Interval] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)
    _gate: str = ""

    async def begin(self, translate: Callable[[str], str] = str) -> None:
        """Teach the server the gate, in a form that reads its clock as it shall."""
        self._gate = str(await self.redis.execute_command("SCRIPT LOAD", translate(READY_TEXT)))

    def is_well(self, now: int) -> bool:
        """Whether all was well in the time within which every bar must be right."""
        since = now - MAX_UNVERIFIED_MS - _PASS_MS
        return not any(one.start <= now and one.stop > since for one in self.troubles)

    async def look(self, now: int) -> None:
        """Look at every series at this instant (ms UTC)."""
        is_well = self.is_well(now)
        commands: list[tuple[Any, ...]] = [("MULTI",)]
        for one in self.series:
            key, window = self.scope.candle_key(one), self.oracle.window(one, now)
            commands += [
                ("EVALSHA", self._gate, 1, key, BARS),
                ("EVALSHA", self._gate, 1, key, BARS, *LENIENT, "slots", "detail"),
                ("ZRANGEBYSCORE", key, window.start, f"({window.stop}", "WITHSCORES"),
                ("HMGET", self.scope.evidence_key(one), *block_fields(window, one.timeframe.step_ms)),
            ]
        *_, replies = all_served(await self.redis.pipe([*commands, ("EXEC",)]))
        asked = zip(self.series, *(replies[first::4] for first in range(4)), strict=True)
        for one, yes, detail, members, bodies in asked:
            look = self.oracle.look(one, now, members, bodies)
            self.figures.add(look, Word(yes == 1, detail), is_well=is_well)
