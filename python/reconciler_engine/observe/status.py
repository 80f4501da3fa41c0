"""Records of an engine's status, which go through Redis to the command `status`, and to the web child."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.observe.metrics import Figures
from reconciler_engine.observe.words import counted, describe_span, iso

_Int = Annotated[int, Field(ge=-(2**53), le=2**53)]
_Float = Annotated[float, Field(allow_inf_nan=False)]
_Str = Annotated[str, Field(max_length=10_000)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProcessStatus(_Record):
    """One process of an engine.

    Attributes:
        role: Duty of the process: supervisor, worker, redis, web, exchange or feeder; service in a host's program.
        name: Name, unique in the engine; a restarted worker has a new one.
        state: `running`, `starting`, `backing off` (before a restart), or `failed` (no longer restarted).
        pid: Process id; None while the process is being restarted.
        age_ms: Time since the start of the process.
        last_beat_ms: Time since the last beat of the process.
        restarts: Number of restarts of the role.
        last_exit: How the role's last process to end has ended, such as `SIGKILL`; None if none has ended.
    """

    role: _Str
    name: _Str
    state: _Str = "running"
    pid: _Int | None = None
    age_ms: _Int | None = None
    last_beat_ms: _Int | None = None
    restarts: _Int = 0
    last_exit: _Str | None = None


class PassFigures(NamedTuple):
    """Figures of a pass for display; None for a figure that an engine of another version did not report."""

    gaps_found: int | None
    missing: int | None
    filled: int | None
    confirmed_empty: int | None
    unresolved: int | None
    mismatched: int | None
    repaired: int | None
    requests: int | None
    duration_ms: int | None
    errors: tuple[str, ...]


class JobStatus(_Record):
    """One job of the schedule; instants in ms UTC, counts since the engine's start.

    `last_result` is the result of the last completed pass, which ended at `last_finished_at`: the fields of
    `ReconciliationResult` without its rows. `last_outcome` is how the latest tick ended (an outcome of
    `metrics.TICKS`). `last_success_at` is when a run last succeeded. `failure` is why the last run on this node failed;
    it is cleared when a run succeeds or another node takes over the job. `degraded` is why the last run that ended
    could not do its work; it is cleared by a run that could ask the exchange.
    """

    name: _Str
    cron: _Str
    next_tick: _Int | None
    is_running: bool
    runs: _Int
    skipped: _Int
    missed: _Int
    failed: _Int
    timed_out: _Int
    last_error: _Str | None = None
    last_duration_ms: _Int | None = None
    last_finished_at: _Int | None = None
    last_result: dict[_Str, Any] | None = None
    last_outcome: _Str | None = None
    failure: _Str | None = None
    degraded: _Str | None = None
    last_success_at: _Int | None = None

    @property
    def last_pass(self) -> PassFigures | None:
        """Figures of the last completed pass; None before the first."""
        if self.last_result is None:
            return None
        known = {name: self.last_result.get(name) for name in PassFigures._fields}
        counts = {name: one for name, one in known.items() if isinstance(one, int) and 0 <= one <= 2**53}
        figures: dict[str, Any] = {**dict.fromkeys(known), **counts}
        errors = known["errors"] if isinstance(known["errors"], list | tuple) else ()
        return PassFigures(**{**figures, "errors": tuple(one for one in errors if isinstance(one, str))})


class BudgetStatus(_Record):
    """The request budget that all processes of all nodes share.

    Attributes:
        rate_per_s: Permits a second in the long run, as configured.
        share: Part of that rate that is granted now; below 1 after the exchange refused requests as too many.
        slowed_by: HTTP status of that refusal; 0 at the full rate.
        burst: Permits of a full bucket.
        available: Permits that could be granted at this moment.
        used: Permits granted in the last minute, as this engine saw it.
        granted: Permits granted since the bucket was made.
        waiting: Requests that wait for a permit.
        wait_ms: How long a new request would wait.
        paused_ms: Time left of a pause that the exchange asked for.
        breaker: `closed`: all requests are sent. `probing`, after trouble: one request is sent at a time. `gone`: the
            same, and others wait only until the next probe fails. `stopped`: none is sent, the key was refused.
        trouble: HTTP status of the last trouble; 0 if there was none, or no answer.
        stopped_ms: Time left of a stop.
    """

    rate_per_s: _Float
    share: _Float = 1.0
    slowed_by: _Int = 0
    burst: _Int
    available: _Int
    used: _Int
    granted: _Int
    waiting: _Int
    wait_ms: _Int
    paused_ms: _Int
    breaker: _Str = "closed"
    trouble: _Int = 0
    stopped_ms: _Int = 0


_Slot = Annotated[int, Field(ge=0, le=16_383)]
_Instant = Annotated[int, Field(ge=0, le=2**53)]
_Counts = Annotated[dict[Annotated[str, Field(max_length=100)], _Instant], Field(max_length=100)]


class NodeStatus(_Record):
    """A node of a Redis cluster that does not serve.

    Attributes:
        address: Host and port as the cluster announces them; empty for hash slots without a node.
        slots: Ranges of the node's hash slots, first and last inclusive.
        series: Number of series whose keys are on the node; nothing is known of them.
        has_own_keys: Whether the engine's own keys are on the node; without them the engine does no work.
        away_ms: Time since the node was first seen not to serve.
        error: Last refusal of the node, or why it did not answer.
    """

    address: _Str
    slots: Annotated[tuple[tuple[_Slot, _Slot], ...], Field(max_length=16_384)]
    series: _Int
    has_own_keys: bool
    away_ms: _Int
    error: _Str


class ScrubStatus(_Record):
    """Progress of the scrub, which compares kept candles again, in pages of 300 slots; instants in ms UTC.

    Attributes:
        days: Days within which a round is to be done.
        began: When this round began.
        pages: Number of pages of kept candles.
        done: Number of pages that were verified since this round began.
        unknown: Number of pages whose last verification the engine has not read yet since its start.
        round_ms: How long a round would take with the whole share of the budget (ms).
        oldest: When the candle with the oldest verification was verified, by timeframe.
    """

    days: _Int
    began: _Int
    pages: _Int
    done: _Int
    unknown: _Int
    round_ms: _Int
    oldest: Annotated[dict[_Str, _Int], Field(max_length=100)] = {}

    def ages(self, now: int) -> str:
        """Return the age of each timeframe's oldest verification at `now` (ms UTC), in words."""
        return ", ".join(f"{frame} {describe_span(max(now - at, 0))}" for frame, at in self.oldest.items())

    @property
    def progress(self) -> str:
        """Progress of this round in words."""
        unknown = f", {self.unknown} of unknown age" if self.unknown else ""
        return f"{self.done} of {counted(self.pages, 'page')} compared again since {iso(self.began)}{unknown}"


class SeriesCoverage(_Record):
    """State of a series when a pass last looked; instants in ms UTC.

    Attributes:
        complete_from: First open time of the newest complete interval, as far back as the cache keeps candles; None if
            there is none or it is unknown. Each slot of such an interval holds a candle that is not suspect, or is
            confirmed to have none.
        complete_through: Last open time of that interval (inclusive).
        missing: Missing slots in the windows of the last passes; None if unknown.
        checked_at: When the last pass looked.
        present: Candles in those windows; None if it is unknown how many are verified.
        verified: Verified candles among them.
        unverified: Unverified candles among them, without suspect ones.
        unverified_since: Close of the oldest unverified candle; None if there is none.
        obstacles: Number of slots that are not ready by obstacle; missing slots of unknown cause are left out.
    """

    complete_from: _Instant | None
    complete_through: _Instant | None
    missing: _Instant | None
    checked_at: _Instant
    present: _Instant | None = None
    verified: _Instant | None = None
    unverified: _Instant | None = None
    unverified_since: _Instant | None = None
    obstacles: _Counts = {}

    def as_field(self) -> str:
        """Return the JSON text that is kept in Redis; fields with their default value are left out."""
        return self.model_dump_json(exclude_defaults=True)


class EngineStatus(_Record):
    """The status of one engine.

    `protocol` is the scope's protocol; 0 in records that are older than protocols. `budget` is None if the bucket could
    not be read, `queued` (tasks by lane) if the streams could not be read. `unknown_symbols` are configured symbols
    that the exchange does not list. `grace_ms`, `max_unverified_ms` and `completeness_slo` are settings of the engine.
    `terms` are the settings for requests to the exchange; of a key they hold only the name. `skew_ms` is the exchange's
    clock minus Redis' (ms); None if it was not measured lately. `nodes_away` are the nodes of a Redis cluster that do
    not serve. `scrub` is None if nothing is compared again, or another engine does that.
    """

    node: _Str
    command: _Str
    version: _Str
    simulated: bool
    user_id: _Int
    exchange_id: _Int
    source: _Str
    started_at: _Int
    written_at: _Int
    processes: Annotated[tuple[ProcessStatus, ...], Field(max_length=1_000)]
    jobs: Annotated[tuple[JobStatus, ...], Field(max_length=100)]
    budget: BudgetStatus | None
    queued: dict[_Str, _Int] | None = None
    protocol: _Int = 0
    layout: Literal["user", "exchange", "overflow"] = "user"
    unknown_symbols: Annotated[tuple[_Str, ...], Field(max_length=1_000)] = ()
    grace_ms: _Int | None = None
    max_unverified_ms: _Int | None = None
    completeness_slo: Annotated[_Float, Field(gt=0, lt=1)] | None = None
    terms: Annotated[dict[_Str, _Str], Field(max_length=100)] = {}
    skew_ms: _Int | None = None
    scrub: ScrubStatus | None = None
    nodes_away: Annotated[tuple[NodeStatus, ...], Field(max_length=1_000)] = ()


class Report(BaseModel):
    """The state of a whole engine.

    Attributes:
        said_at: When the report was made (s), on the monotonic clock that all processes of a machine share.
        stage: Whether the engine is starting, at work, or finishing the work in hand.
        processes: Processes of the engine, the supervisor first.
        engine: Status of the engine, without its processes; None while the engine starts.
        redis_silent_ms: Time since Redis last took the engine's status; None if it never did.
        redis_error: Current error of Redis; None if there is none.
        figures: Sums of all processes' figures, ended ones included.
        settings: Settings with which passes look at series; the web child uses them to read the slots itself.
    """

    model_config = ConfigDict(frozen=True)

    said_at: float = Field(default_factory=time.monotonic)
    stage: Literal["starting", "running", "stopping"]
    processes: tuple[ProcessStatus, ...]
    engine: EngineStatus | None = None
    redis_silent_ms: int | None = None
    redis_error: str | None = None
    figures: Figures = Field(default_factory=dict)
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @property
    def age_s(self) -> float:
        """Age of the report."""
        return max(0.0, time.monotonic() - self.said_at)
