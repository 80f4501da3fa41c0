"""Waiting for what no event tells: another process' doing."""

from __future__ import annotations

from collections.abc import Callable

import trio

PATIENCE_S = 60.0
"""Bound of every wait; reached only when something is broken."""

_LOOK_S = 0.02


async def wait_until(condition: Callable[[], object], what: Callable[[], str] = str, patience_s: float = PATIENCE_S):
    """Wait until a condition holds; fail after `patience_s` with what was waited for."""
    with trio.move_on_after(patience_s):
        while True:
            if condition():
                return
            await trio.sleep(_LOOK_S)
    raise AssertionError(f"not within {patience_s:g} s: {what()}")
