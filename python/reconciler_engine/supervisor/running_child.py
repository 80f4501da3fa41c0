"""One process of a child, as its parent sees it: started with a spec, watched by its beats, stopped or killed."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from reconciler_engine.errors import WorkerError
from reconciler_engine.observe.logs import Style
from reconciler_engine.observe.metrics import Figures
from reconciler_engine.planning.restart import BEAT_S

READY_TIMEOUT_S = 30.0
"""Longest time from a child's start to its first beat."""

BEATS_MISSED = 5
"""Missed beats in a row after which a child counts as hanging: it must print its stacks (SIGABRT), then is killed."""

ABORT_S = 1.0

DRAIN_S = 20.0
"""Time that a child has to finish the work in hand after SIGTERM; what remains then is cancelled."""

_LINE_LIMIT = 64 * 1024
_logger = logging.getLogger(__name__)


class NotReady(WorkerError):
    """A child ended, or was killed for silence, before its first beat; `status` is its exit status, None if killed."""

    def __init__(self, name: str, reason: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(f"{name} {reason}")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """Arguments for starting a child.

    Attributes:
        name: Name of the child, unique in the engine, such as `worker-1`.
        module: Module to run as the child's program.
        message: JSON object to send to its standard input; may contain secrets, so it is not on the command line.
        environment: The child's whole environment.
        own_session: Whether the child gets its own session, which signals of the terminal do not reach.
        inherited: File descriptors of this process that the child inherits under the same numbers.
    """

    name: str
    module: str
    message: Mapping[str, object] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    own_session: bool = False
    inherited: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SpecMaker:
    """Makes the specs of children that have a role.

    Attributes:
        environment: Environment of every child, without secrets and settings.
        log_style: Style of every process's log.
        log_level: Lowest level that is logged.
        simulated: Whether candles are simulated; every log line then says so.
    """

    environment: Mapping[str, str] = field(repr=False)
    log_style: Style
    log_level: str
    simulated: bool = False

    def make(self, name: str, runner: str, **message: object) -> ChildSpec:
        """Return the spec of a child with the role that the function `runner` (`module:function`) opens."""
        common = {
            "name": name,
            "runner": runner,
            "log_style": self.log_style,
            "log_level": self.log_level,
            "simulated": self.simulated,
        }
        return ChildSpec(name, "reconciler_engine.supervisor.child_program", {**common, **message}, self.environment)


class RunningChild:
    """A running child. Its standard input is the lifeline: when this process ends, the child ends.

    `started_at` and `beat_at` are the times of its start and its last beat on trio's clock (s); `beats` is the content
    of the last beat, `figures` the metrics in it. `gone` is set once the child has ended and is reaped.
    """

    def __init__(self, spec: ChildSpec, process: trio.Process) -> None:
        self.spec = spec
        self.beats: dict[str, Any] = {}
        self.figures: Figures = {}
        self.started_at = self.beat_at = trio.current_time()
        self.gone = trio.Event()
        self._process = process
        self._buffer = bytearray()

    @classmethod
    async def start(cls, spec: ChildSpec) -> RunningChild:
        """Start a child and wait for its first beat.

        When this is cancelled or fails, the child is killed and reaped first.

        Raises:
            NotReady: The child ended, or sent no beat in time.
        """
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", spec.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(spec.environment),
            start_new_session=spec.own_session,
            pass_fds=spec.inherited,
        )
        child = cls(spec, process)
        try:
            with trio.move_on_after(READY_TIMEOUT_S):
                await child._hand_over()
                if await child._next_beat():
                    return child
                status = await process.wait()
                raise NotReady(spec.name, f"ended with {describe_status(status)} before it was ready", status)
            await child._abort()
            raise NotReady(spec.name, f"was not ready within {READY_TIMEOUT_S:g} s")
        except BaseException:
            await child.kill()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit code or negative signal number; None while the child runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the child has ended, and return its status; kill it if its beats stop.

        When this is cancelled, the child keeps running.
        """
        missed = 0
        # Count missed beats instead of time: after a stop of this process itself (Ctrl-Z), only one beat is missed.
        while missed < BEATS_MISSED:
            with trio.move_on_after(BEAT_S) as silence:
                if not await self._next_beat():
                    return await self._process.wait()
            missed = missed + 1 if silence.cancelled_caught else 0
        _logger.error("child hangs", extra={"child": self.spec.name, "pid": self.pid, "beats_missed": missed})
        await self._abort()
        return await self._process.wait()

    def ask_to_stop(self) -> None:
        """Send SIGTERM: the child finishes the work in hand, then ends."""
        self._process.terminate()

    def kill_nowait(self) -> None:
        """Send SIGKILL; the task that waits for the child reaps it."""
        self._process.kill()

    async def kill(self) -> None:
        """Kill and reap the child in any state; cancellation does not interrupt this."""
        with trio.CancelScope(shield=True):
            self._process.kill()
            await self._process.wait()
            await self._close_pipes()
            self.gone.set()

    async def _abort(self) -> None:
        """Make a hanging child print its stacks, then kill it."""
        self._process.send_signal(signal.SIGABRT)
        # A stopped process handles the signal only once it continues.
        self._process.send_signal(signal.SIGCONT)
        with trio.move_on_after(ABORT_S):
            await self._process.wait()
        self._process.kill()

    async def _hand_over(self) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise WorkerError(f"{self.spec.name} has no standard input")
        try:
            await stdin.send_all(json.dumps(self.spec.message).encode() + b"\n")
        except trio.BrokenResourceError:
            # The child has ended already; the missing first beat shows that.
            return

    async def _next_beat(self) -> bool:
        """Read one beat; return False at the end of the child's output."""
        stdout = self._process.stdout
        if stdout is None:
            raise WorkerError(f"{self.spec.name} has no standard output")
        while b"\n" not in self._buffer:
            received = await stdout.receive_some(_LINE_LIMIT)
            if not received:
                return False
            self._buffer += received
            # After a stop of this process, the pipe contains many lines at once.
            if len(self._buffer) > _LINE_LIMIT and b"\n" not in self._buffer:
                raise WorkerError(f"{self.spec.name} wrote a line of more than {_LINE_LIMIT} bytes where beats go")
        line, _, rest = bytes(self._buffer).rpartition(b"\n")
        self._buffer = bytearray(rest)
        self.beats = json.loads(line.rpartition(b"\n")[2])
        self.figures = self.beats.pop("figures", self.figures)
        self.beat_at = trio.current_time()
        return True

    async def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                await trio.aclose_forcefully(pipe)


def describe_status(status: int) -> str:
    """Return a process's status in words, such as `exit code 1` or `SIGKILL`."""
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name
