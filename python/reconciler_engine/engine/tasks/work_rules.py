"""The settings by which a task is done: those of the process that asked for it, whichever worker does it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.planning.audit import AuditRules
from reconciler_engine.planning.window import DEFAULT_GRACE_MS


class WorkRules(BaseModel):
    """How a page's answer is judged and merged. One that says nothing repairs nothing.

    Attributes:
        audit: Treatment of a candle unlike the exchange's.
        grace_ms: How long after its close a bar may still be on its way.
        allow_other_layout: Whether keys are filled that readers do not look at.
        announce_close: Number of the newest closed bars among which a repair also announces the newest one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    audit: AuditRules = AuditRules()
    grace_ms: Annotated[int, Field(ge=0, le=600_000)] = DEFAULT_GRACE_MS
    allow_other_layout: bool = False
    announce_close: Annotated[int, Field(ge=0, le=10_000)] = 0

    @classmethod
    def of(cls, config: ReconciliationConfig) -> WorkRules:
        """Return the rules of work that settings ask for."""
        return cls(
            audit=config.audit_rules,
            grace_ms=config.grace_ms,
            allow_other_layout=config.allow_other_layout,
            announce_close=config.announce_close,
        )
