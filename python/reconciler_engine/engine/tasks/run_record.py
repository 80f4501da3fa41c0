"""A run's record in Redis, which goes with the block that sees to the run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from reconciler_engine.errors import LeaseLost, StoreError
from reconciler_engine.store.tasks import TaskQueue

_CLOSE_TIMEOUT_S = 2.0

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def closed_after(queue: TaskQueue, run: str) -> AsyncIterator[None]:
    """Close the run when the block ends, cancelled or not: tasks of it that are still about are void.

    Nothing is raised where that fails, since it would hide the error that ended the block: the run is another
    engine's by then, or Redis is away and the record dies by itself.
    """
    try:
        yield
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            try:
                await queue.close_run(run)
            except LeaseLost:
                _logger.info("the run is another engine's now", extra={"run": run})
            except StoreError as error:
                _logger.info("the record of a run stays until it expires", extra={"run": run, "error": str(error)})
