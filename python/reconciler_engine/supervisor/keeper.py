"""The keeper of one role: starts its child, starts it again when it dies, and ends it in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from random import Random

import trio

from reconciler_engine.errors import RoleFailed
from reconciler_engine.observe.metrics import Figures, total
from reconciler_engine.planning.restart import FRUITLESS_LIMIT, Death, decide_restart
from reconciler_engine.supervisor.process import ChildProcess, ChildSpec, NotReady, describe_status

EXIT_OS_ERROR = 71
"""What counts as the status of a child that the operating system did not start (EX_OSERR of sysexits.h)."""

_logger = logging.getLogger(__name__)


class Keeper:
    """Keeps one child alive until it is stopped."""

    def __init__(
        self,
        make_spec: Callable[[], ChildSpec],
        random: Random,
        *,
        on_death: Callable[[ChildProcess], Awaitable[None]] | None = None,
        ending: trio.Event | None = None,
    ) -> None:
        """Make a keeper.

        Args:
            make_spec: Called for each start, so that each life can have a name of its own.
            random: Draws the jitter of pauses.
            on_death: Called after each death of a child that had been ready, unless it was asked to stop.
            ending: Set once the whole tree is ending; who dies then, of a signal that all got, stays dead.
        """
        self._make_spec = make_spec
        self._random = random
        self._on_death = on_death
        self._deaths: deque[Death] = deque(maxlen=FRUITLESS_LIMIT + 1)
        self._stopping = trio.Event()
        self._ending = trio.Event() if ending is None else ending
        self._ended = trio.Event()
        self._was_ready = False
        self.child: ChildProcess | None = None
        self.first_beat: Mapping[str, object] = {}
        """What the youngest child said when it was ready; empty while none has been."""
        self.restarts = 0
        self._past: Figures = {}

    @property
    def figures(self) -> Figures:
        """What the child has counted, and those before it; of one that was killed up to a second is not in it."""
        return self._past if self.child is None else total((self._past, self.child.figures))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the child alive until `stop`; started once the child is ready for the first time.

        Where the tree ends before it ever is, it is started and over at once: nobody needs the child any more.
        Cancelled, the child is killed and reaped.

        Raises:
            RoleFailed: It died too often before doing any work, or its configuration cannot work.
        """
        try:
            while not self._is_over():
                spec = self._make_spec()
                status, was_useful = await self._live(spec, task_status)
                if not self._is_over():
                    await self._pause(spec, status, was_useful=was_useful)
                    self.restarts += 1
            if not self._was_ready:
                task_status.started()
        finally:
            self._ended.set()

    async def stop(self, timeout_s: float) -> None:
        """Ask the child to finish, kill it after `timeout_s`; return when it is gone."""
        self._stopping.set()
        if self.child is not None:
            self.child.ask_to_stop()
        with trio.move_on_after(timeout_s):
            await self._ended.wait()
            return
        if self.child is not None:
            _logger.warning("child killed, it did not stop in time", extra={"child": self.child.spec.name})
            await self.child.kill()
        await self._ended.wait()

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._ending.is_set()

    async def _live(self, spec: ChildSpec, task_status: trio.TaskStatus[None]) -> tuple[int, bool]:
        """One life of the child: how it ended, and whether it was of use."""
        try:
            child = await ChildProcess.start(spec)
        except NotReady as error:
            _logger.error("child did not start", extra={"child": spec.name, "error": str(error)})
            return error.status or 0, False
        except OSError as error:
            # No process, no memory, no descriptor left: a passing trouble of the machine, as a death is.
            _logger.error("child did not start", extra={"child": spec.name, "error": str(error)})
            return EXIT_OS_ERROR, False
        self.child = child
        self.first_beat = dict(child.beats)
        if not self._was_ready:
            self._was_ready = True
            task_status.started()
        _logger.info("child ready", extra={"child": spec.name, "pid": child.pid})
        try:
            if self._stopping.is_set():
                child.ask_to_stop()
            status = await child.wait()
        finally:
            await child.kill()
            self._past = self.figures
            self.child = None
        if not self._is_over():
            _logger.warning("child died", extra={"child": spec.name, "status": describe_status(status)})
            if self._on_death is not None:
                await self._on_death(child)
        return status, bool(child.beats.get("done"))

    async def _pause(self, spec: ChildSpec, status: int, *, was_useful: bool) -> None:
        self._deaths.append(Death(round(trio.current_time() * 1_000), status, was_useful))
        decision = decide_restart(list(self._deaths), self._random.random())
        if decision.reason is not None:
            raise RoleFailed(spec.name, decision.reason, status)
        with trio.move_on_after(decision.delay_ms / 1_000):
            await self._stopping.wait()
