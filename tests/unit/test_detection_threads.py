"""Sorted input split between threads: the same answer, and nothing of them afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from reconciler_engine.detection import detect_gaps

POINTS = 6_500_000  # worth three threads
GRID = range(1000, 1000 + 7 * POINTS, 7)
FULL = np.arange(GRID.start, GRID.stop, 7)
SHAPES = {
    "complete": FULL,
    "one_long_gap": np.concatenate([FULL[:3_000_000], FULL[4_900_000:]]),
    "many_gaps": FULL[np.arange(POINTS) % 5 > 0],
    "twice": np.repeat(FULL[: POINTS // 2], 2),
    "one_value": np.full(POINTS, GRID[5]),
    "off_the_grid": FULL + 3,
    "around_the_grid": np.arange(GRID.start - 7 * POINTS, GRID.stop + 7 * POINTS, 7),
    "outside": FULL + 7 * POINTS,
    "descending_once": np.concatenate([FULL[:6_000_000], FULL[:500_000]]),
    "reversed": FULL[::-1].copy(),
}


@pytest.mark.parametrize("threads", [0, 2, 3, 10**30])
@pytest.mark.parametrize("shape", SHAPES)
def test_threads_change_no_answer(shape, threads):
    assert detect_gaps(SHAPES[shape], GRID, threads=threads) == detect_gaps(SHAPES[shape], GRID)


def test_threads_change_no_answer_to_a_promise():
    kept = SHAPES["many_gaps"]
    assert detect_gaps(kept, GRID, trusted=True, threads=2) == detect_gaps(kept, GRID)


def threads_there() -> list[str]:
    return sorted(task.name for task in Path("/proc/self/task").iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts the threads that Linux lists")
def test_threads_have_ended_when_the_answer_is_there():
    before = threads_there()
    for _ in range(5):
        detect_gaps(SHAPES["many_gaps"], GRID, threads=3)
        # A thread that was waited for is still listed while the system clears up.
        deadline = time.monotonic() + 10
        while threads_there() != before:
            assert time.monotonic() < deadline


FORK = """
import os, threading
import numpy as np
from reconciler_engine.detection import detect_gaps
timestamps, grid = np.arange(0, 10_000_000, 2), range(10_000_000)
missing = detect_gaps(timestamps, grid, threads=2).missing
assert missing == 5_000_000
stopped = False
def work():
    while not stopped:
        detect_gaps(timestamps, grid, threads=2)
other = threading.Thread(target=work)
other.start()
try:
    for _ in range(4):
        child = os.fork()
        if not child:
            os._exit(detect_gaps(timestamps, grid, threads=2).missing != missing)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
finally:
    stopped = True
    other.join()
"""


def test_a_forked_child_splits_too_while_its_parent_does():
    # Python warns of a fork beside threads, rightly: here it is the subject.
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
