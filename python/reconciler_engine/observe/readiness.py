"""Liveness and readiness of an engine: the checks, and the cause and the cure of each failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, NodeStatus, ProcessStatus, Report
from reconciler_engine.observe.words import describe_skew, describe_span

SILENT_S = 5.0
"""A supervisor whose last report is this old (s) counts as hanging; it reports once a second."""

REDIS_SILENT_MS = 3_000
"""Redis counts as away if it last took the engine's status this long ago (ms); it is sent one a second."""

BEAT_SILENT_MS = 3_000
"""A process whose last beat is this old (ms) does not count as ready; two seconds later it is killed."""

_TICK_LATE_MS = 60_000
_NAMED = 10


class ReadinessCheck(NamedTuple):
    """A condition of readiness: its name, whether it holds, and a description.

    A `degraded` check still holds, because a restart would not help: the engine serves, but waits for another system.
    """

    name: str
    ok: bool
    detail: str
    degraded: bool = False


def is_live(age_s: float) -> bool:
    """Whether the supervisor is at work, by the age of its last report."""
    return age_s < SILENT_S


def checks(report: Report | None, age_s: float) -> tuple[ReadinessCheck, ...]:
    """Return the checks that decide whether the engine is ready.

    Args:
        report: The supervisor's last report; None before the first.
        age_s: Age of that report.
    """
    live = ReadinessCheck("supervisor", is_live(age_s), f"last report {age_s:.1f} s ago")
    if report is None:
        return (ReadinessCheck("supervisor", ok=False, detail="no report yet"),)
    stage = ReadinessCheck("stage", report.stage == "running", report.stage)
    if report.engine is None:
        return (live, stage)
    engine = report.engine
    failed = [f"{one.role} given up after {one.last_exit}" for one in report.processes if one.state == "failed"]
    given_up = ReadinessCheck("roles", not failed, "; ".join(failed) or "none given up")
    roles = (_workers(report.processes), given_up)
    rest = (*_exchange(engine.budget), *_clock(engine), *_symbols(engine), *_jobs(engine))
    return (live, stage, _redis(report), *_nodes(engine.nodes_away), *roles, *rest)


def is_ready(found: Sequence[ReadinessCheck]) -> bool:
    """Whether every check holds."""
    return all(check.ok for check in found)


def state_of(found: Sequence[ReadinessCheck]) -> Literal["ready", "degraded", "not ready"]:
    """Return the engine's state."""
    if not is_ready(found):
        return "not ready"
    return "degraded" if any(check.degraded for check in found) else "ready"


def find_troubles(engine: EngineStatus) -> list[ReadinessCheck]:
    """Return the failed and degraded checks of an engine's status, and a notable difference of clocks."""
    found = [*_nodes(engine.nodes_away), *_exchange(engine.budget), *_jobs(engine)]
    return [*(check for check in found if check.degraded or not check.ok), *_clock(engine)]


def _redis(report: Report) -> ReadinessCheck:
    silent_ms = report.redis_silent_ms
    if report.redis_error is not None:
        return ReadinessCheck("redis", ok=False, detail=report.redis_error)
    if silent_ms is None:
        return ReadinessCheck("redis", ok=False, detail="has not stored a status yet")
    return ReadinessCheck(
        "redis", silent_ms < REDIS_SILENT_MS, f"last stored the status {describe_span(silent_ms)} ago"
    )


def _nodes(away: Sequence[NodeStatus]) -> list[ReadinessCheck]:
    """Return a degraded check if nodes of a cluster do not serve: a restart would not help."""
    if not away:
        return []
    series = sum(node.series for node in away)
    named = "; ".join(_node(node) for node in away[:_NAMED])
    more = f"; and {len(away) - _NAMED} more" if len(away) > _NAMED else ""
    return [ReadinessCheck("nodes", ok=True, detail=f"{series} series unknown: {named}{more}", degraded=True)]


def _node(node: NodeStatus) -> str:
    own = ", with the engine's own keys: no work goes on" if node.has_own_keys else ""
    where = f"{node.address} has not served" if node.address else "hash slots have had no node"
    return f"{where} for {describe_span(node.away_ms)} ({node.series} series{own}): {node.error}"


def _workers(processes: Sequence[ProcessStatus]) -> ReadinessCheck:
    workers = [one for one in processes if one.role == "worker"]
    ready = [one for one in workers if one.last_beat_ms is not None and one.last_beat_ms < BEAT_SILENT_MS]
    # One ready worker is enough: it is given the tasks of the others.
    return ReadinessCheck("workers", bool(ready), f"{len(ready)} of {len(workers)} ready")


def _exchange(budget: BudgetStatus | None) -> list[ReadinessCheck]:
    """Return the check of the exchange: failed if the key was refused, degraded in trouble that ends without help."""
    if budget is None:
        # The budget could not be read; the check of Redis tells why.
        return []
    trouble = f"HTTP {budget.trouble}" if budget.trouble else "no answer"
    match budget.breaker:
        case "closed":
            return [ReadinessCheck("exchange", ok=True, detail="answers")]
        case "stopped":
            left = describe_span(budget.stopped_ms)
            return [ReadinessCheck("exchange", ok=False, detail=f"refused the key ({trouble}): no requests for {left}")]
        case _:
            detail = f"in trouble ({trouble}): only one request at a time is sent until one succeeds"
            return [ReadinessCheck("exchange", ok=True, detail=detail, degraded=True)]


def _clock(engine: EngineStatus) -> list[ReadinessCheck]:
    """Return a check that tells how clocks differ. It holds, since passes use the earlier clock."""
    told = None if engine.skew_ms is None else describe_skew(engine.skew_ms, engine.source)
    return [] if told is None else [ReadinessCheck("clock", ok=True, detail=told)]


def _symbols(engine: EngineStatus) -> list[ReadinessCheck]:
    """Return a check that names symbols which the exchange does not list. It holds, since the others are served."""
    unknown = engine.unknown_symbols
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    detail = f"unknown to the exchange: {', '.join(unknown[:_NAMED])}{more}"
    return [ReadinessCheck("symbols", ok=True, detail=detail)] if unknown else []


def _jobs(engine: EngineStatus) -> list[ReadinessCheck]:
    return [_job(job, engine.written_at) for job in engine.jobs]


def _job(job: JobStatus, now: int) -> ReadinessCheck:
    """Return a job's check. It fails while a tick is late, and from a failed run until the next success on any node."""
    name = f"job {job.name}"
    if job.failure is not None:
        return ReadinessCheck(name, ok=False, detail=f"its last run {job.failure}")
    late_ms = 0 if job.next_tick is None else now - job.next_tick
    if late_ms > _TICK_LATE_MS:
        return ReadinessCheck(name, ok=False, detail=f"its tick is {describe_span(late_ms)} late")
    if job.degraded is not None:
        detail = f"its last run could not do its work: {job.degraded}; {_last(job, now)}"
        return ReadinessCheck(name, ok=True, detail=detail, degraded=True)
    return ReadinessCheck(name, ok=True, detail=_last(job, now))


def _last(job: JobStatus, now: int) -> str:
    if job.last_success_at is not None:
        return f"went well {describe_span(max(0, now - job.last_success_at))} ago"
    return "running" if job.is_running else f"last tick {job.last_outcome}" if job.last_outcome else "no tick yet"


State = Literal["ready", "degraded", "not ready"]


# For each check, those whose failure follows from its own; only the cause is told.
_BEHIND: Final = {
    "supervisor": ("stage", "redis", "workers", "roles", "exchange", "job"),
    "stage": ("redis", "workers", "roles", "exchange", "job"),
    "redis": ("workers", "exchange", "job"),
    "exchange": ("job",),
    "workers": ("job",),
}
_CURES: Final = {
    "supervisor": "restart the engine",
    "redis": "repair Redis; the engine then continues by itself",
    "workers": "read the log; the engine restarts workers by itself",
    "roles": "fix the fault that the log names, then restart the engine",
    "job": "read the error; the next tick tries again",
}
_ELSEWHERE: Final = "nothing to do: the engine continues by itself once the exchange answers"


def causes_of(found: Sequence[ReadinessCheck]) -> list[tuple[ReadinessCheck, str]]:
    """Return the failed checks that do not follow from others, with their cures; if none failed, the degraded ones."""
    for troubled in ([one for one in found if not one.ok], [one for one in found if one.degraded]):
        names = {_kind(one) for one in troubled}
        behind = {each for name in names for each in _BEHIND.get(name, ())}
        if own := [(one, _cure(one)) for one in troubled if _kind(one) not in behind]:
            return own
    return []


def standing_of(found: Sequence[ReadinessCheck]) -> tuple[State, str]:
    """Return the engine's state, and a sentence with the causes and their cures."""
    told = [f"{check.name}: {check.detail}; {cure}" for check, cure in causes_of(found)]
    return state_of(found), "; and ".join(told)


def _kind(check: ReadinessCheck) -> str:
    return check.name.partition(" ")[0]


def _cure(check: ReadinessCheck) -> str:
    kind = _kind(check)
    if kind == "stage":
        return "wait until it is up" if check.detail == "starting" else "start the engine again if it should run"
    if kind == "exchange" and not check.ok:
        return "give the engine a key that the exchange accepts, then reload its settings (SIGHUP)"
    return _ELSEWHERE if check.degraded else _CURES.get(kind, "read the log")
