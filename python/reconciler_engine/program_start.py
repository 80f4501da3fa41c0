"""Interpreter settings for the engine's own programs, made before they import their libraries."""

from __future__ import annotations

import gc
import sys
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""Number of new objects after which the garbage collector runs. With Python's default of 700, it takes a third of the
time of imports, and of a pass over 60,000 series, whose million objects have no reference cycles."""


def spare_time_and_memory() -> None:
    """Run the garbage collector rarely, and prevent the import of a library's unused command line."""
    gc.set_threshold(YOUNG_OBJECTS)
    # httpx would import its command line and with it `rich`: 5 MB, and a tenth of a worker's start time.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None makes the import fail, as httpx allows
