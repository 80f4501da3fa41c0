"""Processes as /proc shows them: children of each, and processes that are gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.integration.conftest import PATIENCE_S, wait_until


def children_of(pid: int) -> set[int]:
    """The processes that this one started or adopted, in whichever thread; those not reaped yet are among them."""
    return {child for child, parent in _parents().items() if parent == pid}


def descendants(pid: int) -> set[int]:
    """Every process below this one."""
    parents = _parents()
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def command_of(pid: int) -> str:
    """The command line of a process; nothing where it is gone or waits to be reaped."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def environment_of(pid: int) -> str:
    """The environment of a process; nothing where the kernel shows that of one that keeps a secret to root alone."""
    with suppress(PermissionError):
        return Path(f"/proc/{pid}/environ").read_text()
    return ""


def core_limit_of(pid: int) -> str:
    """The most bytes that a core dump of a process may have, as the kernel writes it."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[4] for line in lines if line.startswith("Max core file size"))


def is_there(pid: int) -> bool:
    """Whether there is such a process, be it one that waits to be reaped."""
    return Path(f"/proc/{pid}").exists()


def halt(pid: int) -> None:
    """Stop a process, and return once it stands still: one that waits for its turn takes other signals until then."""
    os.kill(pid, signal.SIGSTOP)

    def stands_still() -> bool:
        fields = _stat(Path(f"/proc/{pid}"))
        assert fields is not None, f"process {pid} is gone"
        return fields[0] == "T"

    wait_until(stands_still)


def is_unreaped(pid: int) -> bool:
    """Whether a process has ended and waits to be reaped."""
    fields = _stat(Path(f"/proc/{pid}"))
    return fields is not None and fields[0] == "Z"


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a process that was stopped has a signal to take when it goes on."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["ShdPnd"], 16) >> number - 1 & 1)


def wait_gone(pids: Iterable[int]) -> None:
    """Wait until none of the processes runs: orphans are reaped by process 1, which may be in no hurry."""
    deadline = time.monotonic() + PATIENCE_S
    while left := [pid for pid in pids if is_there(pid) and not is_unreaped(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


def _parents() -> dict[int, int]:
    found = ((int(folder.name), _stat(folder)) for folder in Path("/proc").glob("[0-9]*"))
    return {pid: int(fields[1]) for pid, fields in found if fields is not None}


def _stat(folder: Path) -> list[str] | None:
    """State, parent and the rest of a process; None where it is gone meanwhile."""
    try:
        # The name before it may hold anything, a closing parenthesis too.
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
