"""The number of an embedded server's data: the same at each start over data that are whole.

A server that starts has a new replication id, under which scripts doubt the proofs under the one before
(`limiting/origin.lua`). Data are whole where the server ended in order: it had written and synced its file. After any
other end the last second or two may be lost, on a slow disk even if the server alone was killed; then a new number is
drawn, and the proofs are looked at once more. The number reaches scripts as the size of a replication backlog,
which a server without replicas never makes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

LEAST: Final = 2**50
"""Numbers begin here, above any backlog that somebody makes; Lua counts exactly up to `STOP`."""

STOP: Final = 2**53

_FILE: Final = "lineage"
_MOST_BYTES: Final = 32


def begin(data_directory: Path) -> int:
    """Return the number for a server that is about to start; only the lock's holder may ask.

    The note of it is gone, on the disk too, before anything can be written: it comes back with an end in order.

    Raises:
        OSError: The directory cannot be written.
    """
    path = data_directory / _FILE
    try:
        with path.open("rb") as file:
            number = int(file.read(_MOST_BYTES))
    except (FileNotFoundError, ValueError):
        number = 0
    path.unlink(missing_ok=True)
    descriptor = os.open(data_directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return number if LEAST <= number < STOP else LEAST + secrets.randbelow(STOP - LEAST)


def note_end(data_directory: Path, number: int) -> None:
    """Note that the server of a number ended in order; where that cannot be noted, the next start draws a new one."""
    draft = data_directory / f"{_FILE}.draft"
    try:
        draft.write_text(str(number), "ascii")
        draft.replace(data_directory / _FILE)
    except OSError:
        draft.unlink(missing_ok=True)
