"""The report that the supervisor sends the web child once a second, without Redis."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.observe.metrics import Figures
from reconciler_engine.observe.status import EngineStatus, ProcessStatus


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
