"""Beats: whole lines, whatever the pipe holds, and nobody waits for a parent that does not read."""

from __future__ import annotations

import fcntl
import json
import os

from reconciler_engine.supervisor.child import Beats


def test_a_parent_that_does_not_read_gets_whole_lines_later():
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


def test_a_parent_that_is_gone_is_no_fault():
    reading, writing = os.pipe()
    os.close(reading)
    Beats(writing).say(1, {})
    os.close(writing)
