"""Keeps one child process running: starts it, restarts it when it dies, replaces it, stops it in order."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from random import Random

import trio

from reconciler_engine.errors import RoleFailed
from reconciler_engine.observe.metrics import Figures, total
from reconciler_engine.planning.restart import FRUITLESS_LIMIT, Death, decide_restart
from reconciler_engine.supervisor.running_child import ChildSpec, NotReady, RunningChild, describe_status

EXIT_OS_ERROR = 71
"""Status of a child that the operating system could not start (EX_OSERR of sysexits.h)."""

_logger = logging.getLogger(__name__)


class RoleState(StrEnum):
    """State of a role: its child is starting or running, waits for a restart, or was given up."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    FAILED = "failed"


class RestartingChild:
    """Keeps one role's child alive until `stop`; `running` is the present process, None while there is none."""

    def __init__(
        self,
        make_spec: Callable[[], ChildSpec],
        random: Random,
        *,
        on_death: Callable[[RunningChild], Awaitable[None]] | None = None,
        ending: trio.Event | None = None,
        is_essential: bool = True,
        hint: str = "",
    ) -> None:
        """Prepare a child; `run` starts it.

        Args:
            make_spec: Returns the spec for each start; each process can so have its own name.
            random: Source of the jitter of pauses.
            on_death: Called when a process ends that had been ready, unless it was asked to stop and exits with 0.
            ending: Set once the whole engine is ending; a child that ends after that is not restarted.
            is_essential: Whether giving up the role ends the engine; if not, the role stays in the state `FAILED`.
            hint: Where the operator finds the cause; added to the error when the role is given up.
        """
        self._make_spec = make_spec
        self._random = random
        self._on_death = on_death
        self._is_essential = is_essential
        self._hint = f"; {hint}" if hint else ""
        self._deaths: deque[Death] = deque(maxlen=FRUITLESS_LIMIT + 1)
        self._stopping = trio.Event()
        self._ending = trio.Event() if ending is None else ending
        self._ended = trio.Event()
        self._wake = trio.Event()
        self._was_ready = False
        self._name = ""
        self._starting = trio.CancelScope()
        self._successor: RunningChild | None = None
        self.running: RunningChild | None = None
        self.first_beat: Mapping[str, object] = {}
        """First beat of the latest process that became ready; empty before that."""
        self.state = RoleState.STARTING
        self.restarts = 0
        self._past: Figures = {}

    @property
    def figures(self) -> Figures:
        """Summed metrics of the present and all earlier processes; the last second before a kill may be missing."""
        return self._past if self.running is None else total((self._past, self.running.figures))

    @property
    def last_exit(self) -> str | None:
        """Status of the last process that died, such as `SIGKILL` or `exit code 1`; None if there is none."""
        return describe_status(self._deaths[-1].status) if self._deaths else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the child alive until `stop`; calls `task_status.started` when the child is ready for the first time.

        If the engine ends, or a role that is not essential is given up, before the child was ever ready, this calls
        `started` and returns. When cancelled, it kills and reaps the child.

        Raises:
            RoleFailed: The child died too often before doing any work, or its configuration is unusable.
        """
        self._ended = trio.Event()
        try:
            await self._keep(task_status)
        except RoleFailed as failed:
            self.state = RoleState.FAILED
            if self._is_essential:
                raise
            _logger.error("role given up; the others go on", extra={"error": str(failed)})
        finally:
            self._ended.set()
            if self._successor is not None:
                await self._successor.kill()
        if not self._was_ready:
            task_status.started()

    async def replace(self, timeout_s: float) -> None:
        """Start a new process; once it is ready, ask the old process to finish, and kill it after `timeout_s`.

        Returns when the old process has ended. If the new process does not become ready, the old one stays. Only one
        task at a time may call this. When cancelled, one of the two processes stays.

        Raises:
            NotReady: The new process ended or sent no beat before it was ready.
            OSError: The operating system could not start the new process.
        """
        if self._is_over():
            return
        successor = await RunningChild.start(self._make_spec())
        if self._ended.is_set():
            await successor.kill()
            return
        self._successor = successor
        self._wake.set()
        predecessor = self.running
        if predecessor is None:
            return
        predecessor.ask_to_stop()
        with trio.move_on_after(timeout_s):
            await predecessor.gone.wait()
            return
        _end_late(predecessor)
        await predecessor.gone.wait()

    async def stop(self, timeout_s: float) -> None:
        """Ask the child to finish, and kill it after `timeout_s`; return when it has ended."""
        self._stopping.set()
        self._wake.set()
        for child in self._lives():
            child.ask_to_stop()
        with trio.move_on_after(timeout_s):
            await self._ended.wait()
            return
        self.kill()
        await self._ended.wait()

    def kill(self) -> None:
        """Kill the child at once, without a restart; `run` reaps it."""
        self._stopping.set()
        for child in self._lives():
            _end_late(child)
        self._starting.cancel()

    def _lives(self) -> list[RunningChild]:
        return [child for child in (self.running, self._successor) if child is not None]

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._ending.is_set()

    async def _keep(self, task_status: trio.TaskStatus[None]) -> None:
        while self._successor is not None or not self._is_over():
            self.state = RoleState.STARTING
            self._wake = trio.Event()
            # Clear it before starting: `replace` may set another successor meanwhile.
            successor, self._successor = self._successor, None
            life = successor or await self._start()
            if isinstance(life, RunningChild):
                if not self._was_ready:
                    self._was_ready = True
                    task_status.started()
                status, was_useful = await self._live(life), bool(life.beats.get("done"))
            else:
                status, was_useful = life, False
            if self._successor is None and not self._is_over():
                await self._pause(status, was_useful=was_useful)
                self.restarts += 1

    async def _start(self) -> RunningChild | int:
        """Return a process that is ready, or the exit status if it did not become ready."""
        spec = self._make_spec()
        self._name = spec.name
        with trio.CancelScope() as self._starting:
            try:
                return await RunningChild.start(spec)
            except NotReady as error:
                _logger.error("child did not start", extra={"child": spec.name, "error": str(error)})
                return error.status or 0
            except OSError as error:
                # The machine is out of processes, memory or descriptors: retry later, as after a death.
                _logger.error("child did not start", extra={"child": spec.name, "error": str(error)})
                return EXIT_OS_ERROR
        return -signal.SIGKILL

    async def _live(self, child: RunningChild) -> int:
        """Wait until a ready process ends, and return its exit status."""
        self.running = child
        self._name = child.spec.name
        self.first_beat = dict(child.beats)
        self.state = RoleState.RUNNING
        summary = f"{child.spec.name}, pid {child.pid}"
        _logger.info("child ready", extra={"child": child.spec.name, "pid": child.pid, "summary": summary})
        try:
            if self._stopping.is_set() or self._successor is not None:
                child.ask_to_stop()
            status = await child.wait()
        finally:
            await child.kill()
            self._past = self.figures
            self.running = None
        was_asked = self._is_over() or self._successor is not None
        if status != 0 or not was_asked:
            _logger.warning("child died", extra={"child": child.spec.name, "status": describe_status(status)})
            if self._on_death is not None:
                await self._on_death(child)
        return status

    async def _pause(self, status: int, *, was_useful: bool) -> None:
        self._deaths.append(Death(round(trio.current_time() * 1_000), status, was_useful))
        decision = decide_restart(list(self._deaths), self._random.random())
        if decision.reason is not None:
            raise RoleFailed(self._name, decision.reason + self._hint, status)
        if decision.delay_ms:
            self.state = RoleState.BACKING_OFF
        with trio.move_on_after(decision.delay_ms / 1_000):
            await self._wake.wait()


def _end_late(child: RunningChild) -> None:
    _logger.warning("child killed, it did not stop in time", extra={"child": child.spec.name})
    child.kill_nowait()
