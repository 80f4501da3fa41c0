"""Claims: slots that a task is asking the exchange for, so that no other task asks at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.scoped import Scoped

CLAIM_LIFE_MS: Final = 60_000
"""Life of a claim that is not renewed; a holder renews it before each request."""

LONGEST_SLOTS: Final = 300
"""Slots a claim may span: a page."""

_CLAIM = Script.load("reconciler_engine.store", "lua/claim.lua")


@dataclass(frozen=True, slots=True)
class OtherClaim:
    """Another token's claim on some of the slots; it ends within `left_ms`."""

    token: str
    left_ms: int

    @property
    def run(self) -> str:
        """The run of the task that claims: a token is `RUN/TASK`."""
        return self.token.rpartition("/")[0]

    @property
    def task(self) -> str:
        """The id of the task that claims."""
        return self.token.rpartition("/")[2]


class Claims(Scoped):
    """Claims of one scope, kept beside the candles of each series.

    A token names one task, and keeps its claims when the task is delivered again. A series holds at most one
    claim for each page under way, and the budget bounds the pages. A claim that is over is removed when another task
    claims the same slots; otherwise the whole key expires, `CLAIM_LIFE_MS` after the last claim.
    """

    async def take(self, series: Series, slots: Interval, token: str, *, void: str = "") -> OtherClaim | None:
        """Claim slots, or return the claim that holds some of them; a claim of the same token is renewed.

        Args:
            series: Series of the slots.
            slots: A page's interval.
            token: `RUN/TASK` of the task that claims.
            void: A token whose claims no longer count.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        reply = await self._run("take", series, slots, token, CLAIM_LIFE_MS, void)
        with understanding("a claim"):
            return None if reply[0] == 1 else OtherClaim(text(reply[1]), whole(reply[2], most=CLAIM_LIFE_MS))

    async def release(self, series: Series, slots: Interval, token: str) -> None:
        """Give a claim up.

        Raises:
            StoreError: Redis failed or refused the command; the claim expires later.
        """
        await self._run("release", series, slots, token)

    async def _run(self, action: str, series: Series, slots: Interval, token: str, *more: int | str) -> list[Any]:
        reach = LONGEST_SLOTS * series.timeframe.step_ms
        reply: list[Any] = await _CLAIM.run(
            self._client,
            keys=[self._scope.companion_key(series, "claims")],
            args=[action, token, slots.start, slots.stop, reach, *more],
        )
        return reply
