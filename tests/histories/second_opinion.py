"""A second opinion on a history: leases and slots go through a checker of linearizability that is not ours, in Go."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_PROGRAM = Path(__file__).with_name("porcupine")


class NoChecker(Exception):
    """Why there is no checker here."""


def build_checker(folder: Path) -> Path:
    """Return the checker, built into a folder.

    Raises:
        NoChecker: There is no Go, or the library cannot be had.
    """
    go = shutil.which("go")
    if go is None:
        raise NoChecker("no Go (https://go.dev) for a second opinion on histories")
    had = subprocess.run([go, "mod", "download"], cwd=_PROGRAM, capture_output=True, text=True, check=False)
    if had.returncode:
        raise NoChecker(f"porcupine cannot be had: {had.stderr}")
    program = folder / "porcupine"
    subprocess.run([go, "build", "-o", program, "."], cwd=_PROGRAM, check=True)
    return program


def second_opinion(checker: Path, history: Path) -> tuple[bool, str]:
    """Return whether some order of its calls explains a history that was written, and what the checker said."""
    told = subprocess.run([checker, history], capture_output=True, text=True, check=False)
    assert told.returncode in {0, 1}, told.stderr
    return told.returncode == 0, told.stdout.strip()
