"""The status of an engine: what it says of itself once a second, and where in Redis others read it.

A record has a short life: where there is none, nothing runs. Reading touches no candle key.
"""

from __future__ import annotations

import importlib.metadata
import socket
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from reconciler_engine.store.scope import Scope
from reconciler_engine.store.transport import TrioRedis

RECORD_LIFE_MS = 5_000
"""An engine that has not written for so long does not run, or cannot reach Redis."""

ENGINES_KEY = "recon:engines"
"""Hash of all engines on this Redis: the name of each one's record, and its scope."""

_ENGINES_LIFE_MS = 86_400_000
_ENGINES_READ = 256


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProcessStatus(_Record):
    """One process of the tree.

    Attributes:
        role: What it is for: supervisor, worker, redis, exchange, feeder; service in a host's program.
        name: Unique in the tree; a restarted worker has a new one.
        pid: None while it is being started again.
        age_ms: Since its start.
        last_beat_ms: Since it last gave a sign of life.
        restarts: How often the role was started again.
    """

    role: str
    name: str
    pid: int | None = None
    age_ms: int | None = None
    last_beat_ms: int | None = None
    restarts: int = 0


class JobStatus(_Record):
    """One job of the schedule; instants in ms UTC, counts since the engine's start.

    `last_result` has the fields of `ReconciliationResult` without its rows; it is that of the last pass that came to
    its end, at `last_finished_at`.
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
    """What one engine says of itself. `budget` is None where the bucket could not be read."""

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

    @property
    def scope(self) -> Scope:
        """Whose candles it keeps, from which exchange."""
        return Scope(self.user_id, self.exchange_id, self.source)


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What does not change while an engine runs.

    Attributes:
        command: What runs it, for people.
        simulated: Whether its candles are invented.
        host: The machine's name.
        version: The package's version.
    """

    command: str
    simulated: bool = False
    host: str = field(default_factory=socket.gethostname)
    version: str = field(default_factory=lambda: importlib.metadata.version("reconciler-engine"))


class StatusBoard:
    """Where engines say how they stand."""

    def __init__(self, client: TrioRedis) -> None:
        self._client = client

    async def announce(self, status: EngineStatus) -> None:
        """List an engine among all on this Redis, and strike those off whose record is gone; now and then is enough."""
        listed = await self._client.execute_command("HKEYS", ENGINES_KEY)
        there = await self._client.pipe([("EXISTS", key) for key in listed])
        gone = [key for key, exists in zip(listed, there, strict=True) if exists == 0]
        if gone:
            await self._client.execute_command("HDEL", ENGINES_KEY, *gone)
        await self._client.execute_command("HSET", ENGINES_KEY, _key(status), status.node)
        await self._client.execute_command("PEXPIRE", ENGINES_KEY, _ENGINES_LIFE_MS)

    async def write(self, status: EngineStatus) -> None:
        """Write an engine's record; it lives for `RECORD_LIFE_MS`."""
        await self._client.execute_command("SET", _key(status), status.model_dump_json(), "PX", RECORD_LIFE_MS)

    async def remove(self, status: EngineStatus) -> None:
        """Say that an engine ends."""
        await self._client.execute_command("DEL", _key(status))
        await self._client.execute_command("HDEL", ENGINES_KEY, _key(status))

    async def read(self) -> list[EngineStatus]:
        """Return every engine that runs against this Redis, at most 256, by node; a record that is none is left out.

        Raises:
            StoreError: Redis did not answer.
        """
        listed = sorted(await self._client.execute_command("HKEYS", ENGINES_KEY))[:_ENGINES_READ]
        records = await self._client.pipe([("GET", key) for key in listed])
        found = [_parse(record) for record in records]
        return [status for status in found if status is not None]


def _key(status: EngineStatus) -> str:
    return status.scope.key(f"status:{status.node}")


def _parse(record: Any) -> EngineStatus | None:
    if not isinstance(record, bytes):
        # Its life is over, or the key is of another type.
        return None
    try:
        return EngineStatus.model_validate_json(record)
    except ValidationError:
        return None
