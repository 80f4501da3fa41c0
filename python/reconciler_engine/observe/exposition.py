"""The exposition: a report in the text formats that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from reconciler_engine.observe.live_candles import FeederState
from reconciler_engine.observe.metrics import CATALOGUE, Figures, Metric
from reconciler_engine.observe.objective import ALL, WINDOWS, Objective
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.readiness import checks, is_ready, state_of
from reconciler_engine.observe.series_state import Verification
from reconciler_engine.observe.status import BudgetStatus, EngineStatus, JobStatus, ProcessStatus, Report, ScrubStatus

PREFIX = "reconciler_"
_Value = TypeVar("_Value", bound=str | tuple[str, ...])


def expose(
    report: Report | None,
    age_s: float,
    series: Mapping[str, int] | None = None,
    obstacles: Mapping[Obstacle, int] | None = None,
    verified: Mapping[str, Verification] | None = None,
    feeder: FeederState | None = None,
    objective: Objective | None = None,
    *,
    accept: str = "",
) -> tuple[bytes, str]:
    """Return all metrics as text, and the text's content type.

    Args:
        report: The supervisor's last report; None before the first.
        age_s: Age of that report.
        series: Number of series in each state; None where Redis could not be read.
        obstacles: Number of slots that are not ready, by obstacle; None likewise.
        verified: Verification of the candles of each timeframe; None likewise.
        feeder: State of the feeder; None likewise.
        objective: The objective and its counts; None likewise.
        accept: Accept header of the request, which can ask for OpenMetrics.
    """
    registry = CollectorRegistry()
    text = "Series by their state when a pass last looked"
    counts = [] if series is None else [_gauges("series", text, "state", series)]
    kept = (*counts, *_of_obstacles(obstacles), *_of_verified(verified), *_of_feeder(feeder))
    registry.register(_Families([*_families(report, age_s), *kept, *_of_objective(objective)]))
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # The library raises on a version that it cannot parse; such a request gets the default format.
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


class _Families(Collector):
    """Collector that returns the families it was made with."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._found = list(families)

    def collect(self) -> Iterable[Family]:
        return self._found


def _families(report: Report | None, age_s: float) -> Iterator[Family]:
    found = checks(report, age_s)
    yield _gauge("ready", "Whether the engine is ready, as /readyz says", int(is_ready(found)))
    text = "Whether the engine serves but cannot do its work because of another system, as /readyz says"
    yield _gauge("degraded", text, int(state_of(found) == "degraded"))
    yield _gauge("report_age_seconds", "Age of the supervisor's last report", round(age_s, 3))
    if report is None:
        return
    for metric in CATALOGUE:
        yield _counted(metric, report.figures)
    yield from _of_processes(report.processes)
    takes_status = any(check.name == "redis" and check.ok for check in found)
    yield _gauge("redis_up", "Whether Redis takes the engine's status, as /readyz says", int(takes_status))
    if report.redis_silent_ms is not None:
        silent_s = report.redis_silent_ms / 1_000
        yield _gauge("redis_silence_seconds", "Time since Redis last took the engine's status", silent_s)
    if report.engine is not None:
        yield from _of_engine(report.engine)


def _counted(metric: Metric, figures: Figures) -> Family:
    """Return a metric of the catalogue; label values that are known but not counted yet are shown as 0."""
    known = {"|".join((metric.name, *values)): [0.0] * metric.size for values in metric.known}
    ours = {key: cell for key, cell in figures.items() if key.partition("|")[0] == metric.name}
    name = PREFIX + metric.name
    counters = CounterMetricFamily(name, metric.help, labels=metric.labels)
    histograms = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for key, cell in sorted({**known, **ours}.items()):
        values = key.split("|")[1:]
        if len(values) != len(metric.labels) or len(cell) != metric.size:
            # These figures are from a child of another version, with other labels or buckets.
            continue
        if metric.buckets:
            bounds = [*(f"{float(bound)}" for bound in metric.buckets), "+Inf"]
            histograms.add_metric(values, [*zip(bounds, accumulate(cell), strict=False)], cell[-1])
        else:
            counters.add_metric(values, cell[0])
    return histograms if metric.buckets else counters


def _of_processes(processes: tuple[ProcessStatus, ...]) -> Iterator[Family]:
    roles = sorted({one.role for one in processes})
    by_role = {role: [one for one in processes if one.role == role] for role in roles}
    yield _gauges("processes", "Processes that should run", "role", {role: len(all_) for role, all_ in by_role.items()})
    up = {role: sum(one.pid is not None for one in all_) for role, all_ in by_role.items()}
    yield _gauges("processes_up", "Processes that run", "role", up)
    beats = {
        role: max(one.last_beat_ms for one in all_ if one.last_beat_ms is not None) / 1_000
        for role, all_ in by_role.items()
        if any(one.last_beat_ms is not None for one in all_)
    }
    yield _gauges("heartbeat_age_seconds", "Time since the last beat, of the most silent process", "role", beats)
    restarts = CounterMetricFamily(f"{PREFIX}restarts_total", "Processes started again", labels=["role"])
    for role, all_ in by_role.items():
        restarts.add_metric([role], sum(one.restarts for one in all_))
    yield restarts


def _of_engine(engine: EngineStatus) -> Iterator[Family]:
    labels = {(engine.version, str(engine.simulated).lower()): 1}
    yield _gauges("engine_info", "Which engine this is", "version simulated", labels)
    yield _gauge("start_timestamp_seconds", "When the engine was started", engine.started_at / 1_000)
    unknown = len(engine.unknown_symbols)
    yield _gauge("unknown_symbols", "Configured symbols that the exchange does not list, at most 100", unknown)
    yield _gauge("redis_nodes_away", "Nodes of the Redis cluster that do not serve", len(engine.nodes_away))
    unreachable = sum(node.series for node in engine.nodes_away)
    yield _gauge("unreachable_series", "Series whose nodes do not serve: nothing is known of them", unreachable)
    yield from _of_jobs(engine.jobs)
    if engine.skew_ms is not None:
        yield _gauge("clock_skew_seconds", "The exchange's clock minus Redis', last measured", engine.skew_ms / 1_000)
    if engine.queued is not None:
        yield _gauges("queue_tasks", "Tasks that wait or are in hand, of all nodes", "lane", engine.queued)
    if engine.budget is not None:
        yield from _of_budget(engine.budget)
    if engine.scrub is not None:
        yield from _of_scrub(engine.scrub)


def _of_jobs(jobs: tuple[JobStatus, ...]) -> Iterator[Family]:
    well = {job.name: job.last_success_at / 1_000 for job in jobs if job.last_success_at is not None}
    yield _gauges("job_last_success_timestamp_seconds", "When a run last went well on this node", "job", well)
    due = {job.name: job.next_tick / 1_000 for job in jobs if job.next_tick is not None}
    yield _gauges("job_next_tick_timestamp_seconds", "When the next tick is due", "job", due)
    yield _gauges(
        "job_running", "Whether a run is under way on this node", "job", {job.name: int(job.is_running) for job in jobs}
    )


def _of_budget(budget: BudgetStatus) -> Iterator[Family]:
    yield _gauge("budget_requests_per_second", "Permits a second in the long run, of all nodes", budget.rate_per_s)
    yield _gauge("budget_available_permits", "Permits that could go out at once", budget.available)
    yield _gauge("budget_waiting_requests", "Requests of all nodes that wait for a permit", budget.waiting)
    yield _gauge("budget_wait_seconds", "How long a new request would wait", budget.wait_ms / 1_000)
    yield _gauge("budget_share", "Part of the rate that is given now, below 1 after refusals for rate", budget.share)
    states = {state: int(budget.breaker == state) for state in ("closed", "probing", "gone", "stopped")}
    yield _gauges("exchange_breaker", "Whether the breaker before the exchange is in that state", "state", states)
    yield _gauge("budget_pause_seconds", "Time left of a pause that the exchange asked for", budget.paused_ms / 1_000)


def _of_scrub(scrub: ScrubStatus) -> Iterator[Family]:
    counts = {"done": scrub.done, "left": scrub.pages - scrub.done}
    yield _gauges("scrub_pages", "Pages of kept candles by whether this round has compared them", "state", counts)
    yield _gauge("scrub_round_start_timestamp_seconds", "When this round of the scrub began", scrub.began / 1_000)
    text = "How long a round of the scrub would take with the whole share of the budget"
    yield _gauge("scrub_round_seconds", text, scrub.round_ms / 1_000)
    oldest = {frame: at / 1_000 for frame, at in scrub.oldest.items()}
    text = "When the candle with the oldest verification was verified, of candles kept for good"
    yield _gauges("oldest_verification_timestamp_seconds", text, "timeframe", oldest)


def _of_verified(frames: Mapping[str, Verification] | None) -> Iterator[Family]:
    if frames is None:
        return
    verified = {(frame, "verified"): one.verified for frame, one in frames.items()}
    unverified = {(frame, "unverified"): one.present - one.verified for frame, one in frames.items()}
    text = "Candles in reach of the last passes by whether they are verified"
    yield _gauges("candles", text, "timeframe state", {**verified, **unverified})
    since = {frame: one.since / 1_000 for frame, one in frames.items() if one.since is not None}
    text = "When the oldest unverified candle closed"
    yield _gauges("unverified_since_timestamp_seconds", text, "timeframe", since)


def _of_feeder(feeder: FeederState | None) -> Iterator[Family]:
    if feeder is None:
        return
    counts = {feed.replace(" ", "_"): count for feed, count in feeder.series.items()}
    yield _gauges("feeder_series", "Series by the state of their feeder", "state", counts)
    ages = {frame: age / 1_000 for frame, age in feeder.ages_ms.items()}
    yield _gauges("live_candle_age_seconds", "Time since the feeder's newest candle was first seen", "timeframe", ages)
    if feeder.age_ms is not None:
        text = "Time since the feeder's newest candle of any timeframe was first seen"
        yield _gauge("feeder_age_seconds", text, feeder.age_ms / 1_000)


def _of_objective(objective: Objective | None) -> Iterator[Family]:
    if objective is None:
        return
    yield _gauge("slo_target", "Share of closed bars that is to be complete and verified in time", objective.target)
    frames = [frame for frame in objective.frames if frame != ALL]
    bars: dict[tuple[str, ...], float] = {}
    burn = {(frame, name): objective.burn(frame, name) for frame in frames for name, *_ in WINDOWS}
    for frame, name in burn:
        counts = objective.of(frame, name)
        bars[frame, name, "met"] = counts.bars - counts.failed
        for outcome in ("late", "unverified", "waiting"):
            bars[frame, name, outcome] = getattr(counts, outcome)
    text = "Closed bars by outcome: met the objective, late, unverified, or waiting (counted separately)"
    yield _gauges("slo_bars", text, "timeframe window outcome", bars)
    text = "How fast the error budget is used; 1 uses it up exactly by the end of the window"
    yield _gauges("slo_burn_rate", text, "timeframe window", burn)
    left = {frame: objective.budget_left(frame) for frame in frames}
    yield _gauges("slo_error_budget_left", "Part of the error budget of 30 days that is left", "timeframe", left)


def _of_obstacles(obstacles: Mapping[Obstacle, int] | None) -> Iterator[Family]:
    if obstacles is None:
        return
    text = "Slots that were not ready when passes last looked, by state and reason"
    counts = {(obstacle.state, obstacle.label): count for obstacle, count in obstacles.items()}
    yield _gauges("unready_slots", text, "state reason", counts)


def _gauge(name: str, text: str, value: float) -> Family:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _gauges(name: str, text: str, labels: str, values: Mapping[_Value, float]) -> Family:
    """Return a gauge with one value for each combination of label values; `labels` are separated by spaces."""
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels.split())
    for value, number in values.items():
        family.add_metric([value] if isinstance(value, str) else value, number)
    return family
