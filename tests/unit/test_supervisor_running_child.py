"""How a parent counts beats."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from reconciler_engine.supervisor.running_child import BEATS_MISSED, ChildSpec, RunningChild

SPEC = ChildSpec("child", "nowhere", {}, {})


class FakeProcess:
    """A process whose beats the test writes; it ends when it is killed."""

    pid = 1
    returncode = None

    def __init__(self):
        self.beats, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.signals = []
        self._gone = trio.Event()

    def send_signal(self, number):
        self.signals.append(number)

    def kill(self):
        self.signals.append(signal.SIGKILL)
        self._gone.set()

    async def wait(self):
        await self._gone.wait()
        return -signal.SIGKILL


@pytest.fixture
def process():
    return FakeProcess()


async def pass_time(clock, seconds):
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_parent_that_was_stopped_itself_blames_nobody(mock_clock, process):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(RunningChild(SPEC, process).wait)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await pass_time(mock_clock, 3_600)
            await process.beats.send_all(b'{"done":1}\n')
            await pass_time(mock_clock, 0.5)
        assert process.signals == []
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("beats_before", [0, 3])
async def test_a_child_is_aborted_at_its_fifth_missed_beat_and_killed_a_second_later(mock_clock, process, beats_before):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(RunningChild(SPEC, process).wait)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(beats_before):
            await process.beats.send_all(b'{"done":1}\n')
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(BEATS_MISSED - 1):
            await pass_time(mock_clock, 1)
        assert process.signals == []
        await pass_time(mock_clock, 1)
        # a stopped one takes the signal when it goes on
        assert process.signals == [signal.SIGABRT, signal.SIGCONT]
        await pass_time(mock_clock, 1)
        assert process.signals == [signal.SIGABRT, signal.SIGCONT, signal.SIGKILL]
