"""Loaded by every Python that has this folder in its PYTHONPATH: SIGUSR1 makes it hang in native code."""

import signal

from native_hang import hold_the_interpreter

signal.signal(signal.SIGUSR1, hold_the_interpreter)
