"""A keeper whose child cannot be started, or should not be any more."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from random import Random

import pytest
import trio
import trio.testing

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import RoleFailed
from reconciler_engine.supervisor.keeper import EXIT_OS_ERROR, Keeper
from reconciler_engine.supervisor.process import ChildMaker, ChildProcess, ChildSpec

SPEC = ChildSpec("nobody", "reconciler_engine.no_such_module", {}, dict(os.environ))


@pytest.mark.usefixtures("autojump_clock")
async def test_a_machine_out_of_processes_is_a_death_and_not_the_end(monkeypatch, caplog):
    asked = []

    async def refuse(*_, **__):
        asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(trio.lowlevel, "open_process", refuse)
    with pytest.RaisesGroup(RoleFailed) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Keeper(lambda: SPEC, Random(1)).run)
    (failed,) = caught.value.exceptions
    assert isinstance(failed, RoleFailed)
    assert str(failed) == "nobody given up: died 6 times within 60 s before doing any work"
    assert failed.status == EXIT_OS_ERROR
    assert len(asked) == 6
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(asked))
    assert caplog.text.count("child did not start") == 6


async def test_a_child_that_dies_while_all_end_is_started_and_over():
    ending = trio.Event()
    ending.set()
    keeper = Keeper(lambda: SPEC, Random(1), ending=ending)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
        await keeper.stop(1)
    assert (keeper.child, keeper.restarts, keeper.first_beat) == (None, 0, {})


async def test_a_child_that_never_gets_ready_ends_its_role():
    with trio.fail_after(60), pytest.RaisesGroup(RoleFailed):
        async with trio.open_nursery() as nursery:
            keeper = Keeper(lambda: SPEC, _NoJitter())
            nursery.start_soon(keeper.run)
    assert keeper.restarts == 5


class _NoJitter(Random):
    def random(self) -> float:
        return 0.0


async def test_what_children_counted_outlives_them(redis_url):
    config = ReconciliationConfig(base_url="http://127.0.0.1:9").model_dump(mode="json")
    maker = ChildMaker(dict(os.environ), "json", "WARNING")
    lives = itertools.count(1)

    def make_spec() -> ChildSpec:
        runner = "reconciler_engine.engine.worker_role:run_worker"
        name = f"worker-{next(lives)}"
        return maker.child(name, runner, config=config, redis_url=redis_url, owns_server=False)

    died, may_go_on = trio.Event(), trio.Event()

    async def note(_: ChildProcess) -> None:
        died.set()
        await may_go_on.wait()

    keeper = Keeper(make_spec, Random(1), on_death=note)

    def connections() -> float:
        return keeper.figures.get("redis_connections_total", [0])[0]

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            while not connections():
                await trio.testing.wait_all_tasks_blocked(0.05)
            counted = keeper.figures
            assert keeper.child is not None
            os.kill(keeper.child.pid, signal.SIGKILL)
            await died.wait()
            assert connections() >= counted["redis_connections_total"][0]
            may_go_on.set()
            while connections() == counted["redis_connections_total"][0]:
                await trio.testing.wait_all_tasks_blocked(0.05)
            assert connections() > counted["redis_connections_total"][0]
            await keeper.stop(20)
