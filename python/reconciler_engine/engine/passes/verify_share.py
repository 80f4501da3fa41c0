"""The share of the budget that verification may take: its pages wait here before they become tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf

import trio

from reconciler_engine.engine.tasks.messages import PageTask
from reconciler_engine.errors import PermitRefused
from reconciler_engine.limiting.redis_bucket import TokenBucket

_KEEP_RUN_S = 30.0

Enqueue = Callable[[Sequence[tuple[str, str]]], Awaitable[None]]
"""Puts tasks (id, body) on a lane."""


class VerifyShare:
    """Hands out pages as a bucket of its own allows, which all engines of the budget share.

    Its permits only pace: each request takes one of the budget, too, like any other.
    """

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket

    @property
    def per_minute(self) -> float:
        """How many requests of verification may go out a minute."""
        return 60 * self._bucket.budget.rate_per_s

    async def hand_out(
        self,
        tasks: Sequence[PageTask],
        enqueue: Enqueue,
        keep_run: Callable[[], Awaitable[None]],
        limit_s: float | None,
    ) -> list[PageTask]:
        """Hand out pages in their order; return those handed out.

        Pages that are asked for because of missing candles alone do not wait.

        Args:
            tasks: The pages.
            enqueue: Puts them on their lane.
            keep_run: Keeps their run alive.
            limit_s: How long this may take; None without a limit.

        Raises:
            StoreError: Redis did not answer, or the run's record was lost.
        """
        handed: list[PageTask] = []
        deadline = trio.current_time() + (inf if limit_s is None else limit_s)
        for task in tasks:
            if task.to_audit and not await self._wait(deadline, keep_run):
                break
            await enqueue([(task.id, task.model_dump_json())])
            handed.append(task)
        return handed

    async def _wait(self, deadline: float, keep_run: Callable[[], Awaitable[None]]) -> bool:
        """Wait for a permit; return False where none comes before `deadline` (trio's clock, s)."""
        while (left := deadline - trio.current_time()) > 0:
            try:
                await self._bucket.wait_permit(min(left, _KEEP_RUN_S))
            except PermitRefused as refused:
                if refused.wait_ms > left * 1_000:
                    return False
                await trio.sleep(min(refused.wait_ms / 1_000, _KEEP_RUN_S))
                await keep_run()
            else:
                return True
        return False
