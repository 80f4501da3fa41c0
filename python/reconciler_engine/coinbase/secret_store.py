"""Places whose files the orchestrator protects: modes that others can read are usual there."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
# Mounts in memory that every process of a machine uses.
_SHARED = re.compile(r"/(dev|dev/shm|run|run/lock|run/shm|run/user/\d+|tmp|var/tmp|var/run|var/lock)?")
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_secret_store(descriptor: int, path: Path, credentials_directory: Path | None) -> bool:
    """Whether an open file lies where secrets are handed to one service.

    That is the service manager's folder of credentials, a mount that nobody can write, or one in memory that is not
    shared: files there belong to root, and a group or a list of rights lets the service read them.
    """
    real = path.resolve()
    if credentials_directory is not None and real.is_relative_to(credentials_directory.resolve()):
        return True
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return True
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return False
    return is_own_memory(real, mounts)


def is_own_memory(path: Path, mounts: str) -> bool:
    """Whether a path lies on a mount in memory of its own, by the text of `/proc/self/mountinfo`."""
    found = ("/", "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), before.split()[4])
        # The longest mount point holds the file; of two at one point the later one covers the other.
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, after.split()[0])
    point, kind = found
    return kind in _IN_MEMORY and _SHARED.fullmatch(point) is None
