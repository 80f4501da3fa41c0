"""Other processes of this machine."""

from __future__ import annotations

import os


def is_there(pid: int) -> bool:
    """Whether some process has this id; an id may have been given away again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It is there, and somebody else's.
        return True
    return True
