"""Roles of test children, each with a trouble of its own; children find this file by their PYTHONPATH."""

from __future__ import annotations

import ctypes
import resource
import signal

import trio
from native_hang import hold_the_interpreter

from reconciler_engine.errors import ConfigError
from reconciler_engine.observe import metrics


class Idle:
    """Waits until it is drained."""

    tasks_done = 1

    def __init__(self, facts=None):
        self._facts = facts
        self._scope = trio.CancelScope()

    async def run(self, *, task_status):
        task_status.started(self._facts)
        with self._scope:
            await trio.sleep_forever()

    def drain(self):
        self._scope.cancel()


class Stuck(Idle):
    """Is ready, and then for ever inside native code that does not let go of the interpreter."""

    async def run(self, *, task_status):
        task_status.started()
        await trio.sleep(0.1)
        hold_the_interpreter()


class Busy(Idle):
    """Does not heed its drain."""

    def drain(self):
        pass


async def run_idle(message, do):
    await do(Idle({"generation": message.get("generation", 0)}))


async def run_secretive(_, do):
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    await do(Idle({"dumpable": dumpable, "core": resource.getrlimit(resource.RLIMIT_CORE)[0]}))


async def run_counting(_, do):
    metrics.REDIS_CONNECTIONS.add(1)
    await do(Idle())


async def run_stuck(_, do):
    await do(Stuck())


async def run_deaf(_, do):
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    await do(Stuck())


async def run_busy(_, do):
    await do(Busy())


async def run_silent(*_):
    await trio.sleep_forever()


async def run_refused(*_):
    await trio.lowlevel.checkpoint()
    raise ConfigError(["nothing works"])
