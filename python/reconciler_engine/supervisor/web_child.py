"""Runs the web child: opens its listening socket, sends it reports, and retries when it is given up."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random

import trio

from reconciler_engine.engine.roles.web import REPORT_BYTES
from reconciler_engine.errors import ConfigError, RoleFailed
from reconciler_engine.observe.web.listen import ListenAddress
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.report_source import ReportSource
from reconciler_engine.supervisor.restarting_child import RestartingChild
from reconciler_engine.supervisor.running_child import ChildSpec, SpecMaker

REPORT_S = 1.0
_AGAIN_S = 60.0
_STOP_S = 3.0
_BACKLOG = 64
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebSpec:
    """Settings of the pages.

    Attributes:
        address: Address to listen at.
        is_fixed: Whether the operator chose the address; if not, any free port replaces a port in use.
        token: Secret that every request must carry, or None.
        hosts: Names under which clients may reach this machine, besides its own name.
        redis_url: URL of the cache, from which the pages read the state of series.
    """

    address: ListenAddress
    is_fixed: bool
    token: str | None = field(repr=False)
    hosts: Sequence[str]
    redis_url: str = field(repr=False)


@asynccontextmanager
async def web_child(
    spec: WebSpec, maker: SpecMaker, reports: ReportSource, children: ChildList, ending: trio.Event
) -> AsyncIterator[None]:
    """Serve the pages while the block runs.

    This process opens the listening socket and keeps it; the child inherits it. So a port in use is reported before
    the engine starts, and a restarted child serves the same port, including clients that already wait there. Reports
    are sent over a pair of datagram sockets that also outlive the child: each report arrives whole or not at all, and
    sending never waits for a child that does not read.

    Raises:
        ConfigError: The address cannot be listened at.
    """
    listener = open_listener(spec.address, is_fixed=spec.is_fixed)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with listener, ours, theirs:
        ours.settimeout(0)
        theirs.settimeout(0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REPORT_BYTES)
        host, port = listener.getsockname()[:2]
        message = {
            "listener": listener.fileno(),
            "reports": theirs.fileno(),
            "token": spec.token,
            "hosts": [socket.gethostname(), *spec.hosts],
            "redis_url": spec.redis_url,
        }

        def make_spec() -> ChildSpec:
            made = maker.make("web", "reconciler_engine.engine.roles.web:run_web", **message)
            return replace(made, inherited=(listener.fileno(), theirs.fileno()))

        child = RestartingChild(make_spec, Random(), ending=ending)
        children.add(child, role="web")
        url = f"http://{ListenAddress(host, port)}/"
        _logger.info("pages", extra={"url": url, "summary": url})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, child)
            nursery.start_soon(_tell, reports, ours, theirs)
            try:
                yield
            finally:
                # If the child does not stop in time, or has not even started, cancelling `run` kills it.
                with trio.move_on_after(_STOP_S, shield=True):
                    await child.stop(_STOP_S)
                nursery.cancel_scope.cancel()


async def _keep(child: RestartingChild) -> None:
    """Run the child; if it is given up, the engine continues without it and tries again after a minute."""
    while True:
        try:
            await child.run()
        except RoleFailed as error:
            _logger.error("the pages are not served", extra={"error": str(error), "again_in_s": _AGAIN_S})
            await trio.sleep(_AGAIN_S)
        else:
            return


async def _tell(reports: ReportSource, ours: socket.socket, theirs: socket.socket) -> None:
    """Send the child a report once a second; when the socket is full, drop the reports that nobody has read."""
    while True:
        said = reports.report().model_dump_json().encode()
        try:
            ours.send(said)
        except BlockingIOError:
            with suppress(BlockingIOError):
                while theirs.recv(REPORT_BYTES):
                    pass
            with suppress(BlockingIOError):
                ours.send(said)
        await trio.sleep(REPORT_S)


def open_listener(address: ListenAddress, *, is_fixed: bool) -> socket.socket:
    """Listen at an address; if its port is in use and not fixed, listen at any free port.

    Raises:
        ConfigError: The address cannot be listened at.
    """
    try:
        return _listen(address)
    except OSError as error:
        if not is_fixed and error.errno == errno.EADDRINUSE:
            found = _listen(replace(address, port=0))
            extra = {"taken": str(address), "port": found.getsockname()[1], "hint": "set listen for one that stays"}
            _logger.warning("the default port is in use, another engine's perhaps; a free one is taken", extra=extra)
            return found
        reason = error.strerror or str(error)
        raise ConfigError(
            [f"listen {str(address)!r}: {reason}; allowed: an address of this machine with a free port, 0 for any; off"]
        ) from error


def _listen(address: ListenAddress) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
        listener.settimeout(0)
    except BaseException:
        listener.close()
        raise
    return listener
