"""Memory that another thread writes to while it is read: the answer is unspecified, the process is not."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

from reconciler_engine.detection import detect_gaps

POINTS = 400_000


@pytest.mark.parametrize("expected", [range(POINTS), np.arange(POINTS)], ids=["range", "explicit"])
@pytest.mark.parametrize("trusted", [False, True])
def test_writing_while_reading_is_no_harm(expected, trusted):
    trusted = trusted and isinstance(expected, range)
    timestamps = np.arange(POINTS)
    written = threading.Event()
    stop = threading.Event()

    def write():
        random = np.random.default_rng(1)
        while not stop.is_set():
            at = random.integers(0, POINTS, 1000)
            timestamps[at] = random.integers(-(2**63), 2**63 - 1, 1000)
            timestamps[::7] = -timestamps[::7]
            timestamps[:] = np.arange(POINTS)
            written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(10)
        for _ in range(20):
            gaps = detect_gaps(timestamps, expected, trusted=trusted)
            assert len(gaps.starts) == len(gaps.counts) <= POINTS + 1
    finally:
        stop.set()
        writer.join()
    assert not detect_gaps(np.arange(POINTS), expected, trusted=trusted)


@pytest.fixture
def no_forced_turns():
    """Let a thread keep the interpreter until it gives it up by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def test_the_interpreter_is_released_while_much_is_read(no_forced_turns):
    del no_forced_turns
    timestamps, grid = np.arange(200_000), range(200_000)
    turns = 0
    stop = False

    def take_turns():
        nonlocal turns
        while not stop:
            turns += 1
            time.sleep(0)

    other = threading.Thread(target=take_turns)
    other.start()
    try:
        before = turns
        for _ in range(5000):
            detect_gaps(timestamps, grid)
            if turns > before:
                break
        assert turns > before
    finally:
        stop = True
        other.join()
