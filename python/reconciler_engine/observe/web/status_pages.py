"""The status page and the coverage page, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reconciler_engine.observe.engine_report import Report
from reconciler_engine.observe.objective import WINDOWS, Objective, share_in_words
from reconciler_engine.observe.obstacles import describe_obstacles
from reconciler_engine.observe.readiness import ReadinessCheck, state_of
from reconciler_engine.observe.series_state import (
    SeriesState,
    count_states,
    count_verified,
    lack_of,
    obstacles_of,
    rank_of,
    word_of,
    worst_first,
)
from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, ProcessStatus
from reconciler_engine.observe.web.html import Child, Element, element
from reconciler_engine.observe.words import ago, ahead, describe_span, iso

SYMBOLS_SHOWN = 300
LACKING_SHOWN = 50
_REFRESH_S = 5


def status_page(report: Report | None, found: Sequence[ReadinessCheck], objective: Objective | None = None) -> bytes:
    """Return the page of processes, jobs, budget and objective."""
    engine = None if report is None else report.engine
    body: list[Element] = [banner(found)]
    if engine is not None:
        body += [*_jobs(engine.jobs, engine.written_at), _columns(engine)]
    if objective is not None and objective.frames:
        body += _objective(objective)
    if report is not None:
        body += _processes(report.processes)
    body += _checks(found)
    return whole_page("status", engine, body)


def coverage_page(
    report: Report | None, found: Sequence[ReadinessCheck], series: Mapping[str, SeriesState] | None, error: str | None
) -> bytes:
    """Return the page of how far each series is complete.

    Args:
        report: The supervisor's last one.
        found: The points that must hold.
        series: How each stood, by `symbol:timeframe`; None where Redis did not say.
        error: Its error instead.
    """
    engine = None if report is None else report.engine
    if series is None:
        body = [banner(found), element("p", f"Redis does not say how the series stand: {error}", class_="bad")]
    elif not series:
        body = [banner(found), element("p", "No pass has ended yet.")]
    else:
        now = max(state.checked_at for state in series.values()) if engine is None else engine.written_at
        body = [banner(found), *_grid(series), *_verification(series, now), *_lacking(series)]
    return whole_page("coverage", engine, body)


def whole_page(name: str, engine: EngineStatus | None, body: Iterable[Child]) -> bytes:
    """Return a page with its head, the links to the others, and `body` below them."""
    links = {"/": "status", "/ready": "ready", "/coverage": "coverage", "/metrics": "metrics", "/readyz": "readyz"}
    nav = [element("a", text, href=path, aria_current="page" if text == name else None) for path, text in links.items()]
    title = "reconciler-engine" if engine is None else f"reconciler-engine on {engine.node}"
    about = None if engine is None else _about(engine)
    mark = element("span", "SIMULATED", class_="mark") if engine is not None and engine.simulated else None
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="refresh", content=_REFRESH_S),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{name}: {title}"),
        element("link", rel="stylesheet", href="/style.css"),
    )
    header = element("header", element("h1", title), mark, about, element("nav", nav))
    footer = element("footer", f"instants in UTC; the page renews itself every {_REFRESH_S} s")
    document = element("html", head, element("body", header, element("main", body), footer), lang="en")
    return f"<!doctype html>\n{document}\n".encode()


def _about(engine: EngineStatus) -> Element:
    up = describe_span(engine.written_at - engine.started_at)
    layout = "" if engine.layout == "user" else f", layout {engine.layout}"
    text = f"{engine.version}, up {up}, exchange {engine.source}, user {engine.user_id}{layout}"
    return element("span", text, class_="soft")


def banner(found: Sequence[ReadinessCheck]) -> Element:
    """Return the line that says whether the engine is ready, and why not."""
    how = state_of(found)
    if how == "ready":
        return element("div", how, class_="banner good")
    reasons = [element("li", f"{check.name}: {check.detail}") for check in found if check.degraded or not check.ok]
    return element("div", how, element("ul", reasons), class_=f"banner {'warn' if how == 'degraded' else 'bad'}")


def table(heads: Sequence[str], rows: Iterable[Sequence[Child]], *, words: bool = False, grid: bool = False) -> Element:
    """A table whose rows begin with their name; with `words` the last column is prose."""
    prose = len(heads) - 1 if words else None
    head = element(
        "thead",
        element(
            "tr",
            [
                element("th", text, scope="col", class_="words" if at == prose else None)
                for at, text in enumerate(heads)
            ],
        ),
    )
    lines = []
    for first, *others in rows:
        cells = [cell if _is_cell(cell) else element("td", cell) for cell in others]
        if words:
            cells[-1] = element("td", others[-1], class_="words")
        lines.append(element("tr", element("th", first, scope="row"), cells))
    return element(
        "div", element("table", head, element("tbody", lines), class_="grid" if grid else None), class_="scroll"
    )


def _is_cell(child: Child) -> bool:
    return isinstance(child, Element) and child.text.startswith("<td")


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
            _counted(job.failed),
            _counted(job.timed_out),
        )
        for job in jobs
    ]
    lasts = [
        (
            job.name,
            last.gaps_found,
            last.missing,
            last.filled,
            _counted(int(last.unresolved or 0)),
            last.requests,
            "; ".join(last.errors) or "-",
        )
        for job in jobs
        if (last := job.last_pass) is not None
    ]
    errors = [element("p", f"{job.name}, last error: {job.last_error}", class_="bad") for job in jobs if job.last_error]
    heading = ("last pass", "gaps", "slots missing", "filled", "unresolved", "requests", "errors")
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


def _budget(budget: BudgetStatus | None) -> Element:
    if budget is None:
        return element("p", "Redis does not say.", class_="bad")
    most = max(1, round(budget.rate_per_s * 60))
    meter = element("meter", min=0, max=most, value=min(budget.used, most), title=f"{budget.used} of {most}")
    paused = describe_span(budget.paused_ms) if budget.paused_ms else "no"
    rows: list[tuple[Child, Child]] = [
        ("rate", f"{budget.rate_per_s:g} a second, {budget.burst} at once"),
        ("given of it", _alarming(f"{budget.share:.0%}", alarming=budget.share < 1)),
        ("used in the last minute", element("td", meter, f" {budget.used} of {most}")),
        ("waiting", f"{budget.waiting}, for {describe_span(budget.wait_ms)}"),
        ("paused by the exchange", _alarming(paused, alarming=bool(budget.paused_ms))),
        ("breaker", _alarming(budget.breaker, alarming=budget.breaker != "closed")),
    ]
    return table(("budget", "all nodes together"), rows)


def _objective(objective: Objective) -> list[Element]:
    heads = ("timeframe", *(window.name for window in WINDOWS), "error budget left", "burn 1h", "burn 24h", "waiting")
    burning = set(objective.burning())
    rows: list[Sequence[Child]] = [
        (
            frame,
            *(share_in_words(objective.share(frame, window.name)) for window in WINDOWS),
            _alarming(share_in_words(left), alarming=left <= 0),
            *(_alarming(f"{objective.burn(frame, name):.1f}", alarming=frame in burning) for name in ("1h", "24h")),
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
            _alarming("down", alarming=True) if one.pid is None else one.pid,
            describe_span(one.age_ms),
            "-" if one.last_beat_ms is None else f"{describe_span(one.last_beat_ms)} ago",
            _counted(one.restarts),
        )
        for one in processes
    ]
    return [element("h2", "processes"), table(("process", "role", "pid", "up", "last beat", "restarts"), rows)]


def _checks(found: Sequence[ReadinessCheck]) -> list[Element]:
    rows = [(check.name, _held(check), check.detail) for check in found]
    return [element("h2", "checks of /readyz"), table(("check", "holds", "how it stands"), rows, words=True)]


def _held(check: ReadinessCheck) -> Element:
    word = "degraded" if check.degraded else "ok" if check.ok else "no"
    return element("td", word, class_="warn" if check.degraded else None if check.ok else "bad")


def _grid(series: Mapping[str, SeriesState]) -> list[Element]:
    """Symbols down, timeframes across; symbols that lack most first."""
    states: dict[str, dict[str, SeriesState]] = {}
    for name, state in series.items():
        symbol, _, timeframe = name.rpartition(":")
        states.setdefault(symbol, {})[timeframe] = state
    frames = sorted({frame for row in states.values() for frame in row}, key=rank_of)
    worst = sorted(states, key=lambda symbol: (-sum(map(lack_of, states[symbol].values())), symbol))
    rows: list[Sequence[Child]] = [
        (symbol, *(_cell(states[symbol].get(frame)) for frame in frames)) for symbol in worst[:SYMBOLS_SHOWN]
    ]
    ready = count_states(series)["ready"]
    hidden = len(worst) - len(rows)
    more = f"; {hidden} more symbols, which lack less, are not shown" if hidden else ""
    return [
        element("p", element("strong", f"{ready} of {len(series)}"), f" series ready when a pass last looked{more}."),
        table(("symbol", *frames), rows, grid=True),
    ]


def _cell(state: SeriesState | None) -> Element:
    if state is None:
        return element("td", "")
    title = f"{_span(state)}; looked at {iso(state.checked_at)}"
    word = word_of(state)
    if word in {"unknown", "ready"}:
        return element("td", word, class_="good" if word == "ready" else "warn", title=title)
    if word == "delisted" or not state.missing:
        text = word if word == "delisted" else "; ".join(describe_obstacles(obstacles_of(state)))
        return element("td", text, class_="warn", title=title)
    return element("td", f"{state.missing:,} missing", class_="bad", title=title)


def _lacking(series: Mapping[str, SeriesState]) -> list[Element]:
    lacking = [(name, state) for name, state in worst_first(series) if state.missing != 0 or state.obstacles]
    if not lacking:
        return []
    rows = [
        (
            name,
            _alarming("unknown" if state.missing is None else f"{state.missing:,}", alarming=True),
            "-" if state.complete_from is None else iso(state.complete_from),
            "-" if state.complete_through is None else iso(state.complete_through),
            iso(state.checked_at),
            "; ".join(describe_obstacles(obstacles_of(state))) or "-",
        )
        for name, state in lacking[:LACKING_SHOWN]
    ]
    hidden = len(lacking) - len(rows)
    more = [element("p", f"and {hidden:,} more", class_="soft")] if hidden else []
    heads = ("series", "missing", "complete from", "through", "looked at", "not ready")
    return [element("h2", "what lacks most"), table(heads, rows, words=True), *more]


def _verification(series: Mapping[str, SeriesState], now: int) -> list[Element]:
    """Candles and verified ones by timeframe, and why the gate says no where verification is behind."""
    frames = count_verified(series)
    if not frames:
        return []
    rows = [
        (
            frame,
            f"{one.present:,}",
            f"{one.verified:,}",
            "-" if one.since is None else describe_span(max(0, now - one.since)),
            _counted(one.overdue),
        )
        for frame, one in frames.items()
    ]
    heads = ("timeframe", "present", "verified", "oldest unverified, since its close", "unverified for too long")
    late = element(
        "p",
        "Series with candles that are unverified for longer than max_unverified_ms are not ready. Where that lasts, "
        "`reconciler-engine doctor` says what to change.",
        class_="bad",
    )
    return [
        element("h2", "verified"),
        table(heads, rows),
        *([late] if any(one.overdue for one in frames.values()) else []),
    ]


def _span(state: SeriesState) -> str:
    if state.complete_from is None or state.complete_through is None:
        return "no whole run of slots"
    return f"complete from {iso(state.complete_from)} through {iso(state.complete_through)}"


def _counted(count: int) -> Child:
    return _alarming(str(count), alarming=True) if count else count


def _alarming(text: str, *, alarming: bool) -> Element:
    return element("td", text, class_="bad" if alarming else None)
