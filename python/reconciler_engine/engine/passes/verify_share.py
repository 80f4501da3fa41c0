"""The share of the budget that verification may take: its pages wait here before they become tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from reconciler_engine.errors import PermitRefused
from reconciler_engine.limiting.redis_bucket import TokenBucket

_KEEP_RUN_S = 30.0


class VerifyShare:
    """Lets pages go as a bucket of its own allows, which all engines of the budget share.

    Its permits only pace: each request takes one of the budget, too, like any other.
    """

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket

    @property
    def per_minute(self) -> float:
        """How many requests of verification may go out a minute."""
        return 60 * self._bucket.budget.rate_per_s

    async def wait(self, deadline: float, keep_run: Callable[[], Awaitable[object]]) -> bool:
        """Wait for a permit, keeping a run alive; return False where none comes before `deadline` (trio's clock, s).

        Raises:
            StoreError: Redis did not answer, or the run's record was lost.
        """
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
