"""A child over all its lives: started, started again when it dies, replaced, ended in order."""

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
"""Exit status of a child that the operating system did not start (EX_OSERR of sysexits.h)."""

_logger = logging.getLogger(__name__)


class RoleState(StrEnum):
    """How a role stands: its child is being started, is at work, is waited with after a death, or was given up."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    FAILED = "failed"


class RestartingChild:
    """Keeps one role's child alive until it is stopped; `running` is its present life, None between two."""

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
        """Make a child; `run` starts it.

        Args:
            make_spec: Called for each start, so that each life can have a name of its own.
            random: Draws the jitter of pauses.
            on_death: Called after each death of a child that had been ready, unless it ended as it was asked to.
            ending: Set once the whole engine is ending; a child that dies then stays dead.
            is_essential: Whether giving the role up ends the engine; if not, it stays down and its state says so.
            hint: Where to look, for the message that the role was given up.
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
        """Message of the youngest child when it was ready; empty while none has been."""
        self.state = RoleState.STARTING
        self.restarts = 0
        self._past: Figures = {}

    @property
    def figures(self) -> Figures:
        """Counts of the child and of those before it; up to the last second of a killed one is missing."""
        return self._past if self.running is None else total((self._past, self.running.figures))

    @property
    def last_exit(self) -> str | None:
        """How the last child that died did so, such as `SIGKILL` or `exit code 1`; None while none has."""
        return describe_status(self._deaths[-1].status) if self._deaths else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the child alive until `stop`; started once the child is ready for the first time.

        Where the engine ends before it ever is, it is started and over at once: nobody needs the child any more. So is
        a role that is given up and not essential. Cancelled, the child is killed and reaped.

        Raises:
            RoleFailed: It died too often before doing any work, or its configuration cannot work.
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
        """Start another child; once it is ready it takes over, and the one before it is asked to finish.

        Returns when that one is gone, killed after `timeout_s`. Where the new one does not get ready the old one stays.
        Replacing is done by one task at a time. Cancelled, either the old or the new child is kept.

        Raises:
            NotReady: The new child ended or stayed silent before it was ready.
            OSError: The machine did not start it.
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
        """Ask the child to finish, kill it after `timeout_s`; return when it is gone."""
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
        """End the child this moment, and for good; `run` reaps it."""
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
            # Taken first: another may come while a child is started.
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
        """Return a child that is ready, or the status of one that was not to be had."""
        spec = self._make_spec()
        self._name = spec.name
        with trio.CancelScope() as self._starting:
            try:
                return await RunningChild.start(spec)
            except NotReady as error:
                _logger.error("child did not start", extra={"child": spec.name, "error": str(error)})
                return error.status or 0
            except OSError as error:
                # No process, no memory, no descriptor left: a passing trouble of the machine, as a death is.
                _logger.error("child did not start", extra={"child": spec.name, "error": str(error)})
                return EXIT_OS_ERROR
        return -signal.SIGKILL

    async def _live(self, child: RunningChild) -> int:
        """The rest of a child's life, from when it is ready: how it ended."""
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
