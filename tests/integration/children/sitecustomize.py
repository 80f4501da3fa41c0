"""Loaded by every Python that has this folder in its PYTHONPATH: SIGUSR1 makes it hang in native code.

A parent waits for the stacks of a child that hangs, however slowly it shows them.
"""

import signal

from native_hang import hold_the_interpreter

from reconciler_engine.supervisor import running_child

running_child.ABORT_S = 30.0
signal.signal(signal.SIGUSR1, hold_the_interpreter)
