"""An engine's director in a process of its own, for tests that stop and wake it: a pass for each line it is given.

Arguments: the settings (JSON), the Redis URL, the life of its leases (ms). Says how each pass ended, a line each.
"""

from __future__ import annotations

import os
import sys

import trio

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.scheduled_passes import GAP_SCAN, ScheduledPasses
from reconciler_engine.errors import StoreError


async def direct(*arguments: str) -> None:
    settings, url, lease_ms = arguments
    config = ReconciliationConfig.model_validate_json(settings)
    async with open_parts(config, url, owns_server=False) as parts, trio.open_nursery() as nursery:
        passes = ScheduledPasses(parts, config.series(), now=lambda: 0, lease_ms=int(lease_ms))
        nursery.start_soon(passes.keep_leases)
        orders = trio.lowlevel.FdStream(os.dup(0))
        say(parts.queue.consumer)
        while await orders.receive_some():
            try:
                await passes.perform(GAP_SCAN)
            except StoreError as error:
                say(type(error).__name__)
            else:
                say("done")
        nursery.cancel_scope.cancel()


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    _, *arguments = sys.argv
    trio.run(direct, *arguments)
