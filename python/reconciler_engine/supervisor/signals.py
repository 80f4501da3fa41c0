"""What the operator says: TERM drains, INT drains, a second INT ends at once."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

INTERRUPTED = 130
_logger = logging.getLogger(__name__)


@asynccontextmanager
async def stop_on_signal() -> AsyncIterator[trio.Event]:
    """Give an event that is set by the first SIGTERM or SIGINT; handlers stand before the block begins.

    A second SIGINT ends this process at once with 130; the children's lifelines end with it, and theirs with them.
    """
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, received, stop)
            yield stop
            nursery.cancel_scope.cancel()


async def _listen(received: AsyncIterator[int], stop: trio.Event) -> None:
    interrupts = 0
    async for number in received:
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        if not stop.is_set():
            hint = "; press Ctrl-C again to end at once" if number == signal.SIGINT else ""
            _logger.info("stopping: what is in hand is finished first%s", hint)
        stop.set()
