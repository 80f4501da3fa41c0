"""Tell a service manager: ready, reloading, stopping, alive. systemd's datagram protocol (sd_notify(3))."""

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
    """The service manager that started this process and listens, if any.

    Attributes:
        address: Path of its unix datagram socket; one that begins with `@` is in the abstract namespace. None: nobody.
        watchdog_s: A process that it does not hear of for so long is dead to it; None: it does not look.
    """

    address: str | None = None
    watchdog_s: float | None = None

    async def tell(self, *lines: str) -> None:
        """Send lines such as `READY=1`; one whose socket is full of untaken words is waited for a second."""
        if self.address is None:
            return
        why = f"its socket was full for {_PATIENCE_S:g} s"
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, trio.move_on_after(_PATIENCE_S):
            try:
                # Of a socket that is connected the kernel tells when there is room.
                await door.connect(_path(self.address))
                await door.send("\n".join(lines).encode())
            except OSError as error:
                why = error.strerror or str(error)
            else:
                return
        _logger.warning("service manager not told", extra={"lines": lines, "error": why})

    async def tell_reloading(self) -> None:
        """Say that the settings are being read again; `READY=1` says that this is over."""
        now_us = time.monotonic_ns() // 1_000
        await self.tell("RELOADING=1", f"MONOTONIC_USEC={now_us}", "STATUS=reading the settings again")

    @asynccontextmanager
    async def watching(self, is_well: Callable[[], bool]) -> AsyncIterator[None]:
        """Say twice in each `watchdog_s` that all is well, as long as it is, for the length of a block."""
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
