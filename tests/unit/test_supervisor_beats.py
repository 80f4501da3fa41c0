"""Beats: whole lines, even into a full pipe, and nobody waits for a parent that does not read."""

from __future__ import annotations

import fcntl
import json
import os
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from reconciler_engine.observe import metrics
from reconciler_engine.supervisor.child_program import Beats
from reconciler_engine.supervisor.running_child import ChildSpec, RunningChild


def test_a_parent_that_does_not_read_gets_whole_lines_later(monkeypatch):
    # Other tests of this process have counted, too: a line of theirs would not fit at once.
    monkeypatch.setattr(metrics, "figures", dict)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)
    beats = Beats(writing)
    for done in range(10):
        # The second one goes in by a part.
        beats.say(done, {"url": "x" * 3_000})
    heard = os.read(reading, 65_536)
    assert heard.count(b"\n") == 1
    beats.say(10, {})
    beats.say(11, {})
    os.close(writing)
    while part := os.read(reading, 65_536):
        heard += part
    os.close(reading)
    assert [json.loads(line)["done"] for line in heard.splitlines()] == [0, 1, 11]


async def test_a_full_pipe_behind_the_beginning_of_a_line_is_read_to_its_newest_beat():
    reading, writing = os.pipe()
    async with trio.lowlevel.FdStream(reading) as stdout:
        process: Any = SimpleNamespace(stdout=stdout)
        child = RunningChild(ChildSpec("one", "", {}, {}), process)
        os.write(writing, b'{"done":')
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child._next_beat)
            await trio.testing.wait_all_tasks_blocked()
            lines = b"1}\n" + b'{"done":2}\n' * 6_000
            assert os.write(writing, lines[-65_536:]) == 65_536
        os.close(writing)
    assert child.beats == {"done": 2}


def test_a_parent_that_is_gone_is_no_fault():
    reading, writing = os.pipe()
    os.close(reading)
    Beats(writing).say(1, {})
    os.close(writing)
