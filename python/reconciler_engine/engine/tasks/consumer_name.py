"""Consumer names that encode host, pid and boot id, so that this machine can tell whether the owner died."""

from __future__ import annotations

import os
import re
import secrets
import socket
import zlib
from functools import cache
from pathlib import Path

from reconciler_engine.store.embedded.processes import is_there

_NAME = re.compile(r"[^:]*:(\d{1,9}):([0-9a-f]{8})\.[0-9a-f]{8}(?::.*)?")


def consumer_name() -> str:
    """Return a unique name: containers may share host names and process ids."""
    return f"{socket.gethostname()}:{os.getpid()}:{_life() or 0:08x}.{secrets.token_hex(4)}"


def node_of(name: str) -> str:
    """Return the machine of a consumer."""
    return name.partition(":")[0]


def is_gone(name: str) -> bool:
    """Whether the process that made a name, or a part of it such as `NAME:worker-1`, is known to have ended.

    That can be known of this machine's processes alone, since it was started, in one and the same container; of no
    others, and not where the process id was given away again.
    """
    parts = _NAME.fullmatch(name)
    life = _life()
    if parts is None or life is None or int(parts[2], 16) != life:
        return False
    return not is_there(int(parts[1]))


@cache
def _life() -> int | None:
    """Return a number for this boot of the machine and this space of process ids; None where the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  the link leads to no path
    except OSError:
        return None
    return zlib.crc32(f"{boot}{space}".encode())
