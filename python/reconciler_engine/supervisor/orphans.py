"""Reaps orphans: in a container, a process whose parent has died becomes a child of process 1, which must reap it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

_LOOK_S = 1.0


@asynccontextmanager
async def reaping_adopted() -> AsyncIterator[None]:
    """Reap adopted processes that have ended, while the block runs; does nothing unless this is process 1."""
    async with trio.open_nursery() as nursery:
        if os.getpid() == 1:
            nursery.start_soon(_reap)
        yield
        nursery.cancel_scope.cancel()


async def _reap() -> None:
    """Reap a process that is found dead twice in a row: our own children are reaped elsewhere before that."""
    seen: int | None = None
    while True:
        await trio.sleep(_LOOK_S)
        found = _find_dead()
        if found is not None and found == seen:
            os.waitpid(found, os.WNOHANG)  # noqa: ASYNC222 - it is dead
        seen = found


def _find_dead() -> int | None:
    """Return the pid of a child that has ended and is not yet reaped, or None; does not reap it."""
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if dead is None else dead.si_pid
