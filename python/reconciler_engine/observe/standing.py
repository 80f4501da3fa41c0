"""How an engine stands in one sentence: the causes, each told once, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from reconciler_engine.observe.readiness import ReadinessCheck, state_of

State = Literal["ready", "degraded", "not ready"]


# A check whose cause is one of these says nothing new; the first that stands names it.
_BEHIND: Final = {
    "supervisor": ("stage", "redis", "workers", "roles", "exchange", "job"),
    "stage": ("redis", "workers", "roles", "exchange", "job"),
    "redis": ("workers", "exchange", "job"),
    "exchange": ("job",),
    "workers": ("job",),
}
_CURES: Final = {
    "supervisor": "restart the engine",
    "redis": "put Redis in order; the engine goes on by itself",
    "workers": "read the log: workers are started again by themselves",
    "roles": "put in order what the log names, then restart the engine",
    "job": "read the error; the next tick tries again",
}
_ELSEWHERE: Final = "nothing to do here: the engine goes on by itself once the exchange answers"


def causes_of(found: Sequence[ReadinessCheck]) -> list[tuple[ReadinessCheck, str]]:
    """Return the checks that do not hold for a reason of their own, with the cures; without any, degraded ones."""
    for troubled in ([one for one in found if not one.ok], [one for one in found if one.degraded]):
        names = {_kind(one) for one in troubled}
        behind = {each for name in names for each in _BEHIND.get(name, ())}
        if own := [(one, _cure(one)) for one in troubled if _kind(one) not in behind]:
            return own
    return []


def standing_of(found: Sequence[ReadinessCheck]) -> tuple[State, str]:
    """Return how the engine stands, and in one sentence why and what to do."""
    told = [f"{check.name}: {check.detail}; {cure}" for check, cure in causes_of(found)]
    return state_of(found), "; and ".join(told)


def _kind(check: ReadinessCheck) -> str:
    return check.name.partition(" ")[0]


def _cure(check: ReadinessCheck) -> str:
    kind = _kind(check)
    if kind == "stage":
        return "wait until it is up" if check.detail == "starting" else "start it again if it is to go on"
    if kind == "exchange" and not check.ok:
        return "give it a key that the exchange takes, then reload its settings (SIGHUP)"
    return _ELSEWHERE if check.degraded else _CURES.get(kind, "read the log")
