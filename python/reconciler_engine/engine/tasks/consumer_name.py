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
    """Return a name that is unique even among containers with the same host name and process ids."""
    return f"{socket.gethostname()}:{os.getpid()}:{_life() or 0:08x}.{secrets.token_hex(4)}"


def node_of(name: str) -> str:
    """Return the host name in a consumer's name."""
    return name.partition(":")[0]


def is_gone(name: str) -> bool:
    """Whether the process that made a name has certainly ended; the name may have a suffix, as in `NAME:worker-1`.

    True only if the name is of this container (or of this machine, outside containers), was made since the last
    boot, and its process id is free.
    """
    parts = _NAME.fullmatch(name)
    life = _life()
    if parts is None or life is None or int(parts[2], 16) != life:
        return False
    return not is_there(int(parts[1]))


@cache
def _life() -> int | None:
    """Return a number for this boot and this namespace of process ids; None on a system without them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  the link leads to no path
    except OSError:
        return None
    return zlib.crc32(f"{boot}{space}".encode())
