"""Keeps a Redis cache of OHLCV candles complete and correct.

`detect_gaps`, its result types and `Timeframe` are imported at once. All other names are imported on first use: some
need httpx, redis or pydantic, and even `dataclasses` takes longer to import than the detector.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reconciler_engine.detection import IMPLEMENTATION, Gaps, detect_gaps
from reconciler_engine.market.gap import Gap, GapInfo
from reconciler_engine.market.timeframe import Timeframe

if TYPE_CHECKING:
    from reconciler_engine.config import DEFAULT_RECONCILIATION_CONFIG, ReconciliationConfig
    from reconciler_engine.detection.summary import GapSummary
    from reconciler_engine.engine.asyncio_service import AsyncioReconciliationService
    from reconciler_engine.engine.changes import changes
    from reconciler_engine.engine.permits import permit
    from reconciler_engine.engine.ready import are_ready, examine, is_ready, wait_ready, why_not_ready
    from reconciler_engine.engine.service import ReconciliationService
    from reconciler_engine.market.candle import Candle
    from reconciler_engine.market.result import ReconciliationResult
    from reconciler_engine.store.client.trio_redis import TrioRedis

__all__ = [
    "DEFAULT_RECONCILIATION_CONFIG",
    "IMPLEMENTATION",
    "AsyncioReconciliationService",
    "Candle",
    "Gap",
    "GapInfo",
    "GapSummary",
    "Gaps",
    "ReconciliationConfig",
    "ReconciliationResult",
    "ReconciliationService",
    "Timeframe",
    "TrioRedis",
    "are_ready",
    "changes",
    "detect_gaps",
    "examine",
    "is_ready",
    "permit",
    "wait_ready",
    "why_not_ready",
]

_LATER = {
    "AsyncioReconciliationService": "reconciler_engine.engine.asyncio_service",
    "Candle": "reconciler_engine.market.candle",
    "DEFAULT_RECONCILIATION_CONFIG": "reconciler_engine.config",
    "GapSummary": "reconciler_engine.detection.summary",
    "ReconciliationConfig": "reconciler_engine.config",
    "ReconciliationResult": "reconciler_engine.market.result",
    "ReconciliationService": "reconciler_engine.engine.service",
    "TrioRedis": "reconciler_engine.store.client.trio_redis",
    "changes": "reconciler_engine.engine.changes",
    "are_ready": "reconciler_engine.engine.ready",
    "examine": "reconciler_engine.engine.ready",
    "is_ready": "reconciler_engine.engine.ready",
    "permit": "reconciler_engine.engine.permits",
    "wait_ready": "reconciler_engine.engine.ready",
    "why_not_ready": "reconciler_engine.engine.ready",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
