"""Settings of the interpreter for programs of our own, made before they import their libraries."""

from __future__ import annotations

import gc
import sys
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""Objects made before the collector looks at the young ones. A pass over 60,000 series makes a million that hold no
cycles; by its own threshold of 700 the collector takes a third of the director's time. So it does of imports."""


def spare_time_and_memory() -> None:
    """Collect garbage seldom, and keep out a part of a library that no program of ours uses."""
    gc.set_threshold(YOUNG_OBJECTS)
    # httpx would load its command line, with the whole of rich: 5 MB and a tenth of a worker's start.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None makes the import fail, as httpx allows
