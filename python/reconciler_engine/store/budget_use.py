"""The account of the request budget: how many requests went out, by hour, budget, node, lane and job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script, ScriptCall, run_batch
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope

HOURS_KEPT: Final = 96
"""Hours that are kept; older counts are dropped."""

FIELDS_KEPT: Final = 5_000
"""Counts kept at most (0.5 MB); beyond that, requests of a new purpose are counted under `others`."""

HOUR_MS: Final = 3_600_000
_USE = Script.load("reconciler_engine.store", "lua/use.lua")
_logger = logging.getLogger(__name__)


class Use(NamedTuple):
    """Requests of one hour for one purpose.

    Attributes:
        hour: Start of the hour, by Redis' clock (ms UTC).
        budget: Name of the budget, such as `public`.
        node: Machine that sent them.
        lane: Lane of their tasks; `-` for requests without a task.
        job: Job that needed them.
        requests: Number of requests.
    """

    hour: int
    budget: str
    node: str
    lane: str
    job: str
    requests: int


class BudgetUse:
    """The account of all budgets of one exchange, one hash in Redis. The client is the caller's to close."""

    def __init__(self, client: TrioRedis, scope: Scope, *, budget: str = "", node: str = "") -> None:
        """Open the account; this process counts its requests under `budget` and `node`."""
        self._client = client
        self._key = scope.shared_key("use")
        self._who = (budget.removeprefix("budget:"), node)

    async def count(self) -> None:
        """Count a request that this task sent, for its purpose.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        all_served(await run_batch(self._client, [use_call(self._key, *self._who, _purpose.get())]))

    async def read(self) -> list[Use]:
        """Return all counts, oldest hour first; fields that cannot be parsed are left out and logged.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        found = await self._client.execute_command("HGETALL", self._key)
        with understanding("the use of the budget"):
            uses = [_use(name, count) for name, count in found.items()]
        return sorted(use for use in uses if use is not None)


def use_call(key: str, budget: str, node: str, purpose: Purpose) -> ScriptCall:
    """Return the script's call that counts a request in the account at `key`."""
    field = "|".join(part.replace("|", "/") for part in (budget, node, purpose.lane, purpose.job))
    return _USE.call([key], [field, FIELDS_KEPT, HOURS_KEPT])


def _use(name: Any, count: Any) -> Use | None:
    try:
        hour, budget, node, lane, job = text(name).split("|")
        return Use(whole(hour) * HOUR_MS, budget, node, lane, job, whole(count))
    except (ValueError, TypeError) as error:
        _logger.warning("no count of the budget's use", extra={"error": repr(error)})
        return None


class Purpose(NamedTuple):
    """Purpose of a request: a job or a piece of housekeeping, and the lane of its task (`-` without one)."""

    job: str
    lane: str = "-"


_OTHER = Purpose("other")
_purpose: ContextVar[Purpose] = ContextVar("purpose", default=_OTHER)


@contextmanager
def asking_for(job: str, lane: str = "-") -> Iterator[None]:
    """Have the requests of the block's task, and of tasks that are started in it, counted as for this purpose."""
    token = _purpose.set(Purpose(job, lane))
    try:
        yield
    finally:
        _purpose.reset(token)
