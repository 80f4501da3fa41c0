"""Which implementation answers: native when it is built, unless RECONCILER_PURE_PYTHON=1 forbids it."""

from __future__ import annotations

import importlib
import os
from typing import Literal


def _native_is_built() -> bool:
    try:
        importlib.import_module("reconciler_engine._native")
    except ModuleNotFoundError:
        return False
    return True


IMPLEMENTATION: Literal["native", "pure"] = (
    "pure" if os.environ.get("RECONCILER_PURE_PYTHON") == "1" or not _native_is_built() else "native"
)
