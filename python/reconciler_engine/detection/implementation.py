"""Choose the implementation: native if it can be loaded, unless RECONCILER_PURE_PYTHON=1 forbids it."""

from __future__ import annotations

import importlib
import os
from typing import Literal


def _can_load_native() -> bool:
    try:
        importlib.import_module("reconciler_engine._native")
    except ModuleNotFoundError:
        return False
    except ImportError as error:
        # Subinterpreters with their own GIL (3.12+) refuse it. Any other error is a broken build, and is raised.
        if "subinterpreter" in str(error):
            return False
        raise
    return True


IMPLEMENTATION: Literal["native", "pure"] = (
    "pure" if os.environ.get("RECONCILER_PURE_PYTHON") == "1" or not _can_load_native() else "native"
)
