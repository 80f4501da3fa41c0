"""The engine's settings, and how their faults are told."""

from reconciler_engine.config.settings import DEFAULT_RECONCILIATION_CONFIG, WINDOWS, ReconciliationConfig

__all__ = ["DEFAULT_RECONCILIATION_CONFIG", "WINDOWS", "ReconciliationConfig"]
