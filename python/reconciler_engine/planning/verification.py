"""When a candle that is there is compared with the exchange's. Pure."""

from __future__ import annotations

from typing import Final

DEFAULT_SETTLE_MS: Final = 600_000
"""How long after its close the exchange's bar is final."""

DEFAULT_MAX_UNVERIFIED_MS: Final = 1_800_000
"""How long after its close a bar may be without verification and still count as ready."""
