"""A hang that only native code can have."""

from __future__ import annotations

import itertools
import os


def hold_the_interpreter(*_):
    """Never return, never look at a signal, never let another thread run."""
    os.write(2, b"holding the interpreter\n")
    sum(itertools.repeat(0))
