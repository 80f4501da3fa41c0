"""What an engine says of itself, as records that travel: through Redis to `status`, and to the web child."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProcessStatus(_Record):
    """One process of an engine.

    Attributes:
        role: What it is for: supervisor, worker, redis, web, exchange, feeder; service in a host's program.
        name: Unique in the engine; a restarted worker has a new one.
        state: `running`, `starting`, `backing off` after a death, or `failed`: given up.
        pid: None while it is being started again.
        age_ms: Since its start.
        last_beat_ms: Since it last gave a sign of life.
        restarts: How often the role was started again.
        last_exit: How its last child that died did so, such as `SIGKILL`; None while none has.
    """

    role: str
    name: str
    state: str = "running"
    pid: int | None = None
    age_ms: int | None = None
    last_beat_ms: int | None = None
    restarts: int = 0
    last_exit: str | None = None


class PassFigures(NamedTuple):
    """What people are told of a pass; None where an engine of another version did not say."""

    gaps_found: int | None
    missing: int | None
    filled: int | None
    confirmed_empty: int | None
    unresolved: int | None
    requests: int | None
    duration_ms: int | None
    errors: tuple[str, ...]


class JobStatus(_Record):
    """One job of the schedule; instants in ms UTC, counts since the engine's start.

    `last_result` has the fields of `ReconciliationResult` without its rows; it is that of the last pass that came to
    its end, at `last_finished_at`. `last_outcome` is how the latest tick
    ended (a word of `metrics.TICKS`), `last_success_at` when a run last went well,
    `failure` what the last run here failed of, until one goes well or another node is at the job.
    """

    name: str
    cron: str
    next_tick: int | None
    is_running: bool
    runs: int
    skipped: int
    missed: int
    failed: int
    timed_out: int
    last_error: str | None = None
    last_duration_ms: int | None = None
    last_finished_at: int | None = None
    last_result: dict[str, Any] | None = None
    last_outcome: str | None = None
    failure: str | None = None
    last_success_at: int | None = None

    @property
    def last_pass(self) -> PassFigures | None:
        """Figures of the last pass that came to its end; None while none has."""
        if self.last_result is None:
            return None
        figures: dict[str, Any] = {name: self.last_result.get(name) for name in PassFigures._fields}
        return PassFigures(**{**figures, "errors": tuple(figures["errors"] or ())})


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
        wait_ms: What a new request would wait.
        paused_ms: What is left of a pause the exchange asked for.
        breaker: `closed` lets everybody ask; `probing` one request at a time, after trouble; `gone` as probing, and
            nobody waits for it; `stopped` none, the key was refused.
        trouble: HTTP status of the last trouble, 0 where there was none or no answer.
        stopped_ms: What is left of a stop.
    """

    rate_per_s: float
    share: float = 1.0
    slowed_by: int = 0
    burst: int
    available: int
    used: int
    granted: int
    waiting: int
    wait_ms: int
    paused_ms: int
    breaker: str = "closed"
    trouble: int = 0
    stopped_ms: int = 0


class EngineStatus(_Record):
    """What one engine says of itself.

    `protocol` is that of the scope, 0 in records from before there was one. `budget` is None where the bucket could not
    be read, `queued` (tasks by lane) where the streams could not.
    """

    node: str
    command: str
    version: str
    simulated: bool
    user_id: int
    exchange_id: int
    source: str
    started_at: int
    written_at: int
    processes: tuple[ProcessStatus, ...]
    jobs: tuple[JobStatus, ...]
    budget: BudgetStatus | None
    queued: dict[str, int] | None = None
    protocol: int = 0
