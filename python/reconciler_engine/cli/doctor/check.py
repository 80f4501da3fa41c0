"""A check of `doctor`, and the exit code that follows from all checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reconciler_engine.cli.exits import DONE, FAILURE
from reconciler_engine.cli.output import say

Status = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check and its outcome.

    Attributes:
        name: Name of the check, the same at every run.
        status: `fail` if the engine would not work, `warn` if it would work worse, `skipped` with its reason as detail.
        detail: Findings of the check.
        hint: The cure; empty if none is needed.
        code: Exit code of the command if this check alone fails.
    """

    name: str
    status: Status
    detail: str
    hint: str = ""
    code: int = FAILURE


def exit_code(checks: Sequence[Check]) -> int:
    """Return 0 if no check failed; else the code that all failed checks share, or 1 if their codes differ."""
    codes = {check.code for check in checks if check.status == "fail"}
    if not codes:
        return DONE
    return codes.pop() if len(codes) == 1 else FAILURE


def print_checks(checks: Sequence[Check]) -> None:
    """Print a line for each check, its hint below it, and the number of checks of each status."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        first, *others = check.detail.splitlines()
        say(f"{check.status:<7}  {check.name:<{width}}  {first}")
        for line in others:
            say(f"{'':<{width + 11}}{line}")
        for line in check.hint.splitlines():
            say(f"{'':<{width + 11}}-> {line}")
    counts = [(status, sum(check.status == status for check in checks)) for status in ("ok", "warn", "fail", "skipped")]
    say(", ".join(f"{count} {status}" for status, count in counts if count))
