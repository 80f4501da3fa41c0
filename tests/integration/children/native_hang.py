"""A hang that only native code can have."""

from __future__ import annotations

import ctypes
import os


def hold_the_interpreter(*_):
    """Never return, never look at a signal, never let another thread run."""
    os.write(2, b"holding the interpreter\n")
    # Called without giving the interpreter away. A lock that is taken twice is waited for without using the processor.
    native = ctypes.PyDLL(None)
    lock = ctypes.create_string_buffer(128)
    native.pthread_mutex_init(lock, None)
    native.pthread_mutex_lock(lock)
    native.pthread_mutex_lock(lock)
