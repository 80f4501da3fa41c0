"""Exit codes, and the one place where errors become messages."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from reconciler_engine.errors import (
    CandleFileError,
    ConfigError,
    DataDirectoryBusy,
    OtherProtocol,
    ReconcilerError,
    RoleFailed,
    SourceUnavailable,
    StoreDenied,
    StoreUnavailable,
    WorkerError,
    leaves,
)
from reconciler_engine.observe.words import printable

DONE = 0
FAILURE = 1
UNRESOLVED = 3
UNAVAILABLE = 69
ROLE_FAILED = 70
BUSY = 75
CONFIG = 78
INTERRUPTED = 130
READER_GONE = 141
"""Exit code that a shell reports for a program that SIGPIPE ended."""

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (KeyboardInterrupt, INTERRUPTED),
    (ConfigError, CONFIG),
    (StoreDenied, CONFIG),
    (DataDirectoryBusy, BUSY),
    (OtherProtocol, BUSY),
    (StoreUnavailable, UNAVAILABLE),
    (SourceUnavailable, UNAVAILABLE),
    (WorkerError, ROLE_FAILED),
    (ReconcilerError, FAILURE),
    (OSError, FAILURE),
)


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn errors that a user can cause into a message on standard error and an exit code; raise all others."""
    try:
        yield
    except BaseException as error:
        errors = list(leaves(error))
        if any(isinstance(leaf, BrokenPipeError) for leaf in errors) and _is_reader_gone():
            raise SystemExit(READER_GONE) from None
        for kind, code in _CODES:
            found = next((leaf for leaf in errors if isinstance(leaf, kind)), None)
            if found is not None and all(isinstance(leaf, _EXPECTED) for leaf in errors):
                hopeless = isinstance(found, RoleFailed) and found.status == CONFIG
                # Errors of several files can end a command. All are reported, the one of the exit code first.
                told = dict.fromkeys(
                    one.told if isinstance(one, CandleFileError) else str(one) for one in (found, *errors)
                )
                leave(CONFIG if hopeless else code, "\n".join(filter(None, told)))
        raise


def _is_reader_gone() -> bool:
    """Whether the reader of standard output, such as `| head`, has ended; if so, discard further output."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    is_gone = any(events & select.POLLERR for _, events in poll.poll(0))
    if is_gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return is_gone


def leave(code: int, message: str = "") -> NoReturn:
    """Write the message to standard error, and exit with `code`."""
    # A full disk or a closed pipe must not change the exit code.
    with suppress(OSError):
        for line in message.splitlines():
            sys.stderr.write(f"reconciler-engine: {printable(line)}\n")
    raise SystemExit(code)


_EXPECTED = (KeyboardInterrupt, ReconcilerError, OSError)
