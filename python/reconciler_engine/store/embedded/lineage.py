"""Number that identifies an embedded server's data; it stays the same across restarts as long as no data were lost.

Scripts store the id of the server's history of writes beside proofs, and do not trust proofs of another id
(`limiting/origin.lua`). The replication id does not suit: it is new at each start. This number stays after an orderly
shutdown, at which the server writes and syncs its file. After any other end, the last second or two may be lost, on a
slow disk even if only the server was killed. Then a new number is drawn, and proofs are checked once more.
The number reaches scripts as the setting `repl-backlog-size`; a server without replicas never allocates that backlog.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

LEAST: Final = 2**50
"""Smallest number, above the size of any real backlog. All are below `STOP`, up to which Lua counts exactly."""

STOP: Final = 2**53

_FILE: Final = "lineage"
_MOST_BYTES: Final = 32


def begin(data_directory: Path) -> int:
    """Return the number for a server that is about to start; only the holder of the directory's lock may call this.

    The noted number is removed, also from the disk, before the server can write; `note_end` notes it again.

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
    """Note the number of a server after its orderly shutdown. If that fails, the next start draws a new one."""
    draft = data_directory / f"{_FILE}.draft"
    try:
        draft.write_text(str(number), "ascii")
        draft.replace(data_directory / _FILE)
    except OSError:
        draft.unlink(missing_ok=True)
