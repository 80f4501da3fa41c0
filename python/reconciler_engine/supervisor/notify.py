"""Notifies a service manager that this process is ready, reloading, stopping or alive, as in sd_notify(3)."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

_PATIENCE_S = 1.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """The service manager that started this process, if there is one.

    Attributes:
        address: Path of its unix datagram socket; a leading `@` means the abstract namespace. None: no service manager.
        watchdog_s: Seconds without `WATCHDOG=1` after which it takes this process for dead; None: no watchdog.
    """

    address: str | None = None
    watchdog_s: float | None = None

    async def tell(self, *lines: str) -> None:
        """Send lines such as `READY=1`; if the socket is full, wait for at most a second, then log a warning."""
        if self.address is None:
            return
        why = f"its socket was full for {_PATIENCE_S:g} s"
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, trio.move_on_after(_PATIENCE_S):
            try:
                # Connect first: only for a connected socket does the kernel report when there is room again.
                await door.connect(_path(self.address))
                await door.send("\n".join(lines).encode())
            except OSError as error:
                why = error.strerror or str(error)
            else:
                return
        _logger.warning("service manager not told", extra={"lines": lines, "error": why})

    async def tell_reloading(self) -> None:
        """Send that settings are being reloaded; a later `READY=1` ends the reload."""
        now_us = time.monotonic_ns() // 1_000
        await self.tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", "STATUS=reading the settings again")

    @asynccontextmanager
    async def watching(self, is_well: Callable[[], bool]) -> AsyncIterator[None]:
        """Send `WATCHDOG=1` every half `watchdog_s` while the block runs and `is_well` returns True."""
        async with trio.open_nursery() as nursery:
            if self.watchdog_s is not None:
                nursery.start_soon(self._watch, is_well, self.watchdog_s / 2)
            yield
            nursery.cancel_scope.cancel()

    async def _watch(self, is_well: Callable[[], bool], pause_s: float) -> None:
        while True:
            if is_well():
                await self.tell("WATCHDOG=1")
            await trio.sleep(pause_s)


def _path(address: str) -> str:
    return f"\0{address[1:]}" if address.startswith("@") else address
