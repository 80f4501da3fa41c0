"""The memory of processes that hold a secret: it reaches no core dump, and no debugger of another user."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_secret() -> None:
    """Let this process leave no core dump, and no process of another user but root read its memory.

    Programs that it starts begin without this. The limit alone is not enough: the kernel hands a dump to a program that
    collects them under any limit.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
