"""Reap orphans, as the first process of a container must: a process that loses its parent becomes its child."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

_LOOK_S = 1.0


@asynccontextmanager
async def reaping_adopted() -> AsyncIterator[None]:
    """Reap adopted processes that have ended, for the length of a block; as process 1 alone, nobody else has any."""
    async with trio.open_nursery() as nursery:
        if os.getpid() == 1:
            nursery.start_soon(_reap)
        yield
        nursery.cancel_scope.cancel()


async def _reap() -> None:
    """Reap processes that lie dead at two looks in a row: our own children are reaped as soon as they end."""
    seen: int | None = None
    while True:
        await trio.sleep(_LOOK_S)
        found = _find_dead()
        if found is not None and found == seen:
            os.waitpid(found, os.WNOHANG)  # noqa: ASYNC222 - it is dead
        seen = found


def _find_dead() -> int | None:
    """Return a child that has ended and was not reaped yet, leaving it so."""
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if dead is None else dead.si_pid
