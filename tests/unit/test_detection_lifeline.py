"""The native lifeline, with real processes: the interpreter stuck, its lock held."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reconciler_engine import _native

# Holds the interpreter's lock for ever: a C function that never gives it back.
STUCK = """
import itertools, os, sys
from reconciler_engine import _native
if sys.argv[1] == "nonblocking":
    os.set_blocking(0, False)
_native.watch_lifeline(0, 71)
if sys.argv[1] == "closed":
    os.close(0)
os.write(1, b"stuck")
sum(itertools.repeat(0))
"""


@pytest.mark.parametrize("mode", ["plain", "nonblocking", "closed"])
def test_a_stuck_process_dies_when_its_lifeline_does(mode):
    with subprocess.Popen([sys.executable, "-c", STUCK, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            assert child.stdout.read(5) == b"stuck"
            child.stdin.write(b"what is written is discarded" * 1000)
            child.stdin.flush()
            assert child.poll() is None
            child.stdin.close()
            assert child.wait(timeout=20) == 71
        finally:
            child.kill()


def test_refuses_what_is_no_lifeline():
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    with pytest.raises(OSError, match="Bad file descriptor"):
        _native.watch_lifeline(reading, 1)
    with pytest.raises(ValueError, match=r"^exit_code 256 is not within 0\.\.255$"):
        _native.watch_lifeline(0, 256)
