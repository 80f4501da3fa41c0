"""Keeps the memory of a process with secrets out of core dumps and away from other users' debuggers."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_secret() -> None:
    """Prevent core dumps of this process, and reading of its memory by other users except root.

    Programs that it starts do not inherit the protection. The limit alone is not enough: the kernel pipes dumps to a
    collecting program whatever the limit.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
