"""Claims: who is asking the exchange for which slots, so that nobody else does at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.scripts import Script
from reconciler_engine.store.transport import TrioRedis

CLAIM_LIFE_MS: Final = 60_000
"""A claim whose holder died lasts so long at most; holders renew theirs before each request."""

MEMORY_MS: Final = 60_000
"""For so long it is remembered which slots were asked for in vain: two jobs of one minute ask once."""

LONGEST_SLOTS: Final = 300
"""Slots a claim may span: a page."""

_CLAIM = Script.load("reconciler_engine.store", "lua/claim.lua")


@dataclass(frozen=True, slots=True)
class Claimed:
    """The slots are the caller's to ask for, but for those `asked` for by others lately."""

    asked: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Another token holds some of the slots, for `left_ms` at most."""

    token: str
    left_ms: int


class Claims:
    """Claims of one scope, kept beside the candles of each series.

    A token names one task; its claims are its own however often the task is handed out. A series holds at most one
    claim a page under way and one a page asked for in vain within `MEMORY_MS`: the budget bounds both. What is over
    goes when somebody claims the same slots, and with the key, `CLAIM_LIFE_MS` after the last claim.
    """

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope

    async def take(self, series: Series, slots: Interval, token: str, *, since: int, void: str = "") -> Claimed | Held:
        """Claim slots, or say who holds them; a claim of the same token is renewed.

        Args:
            series: Whose slots.
            slots: A page's interval.
            token: Who claims.
            since: Answers that others had before this instant (Redis' clock, ms) do not count as asked for.
            void: A token whose claims hold no more.

        Raises:
            StoreError: Redis did not do it.
        """
        reply = await self._run("take", series, slots, token, CLAIM_LIFE_MS, since, void)
        if reply[0] == 1:
            bounds = [int(text) for text in reply[1:]]
            return Claimed(tuple(map(Interval, bounds[::2], bounds[1::2])))
        return Held(reply[1].decode(), reply[2])

    async def settle(self, series: Series, slots: Interval, token: str, *, in_vain: bool) -> None:
        """Release a claim; remember it for `MEMORY_MS` where the exchange answered and gave nothing for some slot.

        Raises:
            StoreError: Redis did not do it; the claim ends by itself.
        """
        await self._run("settle", series, slots, token, MEMORY_MS if in_vain else 0)

    async def _run(self, action: str, series: Series, slots: Interval, token: str, *more: int | str) -> list[Any]:
        reach = LONGEST_SLOTS * series.timeframe.step_ms
        reply: list[Any] = await _CLAIM.run(
            self._client,
            keys=[self._scope.companion_key(series, "claims")],
            args=[action, token, slots.start, slots.stop, reach, *more],
        )
        return reply
