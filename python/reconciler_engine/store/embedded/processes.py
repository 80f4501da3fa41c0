"""Processes of this machine."""

from __future__ import annotations

import os


def is_there(pid: int) -> bool:
    """Whether a process has this id, which may have been reused."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # The process exists and belongs to another user.
        return True
    return True
