"""The program of a child with a role: reads its spec, watches the lifeline, runs the role, sends a beat every second.

Standard input carries the spec (one line of JSON) and is the lifeline afterwards. Standard output carries only beats.
Standard error is the log.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import trio

from reconciler_engine.errors import ConfigError, OtherProtocol, leaves
from reconciler_engine.observe import logs, metrics
from reconciler_engine.observe.words import printable
from reconciler_engine.planning.restart import BEAT_S, EXIT_BUSY, EXIT_CONFIG
from reconciler_engine.program_start import spare_time_and_memory
from reconciler_engine.supervisor.running_child import DRAIN_S
from reconciler_engine.supervisor.secrecy import keep_memory_secret

_logger = logging.getLogger(__name__)
_SPEC_LIMIT = 16 * 1024 * 1024
_ORPHANED = 70
"""Exit code of a child whose parent is gone."""


class Role(Protocol):
    """The work of a child."""

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> None:
        """Work until drained; call `task_status.started` when ready, with an optional message for the parent."""

    def drain(self) -> None:
        """Start no new work; `run` returns when the current work is done."""

    @property
    def tasks_done(self) -> int:
        """Units of work done so far; a child that dies with 0 counts as fruitless."""


RoleRunner = Callable[[dict[str, Any], Callable[[Role], Awaitable[None]]], Awaitable[None]]
"""Opens a role's resources from the spec's message, calls the callback with the role, then closes the resources."""


def main() -> None:
    """Run as a child; exit with 0 when drained, 78 for an unusable configuration, 75 if another engine must end."""
    # Only the parent reacts to Ctrl-C in the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that misses our beats sends SIGABRT, which now prints all stacks.
    faulthandler.enable()
    # The spec may contain the API key, the token of the pages or the password of Redis.
    keep_memory_secret()
    spec = json.loads(_read_line(0))
    _hold_lifeline(0)
    beats = Beats(os.dup(1))
    os.dup2(2, 1)
    logs.configure(spec["log_style"], spec["log_level"], process=spec["name"], simulated=spec["simulated"])
    spare_time_and_memory()
    module, _, function = spec["runner"].partition(":")
    runner: RoleRunner = getattr(importlib.import_module(module), function)
    try:
        trio.run(_serve, runner, spec, beats)
    except* ConfigError as group:
        _tell(group)
        sys.exit(EXIT_CONFIG)
    except* OtherProtocol as group:
        _tell(group)
        sys.exit(EXIT_BUSY)
    finally:
        logs.settle()


def _tell(group: BaseExceptionGroup) -> None:
    with contextlib.suppress(OSError):
        for error in leaves(group):
            told = "\n".join(map(printable, str(error).splitlines()))
            print(told, file=sys.stderr)  # noqa: T201  read by the operator, as the parent's own faults are


async def _serve(runner: RoleRunner, spec: dict[str, Any], beats: Beats) -> None:
    # Ignore SIGTERM once the receiver is closed. A signal to the process group can arrive after the parent's signal and
    # must not kill a child that has already drained.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with trio.open_signal_receiver(signal.SIGTERM) as terminations:

        async def do(role: Role) -> None:
            facts: Mapping[str, object] = {}
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(_drain_when_asked, terminations, role, scope)
                    async with trio.open_nursery() as working:
                        facts = await working.start(role.run) or {}
                        nursery.start_soon(_keep_beating, role, facts, beats)
                nursery.cancel_scope.cancel()
            if scope.cancelled_caught:
                _logger.info("cancelled what was still in hand", extra={"after_s": DRAIN_S})
            # Send the metrics since the previous beat.
            beats.say(role.tasks_done, facts)

        await runner(spec, do)


async def _drain_when_asked(terminations: AsyncIterator[int], role: Role, scope: trio.CancelScope) -> None:
    async for _ in terminations:
        role.drain()
        scope.deadline = min(scope.deadline, trio.current_time() + DRAIN_S)


async def _keep_beating(role: Role, facts: Mapping[str, object], beats: Beats) -> None:
    while True:
        beats.say(role.tasks_done, facts)
        await trio.sleep(BEAT_S)


class Beats:
    """Writes beats to a pipe, one line each; never blocks, even if the parent does not read or has died."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._unsaid = b""

    def say(self, done: int, facts: Mapping[str, object]) -> None:
        """Send a beat with the work done, the metrics so far and the message for the parent.

        Each beat is complete, so that the newest replaces all earlier ones and a lost beat does not matter.
        """
        # If the last line was written only in part, finish it instead of starting a new one.
        if not self._unsaid:
            beat = {**facts, "done": done, "figures": metrics.figures()}
            self._unsaid = json.dumps(beat, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._unsaid = self._unsaid[os.write(self._descriptor, self._unsaid) :]


def _read_line(descriptor: int) -> bytes:
    """Read the first line; the parent sends nothing after it, and the pipe then serves as the lifeline."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < _SPEC_LIMIT:
        received = os.read(descriptor, 65_536)
        if not received:
            sys.exit(_ORPHANED)
        line += received
    return bytes(line)


def _hold_lifeline(descriptor: int) -> None:
    """End this process with `_ORPHANED` as soon as the pipe that `descriptor` reads from is closed at its other end.

    A native thread watches the pipe, so that a child ends even while its Python code is stuck. Without the native
    module a Python thread watches, which cannot act while native code holds the interpreter.
    """
    try:
        native = importlib.import_module("reconciler_engine._native")
    except ImportError:
        threading.Thread(target=_watch, args=(descriptor,), name="lifeline", daemon=True).start()
    else:
        native.watch_lifeline(descriptor, _ORPHANED)


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 4_096):
        pass
    os._exit(_ORPHANED)


if __name__ == "__main__":
    main()
