"""A child over its lives: one that cannot be started, hangs, is replaced, or should not be there any more."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio
from tests.integration.processes import children_of, command_of

from reconciler_engine.errors import RoleFailed
from reconciler_engine.planning import restart
from reconciler_engine.planning.restart import EXIT_CONFIG
from reconciler_engine.supervisor import running_child
from reconciler_engine.supervisor.restarting_child import EXIT_OS_ERROR, RestartingChild, RoleState
from reconciler_engine.supervisor.running_child import ChildSpec, NotReady, RunningChild, SpecMaker

MAKER = SpecMaker({**os.environ, "PYTHONPATH": str(Path(__file__).parent / "children")}, "json", "INFO")
# An interpreter that finds no library of its own ends at once.
SPEC = ChildSpec("nobody", "reconciler_engine.no_such_module", {}, {**os.environ, "PYTHONHOME": "/nowhere"})


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
            nursery.start_soon(RestartingChild(lambda: SPEC, Random(1), hint="the log says why").run)
    (failed,) = caught.value.exceptions
    assert isinstance(failed, RoleFailed)
    assert str(failed) == "nobody given up: died 6 times within 60 s before doing any work; the log says why"
    assert failed.status == EXIT_OS_ERROR
    assert len(asked) == 6
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(asked))
    assert caplog.text.count("child did not start") == 6


async def test_a_child_that_dies_while_all_end_is_started_and_over():
    ending = trio.Event()

    def make_spec():
        ending.set()
        return SPEC

    child = RestartingChild(make_spec, Random(1), ending=ending)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(child.run)
        await child.stop(1)
    assert (ending.is_set(), child.running, child.restarts, child.first_beat) == (True, None, 0, {})


async def test_a_child_that_never_gets_ready_ends_its_role():
    with trio.fail_after(60), pytest.RaisesGroup(RoleFailed):
        async with trio.open_nursery() as nursery:
            child = RestartingChild(lambda: SPEC, _NoJitter())
            nursery.start_soon(child.run)
    assert child.restarts == 5


def spec(role, **message):
    return MAKER.make(role, f"child_roles:run_{role}", **message)


@asynccontextmanager
async def kept(make_spec, **options):
    """A child that is ready; with its deaths."""
    deaths: list[int] = []

    async def note(child):
        deaths.append(child.status)
        await trio.lowlevel.checkpoint()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            child = RestartingChild(make_spec, _NoJitter(), on_death=note, **options)
            await nursery.start(child.run)
            yield child, deaths
            await child.stop(10)


async def until(condition):
    """Wait until it holds; the test's own bound ends it."""
    while True:
        if condition():
            return
        await trio.sleep(0.01)


async def check_hang(role, trouble, status):
    lives = iter([spec(role)])
    async with kept(lambda: next(lives, spec("idle"))) as (child, deaths):
        if trouble is not None:
            os.kill(child.running.pid, trouble)
        # Its death is told a moment before its role is said to be without it.
        await until(lambda: child.restarts == 1 and child.state is RoleState.RUNNING)
        assert (deaths, child.last_exit) == ([-status], status.name)


async def test_children_that_hang_show_their_stacks_and_are_replaced(capfd, monkeypatch):
    # However slowly they show them.
    monkeypatch.setattr(running_child, "ABORT_S", 30.0)
    async with trio.open_nursery() as both:
        both.start_soon(check_hang, "stuck", None, signal.SIGABRT)
        both.start_soon(check_hang, "idle", signal.SIGSTOP, signal.SIGABRT)
    said = capfd.readouterr().err
    assert "in hold_the_interpreter" in said
    assert said.count("Fatal Python error: Aborted") == 2


async def test_a_child_that_hangs_and_is_deaf_is_killed_and_replaced(capfd):
    await check_hang("deaf", None, signal.SIGKILL)
    assert "holding the interpreter" in capfd.readouterr().err


async def test_a_ready_child_takes_over_and_the_old_one_finishes():
    generations = itertools.count(1)
    async with kept(lambda: spec("idle", generation=next(generations))) as (child, deaths):
        before = child.running
        await child.replace(10)
        assert (before.gone.is_set(), before.status) == (True, 0)
        await until(lambda: child.running is not None)
        assert child.first_beat["generation"] == 2
        assert (child.state, child.restarts, deaths) == (RoleState.RUNNING, 0, [])


async def test_a_replacement_that_does_not_get_ready_leaves_the_old_one_at_work():
    lives = iter([spec("idle"), spec("refused")])
    async with kept(lambda: next(lives)) as (child, deaths):
        before = child.running
        with pytest.raises(NotReady, match=f"exit code {EXIT_CONFIG}"):
            await child.replace(10)
        assert child.running is before
        assert deaths == []


async def test_an_old_child_that_does_not_finish_is_killed_and_its_work_handed_out_again():
    lives = iter([spec("busy"), spec("idle")])
    async with kept(lambda: next(lives)) as (child, deaths):
        await child.replace(0.2)
        await until(lambda: child.running is not None)
        assert (deaths, child.running.spec.name) == ([-signal.SIGKILL], "idle")


async def test_a_replacement_beside_the_restart_of_a_dead_child_is_the_one_that_stays(monkeypatch):
    monkeypatch.setattr(restart, "_LEAST_PAUSE_MS", 3_600_000)
    generations = itertools.count(1)
    lives = iter([spec("idle"), SPEC])
    async with kept(lambda: next(lives, spec("idle", generation=next(generations)))) as (child, _):
        child.running.kill_nowait()
        await until(lambda: child.state is RoleState.BACKING_OFF)
        newest = next(generations)
        await child.replace(10)
        await until(lambda: child.state is RoleState.RUNNING and child.first_beat["generation"] > newest)
        assert child.running.status is None


async def test_a_child_keeps_its_memory_to_itself():
    async with kept(lambda: spec("secretive")) as (child, _):
        # as the kernel has them: PR_GET_DUMPABLE, and the limit of core dumps in bytes
        assert (child.first_beat["dumpable"], child.first_beat["core"]) == (0, 0)


async def test_a_child_that_hangs_while_it_starts_is_not_waited_for_at_the_end():
    def starting():
        return [
            pid for pid in children_of(os.getpid()) if "reconciler_engine.supervisor.child_program" in command_of(pid)
        ]

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            child = RestartingChild(lambda: spec("silent"), _NoJitter())
            nursery.start_soon(child.run)
            await until(starting)
            await child.stop(0.5)
    assert not starting()


async def test_a_role_given_up_ends_the_tree_or_stays_down():
    given = itertools.count()

    def make_spec():
        next(given)
        return spec("refused")

    with trio.fail_after(60), pytest.RaisesGroup(RoleFailed) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(RestartingChild(make_spec, _NoJitter(), is_essential=False).run)
            child = RestartingChild(make_spec, _NoJitter())
            nursery.start_soon(child.run)
    (failed,) = caught.value.exceptions
    assert isinstance(failed, RoleFailed)
    assert failed.status == EXIT_CONFIG
    assert child.state is RoleState.FAILED
    # never tried again
    assert next(given) == 2


class _NoJitter(Random):
    def random(self) -> float:
        return 0.0


async def test_what_children_counted_outlives_them():
    died, may_go_on = trio.Event(), trio.Event()

    async def note(_: RunningChild) -> None:
        died.set()
        await may_go_on.wait()

    child = RestartingChild(lambda: spec("counting"), _NoJitter(), on_death=note)

    def connections() -> float:
        return child.figures.get("redis_connections_total", [0])[0]

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(child.run)
            await until(lambda: connections() == 1)
            assert child.running is not None
            os.kill(child.running.pid, signal.SIGKILL)
            await died.wait()
            assert connections() == 1
            may_go_on.set()
            await until(lambda: connections() == 2)
            await child.stop(20)
