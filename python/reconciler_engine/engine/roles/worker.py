"""The worker as a child process: opens its parts and its client of the exchange, and keeps clock and product list."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.symbols import refresh_when_due
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT, Worker
from reconciler_engine.errors import StoreError
from reconciler_engine.store.protocol import check_protocol

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials

_LOOK_S = 30.0
_logger = logging.getLogger(__name__)


async def run_worker(message: dict[str, Any], do: Callable[[WorkerRole], Awaitable[None]]) -> None:
    """Open a worker's resources by the child's spec, and have `do` run it.

    Raises:
        ConfigError: A setting is wrong.
        OtherProtocol: An engine of another protocol works on the same candles: the program was replaced meanwhile.
    """
    config = ReconciliationConfig.check(message["config"])
    credentials = _take_credentials(message)
    identity = None if credentials is None else credentials.identity
    async with (
        open_parts(
            config,
            message["redis_url"],
            owns_server=message["owns_server"],
            identity=identity,
            consumer=message["consumer"],
        ) as parts,
        CoinbaseClient(
            config.base_url, credentials=credentials, route=config.route, connections=PAGES_IN_FLIGHT
        ) as source,
    ):
        # If Redis is away now, the worker waits for it; the supervisor has made this check before.
        with suppress(StoreError):
            await check_protocol(parts.client, parts.scope)
        await do(WorkerRole(parts, source))


def _take_credentials(message: dict[str, Any]) -> Credentials | None:
    """Move the key from the message into one object, so that no other object holds it."""
    given = message.pop("credentials", None)
    if given is None:
        return None
    # Cryptography is loaded only for a key.
    from reconciler_engine.coinbase.auth import Credentials  # noqa: PLC0415 - see above

    return Credentials(**given)


class WorkerRole:
    """A worker that also measures the exchange's clock and fetches its product list when these are due."""

    def __init__(self, parts: Parts, source: CoinbaseClient) -> None:
        self._parts = parts
        self._source = source
        self._worker: Worker = parts.worker(source)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until drained; started once tasks can be taken."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_up)
            await self._worker.run(task_status=task_status)
            nursery.cancel_scope.cancel()

    def drain(self) -> None:
        """Take no more tasks."""
        self._worker.drain()

    @property
    def tasks_done(self) -> int:
        """Tasks finished so far."""
        return self._worker.tasks_done

    async def _keep_up(self) -> None:
        is_first = True
        while True:
            try:
                await self._parts.clock.measure_when_due(self._source, self._parts.bucket)
                # The first pages take permits before the list does, since few of them depend on it.
                if not is_first:
                    await refresh_when_due(self._parts, self._source)
            except StoreError as error:
                _logger.info("the exchange's clock or product list was not kept", extra={"error": str(error)})
            is_first = False
            await trio.sleep(_LOOK_S)
