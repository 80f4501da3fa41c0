"""Whether an engine is alive, and whether it is of use; with the reasons, each told once, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, NodeStatus, ProcessStatus, Report
from reconciler_engine.observe.words import describe_skew, describe_span

SILENT_S = 5.0
"""A supervisor that has said nothing for so long hangs; it speaks once a second."""

REDIS_SILENT_MS = 3_000
"""Redis takes the status once a second; after so long without, it counts as away."""

BEAT_SILENT_MS = 3_000
"""A process that has not beaten for so long counts as none; it is killed for it two seconds later."""

_TICK_LATE_MS = 60_000
_NAMED = 10


class ReadinessCheck(NamedTuple):
    """One thing that must hold: its name, whether it does, and in words how it stands.

    One that is `degraded` holds, since a restart would cure nothing: the engine serves and waits for somebody else.
    """

    name: str
    ok: bool
    detail: str
    degraded: bool = False


def is_live(age_s: float) -> bool:
    """Whether the supervisor, whose last word is `age_s` old, is at work."""
    return age_s < SILENT_S


def checks(report: Report | None, age_s: float) -> tuple[ReadinessCheck, ...]:
    """Return all that must hold for the engine to be of use.

    Args:
        report: The supervisor's last one; None before the first.
        age_s: How old it is.
    """
    live = ReadinessCheck("supervisor", is_live(age_s), f"last heard of {age_s:.1f} s ago")
    if report is None:
        return (ReadinessCheck("supervisor", ok=False, detail="not heard of yet"),)
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
    """Return how the engine stands."""
    if not is_ready(found):
        return "not ready"
    return "degraded" if any(check.degraded for check in found) else "ready"


def find_troubles(engine: EngineStatus) -> list[ReadinessCheck]:
    """Return the points of an engine's status that fail, are degraded, or are to be put in order."""
    found = [*_nodes(engine.nodes_away), *_exchange(engine.budget), *_jobs(engine)]
    return [*(check for check in found if check.degraded or not check.ok), *_clock(engine)]


def _redis(report: Report) -> ReadinessCheck:
    silent_ms = report.redis_silent_ms
    if report.redis_error is not None:
        return ReadinessCheck("redis", ok=False, detail=report.redis_error)
    if silent_ms is None:
        return ReadinessCheck("redis", ok=False, detail="has not taken the status yet")
    return ReadinessCheck("redis", silent_ms < REDIS_SILENT_MS, f"took the status {describe_span(silent_ms)} ago")


def _nodes(away: Sequence[NodeStatus]) -> list[ReadinessCheck]:
    """Tell the nodes of a cluster that do not serve; a restart would cure nothing. The check of Redis tells its own."""
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
    # One is enough: the others' tasks are handed out again.
    return ReadinessCheck("workers", bool(ready), f"{len(ready)} of {len(workers)} ready")


def _exchange(budget: BudgetStatus | None) -> list[ReadinessCheck]:
    """Trouble at the exchange that passes by itself degrades the engine; a refused key makes it not ready."""
    if budget is None:
        # The check of Redis says why.
        return []
    trouble = f"HTTP {budget.trouble}" if budget.trouble else "no answer"
    match budget.breaker:
        case "closed":
            return [ReadinessCheck("exchange", ok=True, detail="answers")]
        case "stopped":
            left = describe_span(budget.stopped_ms)
            return [ReadinessCheck("exchange", ok=False, detail=f"refused the key ({trouble}): not asked for {left}")]
        case _:
            detail = f"in trouble ({trouble}): one request at a time finds out whether that is over"
            return [ReadinessCheck("exchange", ok=True, detail=detail, degraded=True)]


def _clock(engine: EngineStatus) -> list[ReadinessCheck]:
    """Tell clocks that differ, with the consequence; passes go by the earlier of them, so it is not a reason."""
    told = None if engine.skew_ms is None else describe_skew(engine.skew_ms, engine.source)
    return [] if told is None else [ReadinessCheck("clock", ok=True, detail=told)]


def _symbols(engine: EngineStatus) -> list[ReadinessCheck]:
    """Tell symbols that the exchange does not list; the others are served, so they are not a reason."""
    unknown = engine.unknown_symbols
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    detail = f"unknown to the exchange: {', '.join(unknown[:_NAMED])}{more}"
    return [ReadinessCheck("symbols", ok=True, detail=detail)] if unknown else []


def _jobs(engine: EngineStatus) -> list[ReadinessCheck]:
    return [_job(job, engine.written_at) for job in engine.jobs]


def _job(job: JobStatus, now: int) -> ReadinessCheck:
    """A run that failed is told until one goes well, here or on another node; ticks skipped meanwhile are none."""
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
