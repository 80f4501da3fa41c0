"""A panic in native code is an exception of its own, never the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("reconciler_engine._native", reason="the native module was not built", exc_type=ImportError)

# The bindings panic when they meet the class of their own panics among Python's errors, as they do where a panic
# passes through Python on its way out. It exists once they have met any error.
PROGRAM = """
from reconciler_engine import _native

class Start:
    def __init__(self, error):
        self.error = error

    def __index__(self):
        raise self.error

def detect(start, timestamps=()):
    return _native.detect_gaps(list(timestamps), start, 1, 3, False, 1)

try:
    detect(Start(ValueError()))
except ValueError:
    pass
(Panic,) = (kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException")
try:
    detect(Start(Panic("deep down")))
except Panic as caught:
    assert not isinstance(caught, Exception)
    print("caught:", caught)
print("missing:", detect(0, [0, 2])[2])
"""


def test_a_panic_is_caught_by_its_caller_who_goes_on():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "caught: deep down\nmissing: 1\n"), done.stderr
    assert "PyO3 is resuming a panic" in done.stderr
