"""What a service manager is told: ready, reloading, stopping, alive. systemd's datagram protocol (sd_notify(3))."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Who started this process and wants to hear of it, if anybody.

    Attributes:
        address: Path of its unix datagram socket; one that begins with `@` is in the abstract namespace. None: nobody.
        watchdog_s: A process that it does not hear of for so long is dead to it; None: it does not look.
    """

    address: str | None = None
    watchdog_s: float | None = None

    def tell(self, *lines: str) -> None:
        """Send lines such as `READY=1`; one that cannot be told is not waited for."""
        if self.address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as door:
            try:
                door.sendto("\n".join(lines).encode(), _path(self.address))
            except OSError as error:
                _logger.warning("service manager not told", extra={"lines": lines, "error": error.strerror})

    def tell_reloading(self) -> None:
        """Say that the settings are being read again; `READY=1` says that this is over."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}", "STATUS=reading the settings again")

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
                self.tell("WATCHDOG=1")
            await trio.sleep(pause_s)


def _path(address: str) -> str:
    return f"\0{address[1:]}" if address.startswith("@") else address
