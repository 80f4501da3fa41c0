"""Waiting for what no event tells: another process' doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

PATIENCE_S = 120.0
"""Bound of every wait; reached only when something is broken."""

_LOOK_S = 0.05
_T = TypeVar("_T")


async def wait_until(
    find: Callable[[], _T | None], what: Callable[[], str] = str, patience_s: float = PATIENCE_S
) -> _T:
    """Wait until there is something, and return it; fail after `patience_s` with what was waited for."""
    with trio.move_on_after(patience_s):
        while True:
            found = find()
            if found:
                return found
            await trio.sleep(_LOOK_S)
    raise AssertionError(f"not within {patience_s:g} s: {what()}")


async def wait_until_so(
    ask: Callable[[], Awaitable[object]], patience_s: float = PATIENCE_S, look_s: float = _LOOK_S
) -> None:
    """Wait until the answer to what has to be asked for is yes; fail after `patience_s`."""
    with trio.fail_after(patience_s):
        while True:
            if await ask():
                return
            await trio.sleep(look_s)


@contextmanager
def watching_stalls() -> Iterator[Callable[[], float]]:
    """Watch this process; the call tells how long (s) it stood still at most: so late it may have noted a request."""
    longest_s, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal longest_s
        before = time.monotonic()
        while not over.wait(_LOOK_S):
            now = time.monotonic()
            longest_s, before = max(longest_s, now - before - _LOOK_S), now

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: longest_s
    finally:
        over.set()
        watcher.join()
