"""The status page, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler_engine.observe.objective import WINDOWS, Objective, share_in_words
from reconciler_engine.observe.readiness import ReadinessCheck
from reconciler_engine.observe.status import (
    BudgetStatus,
    EngineStatus,
    JobStatus,
    ProcessStatus,
    Report,
    ScrubStatus,
    SeriesCoverage,
)
from reconciler_engine.observe.web.html import Child, Element, element
from reconciler_engine.observe.web.page import alarming, banner, counted, table, whole_page
from reconciler_engine.observe.words import ago, ahead, describe_span


def status_page(
    report: Report | None,
    found: Sequence[ReadinessCheck],
    objective: Objective | None = None,
    series: Mapping[str, SeriesCoverage] | None = None,
    *,
    live: bool = False,
) -> bytes:
    """Return the page of processes, jobs, budget and objective.

    Args:
        report: The supervisor's last report; None before the first.
        found: Checks of the engine's readiness.
        objective: The objective and its counts; None if Redis could not be read.
        series: State of each series when a pass last looked; None likewise.
        live: Whether the page reloads itself.
    """
    engine = None if report is None else report.engine
    body: list[Element] = [banner(found, series)]
    if engine is not None:
        body += [*_jobs(engine.jobs, engine.written_at), _columns(engine)]
        if engine.scrub is not None:
            body.append(_scrub(engine.scrub, engine.written_at))
    if objective is not None and objective.frames:
        body += _objective(objective)
    if report is not None:
        body += _processes(report.processes)
    body += _checks(found)
    return whole_page("status", engine, body, live=live)


def _jobs(jobs: Sequence[JobStatus], now: int) -> list[Element]:
    heads = ("job", "schedule", "next tick", "last success", "took", "runs", "skipped", "missed", "failed", "timed out")
    rows = [
        (
            job.name,
            job.cron,
            "running" if job.is_running else ahead(job.next_tick, now),
            ago(job.last_success_at, now),
            describe_span(job.last_duration_ms),
            job.runs,
            job.skipped,
            job.missed,
            counted(job.failed),
            counted(job.timed_out),
        )
        for job in jobs
    ]
    lasts = [
        (
            job.name,
            last.gaps_found,
            last.missing,
            last.filled,
            counted(int(last.unresolved or 0)),
            last.mismatched,
            last.repaired,
            last.requests,
            "; ".join(last.errors) or "-",
        )
        for job in jobs
        if (last := job.last_pass) is not None
    ]
    told = [job for job in jobs if job.last_error not in {None, job.degraded}]
    errors = [element("p", f"{job.name}, last error: {job.last_error}", class_="bad") for job in told]
    heading = (
        "last pass",
        "gaps",
        "slots missing",
        "filled",
        "unresolved",
        "differing from the exchange",
        "repaired",
        "requests",
        "errors",
    )
    return [
        element("h2", "jobs"),
        table(heads, rows),
        *([element("h2", "last passes"), table(heading, lasts, words=True)] if lasts else []),
        *errors,
    ]


def _columns(engine: EngineStatus) -> Element:
    queue = engine.queued or {}
    tasks: list[tuple[Child, Child]] = list(queue.items()) or [("not known", "-")]
    return element(
        "div",
        element("section", element("h2", "request budget"), _budget(engine.budget)),
        element("section", element("h2", "queue"), table(("lane", "tasks"), tasks)),
        class_="columns",
    )


def _scrub(scrub: ScrubStatus, now: int) -> Element:
    rows: list[tuple[Child, Child]] = [
        ("this round", scrub.progress),
        ("a round", f"within {scrub.days} d, at least {describe_span(scrub.round_ms)}"),
        ("oldest verification", scrub.ages(now) or "not known yet"),
    ]
    return element("section", element("h2", "scrub"), table(("kept candles", "compared again"), rows, words=True))


def _budget(budget: BudgetStatus | None) -> Element:
    if budget is None:
        return element("p", "The budget could not be read from Redis.", class_="bad")
    most = max(1, round(budget.rate_per_s * 60))
    meter = element("meter", min=0, max=most, value=min(budget.used, most), title=f"{budget.used} of {most}")
    paused = describe_span(budget.paused_ms) if budget.paused_ms else "no"
    rows: list[tuple[Child, Child]] = [
        ("rate", f"{budget.rate_per_s:g} a second, {budget.burst} at once"),
        ("granted share of the rate", alarming(f"{budget.share:.0%}", alarming=budget.share < 1)),
        ("used in the last minute", element("td", meter, f" {budget.used} of {most}")),
        ("waiting", f"{budget.waiting}, for {describe_span(budget.wait_ms)}"),
        ("paused by the exchange", alarming(paused, alarming=bool(budget.paused_ms))),
        ("breaker", alarming(budget.breaker, alarming=budget.breaker != "closed")),
    ]
    return table(("budget", "all nodes together"), rows)


def _objective(objective: Objective) -> list[Element]:
    heads = (
        "timeframe",
        *(f"timely, {window.name}" for window in WINDOWS),
        "error budget left",
        "burn 1h",
        "burn 24h",
        "waiting",
    )
    burning = set(objective.burning())
    rows: list[Sequence[Child]] = [
        (
            frame,
            *(share_in_words(objective.share(frame, window.name)) for window in WINDOWS),
            alarming(share_in_words(left), alarming=left <= 0),
            *(alarming(f"{objective.burn(frame, name):.1f}", alarming=frame in burning) for name in ("1h", "24h")),
            objective.of(frame, WINDOWS[-1].name).waiting,
        )
        for frame in objective.frames
        for left in (objective.budget_left(frame),)
    ]
    return [element("h2", "objective"), element("p", objective.in_words(), class_="soft"), table(heads, rows)]


def _processes(processes: Sequence[ProcessStatus]) -> list[Element]:
    rows = [
        (
            one.name,
            one.role,
            alarming("down", alarming=True) if one.pid is None else one.pid,
            describe_span(one.age_ms),
            "-" if one.last_beat_ms is None else f"{describe_span(one.last_beat_ms)} ago",
            counted(one.restarts),
        )
        for one in processes
    ]
    return [element("h2", "processes"), table(("process", "role", "pid", "up", "last beat", "restarts"), rows)]


def _checks(found: Sequence[ReadinessCheck]) -> list[Element]:
    rows = [(check.name, _held(check), check.detail) for check in found]
    return [element("h2", "checks of /readyz"), table(("check", "holds", "details"), rows, words=True)]


def _held(check: ReadinessCheck) -> Element:
    word = "degraded" if check.degraded else "ok" if check.ok else "no"
    return element("td", word, class_="warn" if check.degraded else None if check.ok else "bad")
