"""The operator's orders by signal: SIGTERM and SIGINT drain, a second SIGINT ends at once, SIGHUP reloads settings."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from reconciler_engine.errors import StoreUnavailable
from reconciler_engine.supervisor.child_list import ChildList

INTERRUPTED = 130
_STDERR = 2

LAST_RESORT_S = 25.0
"""Time after the order to stop at which the remaining processes are killed."""

_logger = logging.getLogger(__name__)


class Orders:
    """The operator's orders; `stop` is set once the engine must end."""

    def __init__(self) -> None:
        self.stop = trio.Event()
        self._reload = trio.Event()

    async def wait_reload(self) -> None:
        """Wait for the next order to reload; several orders since the last call count as one."""
        await self._reload.wait()
        self._reload = trio.Event()

    def ask_reload(self) -> None:
        """Order a reload of the settings."""
        self._reload.set()


@asynccontextmanager
async def hear_orders(children: ChildList, *, may_reload: bool = True) -> AsyncIterator[Orders]:
    """Handle SIGTERM, SIGINT and, with `may_reload`, SIGHUP while the block runs; yields the orders.

    The first SIGTERM or SIGINT, or the SIGHUP of a closed terminal, orders a stop; children that still run
    `LAST_RESORT_S` later are killed. A second SIGINT kills the children and ends this process at once with 130; the
    embedded server then stops in order, by its lifeline. `StoreUnavailable` after an order to stop is suppressed: Redis
    may have been stopped at the same time.
    """
    orders = Orders()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, *(signal.SIGHUP,) * may_reload) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, received, orders, children)
            nursery.start_soon(_end_late, orders.stop, children)
            try:
                yield orders
            except* StoreUnavailable:
                if not orders.stop.is_set():
                    raise
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def given_up_at(end: trio.Event) -> AsyncIterator[None]:
    """Run a block that waits for something; cancel it once `end` is set. Execution continues after it in both cases."""
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await end.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        yield
        nursery.cancel_scope.cancel()


async def _listen(received: AsyncIterator[int], orders: Orders, children: ChildList) -> None:
    interrupts = 0
    had_terminal = os.isatty(_STDERR)
    async for number in received:
        if number == signal.SIGHUP and not (had_terminal and not os.isatty(_STDERR)):
            orders.ask_reload()
            continue
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            children.kill(but="redis")
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        if not orders.stop.is_set():
            hint = "; press Ctrl-C again to end at once" if number == signal.SIGINT else ""
            _logger.info("stopping: what is in hand is finished first%s", hint)
        orders.stop.set()


async def _end_late(stop: trio.Event, children: ChildList) -> None:
    await stop.wait()
    await trio.sleep(LAST_RESORT_S)
    children.kill()
