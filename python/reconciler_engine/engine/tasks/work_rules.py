"""The settings that a task carries: a worker follows those of the process that created the task."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.planning.audit import AuditRules
from reconciler_engine.planning.window import DEFAULT_GRACE_MS


class WorkRules(BaseModel):
    """Rules for judging and merging a page's answer; the defaults repair nothing.

    Attributes:
        audit: Treatment of a candle that differs from the exchange's.
        grace_ms: Time after its close within which a bar may still arrive (ms).
        allow_other_layout: Whether to fill keys of a layout that readers do not use.
        announce_close: Number of newest closed bars whose repair is also announced on the feeder's channel of closed
            bars; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    audit: AuditRules = AuditRules()
    grace_ms: Annotated[int, Field(ge=0, le=600_000)] = DEFAULT_GRACE_MS
    allow_other_layout: bool = False
    announce_close: Annotated[int, Field(ge=0, le=10_000)] = 0

    @classmethod
    def of(cls, config: ReconciliationConfig) -> WorkRules:
        """Return the rules given by settings."""
        return cls(
            audit=config.audit_rules,
            grace_ms=config.grace_ms,
            allow_other_layout=config.allow_other_layout,
            announce_close=config.announce_close,
        )
