"""How seldom Python's collector of cycles looks at young objects, in programs of our own."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""Objects made before the collector looks at the young ones. A pass over 60,000 series makes a million that hold no
cycles; by its own threshold of 700 the collector takes a third of the director's time. So it does of imports."""


def collect_seldom() -> None:
    """Have the collector look at young objects seldom, from before the imports of a program on."""
    gc.set_threshold(YOUNG_OBJECTS)
