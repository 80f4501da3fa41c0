"""The status of an engine, as records that travel: through Redis to `status`, and to the web child."""

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
        role: Its duty: supervisor, worker, redis, web, exchange, feeder; service in a host's program.
        name: Unique in the engine; a restarted worker has a new one.
        state: `running`, `starting`, `backing off` after a death, or `failed`: given up.
        pid: None while it is being started again.
        age_ms: Since its start.
        last_beat_ms: Since it last gave a sign of life.
        restarts: How often the role was started again.
        last_exit: How its last child that died did so, such as `SIGKILL`; None while none has.
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
    """Words about a pass for people; None where an engine of another version did not say."""

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

    `last_result` has the fields of `ReconciliationResult` without its rows; it is that of the last pass that came to
    its end, at `last_finished_at`. `last_outcome` is how the latest tick
    ended (a word of `metrics.TICKS`), `last_success_at` when a run last went well,
    `failure` why the last run here failed, until one goes well or another node is at the job, `degraded` why the last
    one that ended could not do its work, until one that asked the exchange could.
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
        """Figures of the last pass that came to its end; None while none has."""
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
        share: Part of it that is given now; below 1 after the exchange refused for rate.
        slowed_by: HTTP status of that refusal, 0 where the rate is whole.
        burst: Permits of a full bucket.
        available: Permits that could go out at this moment.
        used: Permits granted in the last minute, as this engine saw it.
        granted: Permits granted since the bucket was made.
        waiting: Requests that wait for theirs.
        wait_ms: Wait of a new request.
        paused_ms: Rest of a pause the exchange asked for.
        breaker: `closed` lets everybody ask; `probing` one request at a time, after trouble; `gone` as probing, and
            nobody waits for it; `stopped` none, the key was refused.
        trouble: HTTP status of the last trouble, 0 where there was none or no answer.
        stopped_ms: Rest of a stop.
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
        address: Host and port as the cluster announces them; empty where no node has the hash slots.
        slots: Its hash slots in ranges, first and last.
        series: Series whose keys are there: nothing is known of them.
        has_own_keys: Whether the engine's own keys are there, without which it does no work.
        away_ms: Since it was first seen not to serve.
        error: Its last refusal, or why there was no answer.
    """

    address: _Str
    slots: Annotated[tuple[tuple[_Slot, _Slot], ...], Field(max_length=16_384)]
    series: _Int
    has_own_keys: bool
    away_ms: _Int
    error: _Str


class ScrubStatus(_Record):
    """Progress of comparing kept candles again, in pages of 300 slots; instants in ms UTC.

    Attributes:
        days: Days within which a round is to be done.
        began: When this round began.
        pages: Pages that are kept.
        done: Those of them that were verified since then.
        unknown: Those of them whose age is not known yet, after a start.
        round_ms: How long a round would take with the whole share of the budget (ms).
        oldest: Oldest verification by timeframe.
    """

    days: _Int
    began: _Int
    pages: _Int
    done: _Int
    unknown: _Int
    round_ms: _Int
    oldest: Annotated[dict[_Str, _Int], Field(max_length=100)] = {}

    def ages(self, now: int) -> str:
        """Say how long ago the oldest verification of each timeframe was at `now` (ms UTC)."""
        return ", ".join(f"{frame} {describe_span(max(now - at, 0))}" for frame, at in self.oldest.items())

    @property
    def progress(self) -> str:
        """How far the round is, in words."""
        unknown = f", {self.unknown} of unknown age" if self.unknown else ""
        return f"{self.done} of {counted(self.pages, 'page')} compared again since {iso(self.began)}{unknown}"


class SeriesCoverage(_Record):
    """How a series stood when a pass last looked; instants in ms UTC.

    Attributes:
        complete_from: First open time of the newest interval whose slots all hold a candle that is not suspect, or are
            confirmed to have none, as far back as the cache keeps them; None where there is none, or nothing is known.
        complete_through: Last open time of that interval (inclusive).
        missing: Slots without a candle in reach of the last passes; None where nothing is known.
        checked_at: When the last pass looked.
        present: Candles in reach of the last passes; None where it is not known how many are verified.
        verified: Those of them that are verified.
        unverified: Those of them that are not, suspect ones left out.
        unverified_since: Close of the oldest unverified one; None where there is none.
        obstacles: Numbers of slots that are not ready by their reason, as far as one is known.
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
        """Return the text that is kept: facts that are not known are left out but for those of old."""
        return self.model_dump_json(exclude_defaults=True)


class EngineStatus(_Record):
    """The status of one engine.

    `protocol` is that of the scope, 0 in records from before there was one. `budget` is None where the bucket could not
    be read, `queued` (tasks by lane) where the streams could not. `unknown_symbols` are configured ones that the
    exchange does not list. `grace_ms` and `max_unverified_ms` are settings by which the gate is
    asked, `terms` those by which the engine asks the exchange, of a key its name alone. `skew_ms` is the exchange's
    clock less Redis' (ms), None where nobody measured it lately. `completeness_slo` is the setting. `nodes_away` are
    nodes of a Redis cluster that do not serve. `scrub` is None where nothing is compared again, or another engine does.
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
        said_at: When it was said (s), on the monotonic clock that all processes of a machine share.
        stage: Whether the engine is coming up, at work, or finishing the work in hand.
        processes: Running processes, the supervisor first.
        engine: Content of `status`, without the processes; None while the engine comes up.
        redis_silent_ms: How long ago Redis last took the engine's status; None where it never did.
        redis_error: Last error of Redis, None while all is well.
        figures: Counts of all processes, the dead included.
        settings: Settings by which passes look at series, for a look of the pages' own.
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
        """How old it is."""
        return max(0.0, time.monotonic() - self.said_at)
