"""The engine's settings, and the messages about their faults.

The model is imported on first use, because command line help needs only the settings' definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler_engine.config.settings import DEFAULT_RECONCILIATION_CONFIG, WINDOWS, ReconciliationConfig

__all__ = ["DEFAULT_RECONCILIATION_CONFIG", "WINDOWS", "ReconciliationConfig"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reconciler_engine.config import settings  # noqa: PLC0415 - see above

    return getattr(settings, name)
