"""The web child: the socket it answers on, the reports it is sent, and why its death ends nothing."""

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
    """How the pages are served.

    Attributes:
        address: Where they are listened for.
        is_fixed: Whether the operator named it; else any free port does where another program has this one.
        token: Secret that every request must bear, or None.
        hosts: Names this machine is asked by, beside its own.
        redis_url: Where passes note how the series stand.
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
    """Serve the pages for the length of the block.

    This process opens the socket and keeps it, the child answers on it: so a port in use is known before anything
    starts, and a child that is started again finds the port, and those who wait at it. Reports go the same way, over a
    pair of datagram sockets that outlives the child: each is there whole or not at all, and none waits for a child
    that does not read.

    Raises:
        ConfigError: The address cannot be listened on.
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
                # Cancelled, `run` kills a child that is not even up yet.
                with trio.move_on_after(_STOP_S, shield=True):
                    await child.stop(_STOP_S)
                nursery.cancel_scope.cancel()


async def _keep(child: RestartingChild) -> None:
    """Run the child; given up as others are, it is tried again after a while: the engine goes on without it."""
    while True:
        try:
            await child.run()
        except RoleFailed as error:
            _logger.error("the pages are not served", extra={"error": str(error), "again_in_s": _AGAIN_S})
            await trio.sleep(_AGAIN_S)
        else:
            return


async def _tell(reports: ReportSource, ours: socket.socket, theirs: socket.socket) -> None:
    """Tell the child once a second; messages that a dead child left unread are dropped."""
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
    """Listen on an address; on any free port where another program has its port, unless it is fixed.

    Raises:
        ConfigError: It cannot be listened on.
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
