"""Which implementation answers: native when it is built, unless RECONCILER_PURE_PYTHON=1 forbids it."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from reconciler_engine.detection.gaps import Gaps


class Detector(Protocol):
    """What an implementation can do; inputs and refusals as `detect_gaps` describes them."""

    NAME: str

    def detect_regular(self, timestamps: object, expected: range, length: int, trusted: bool, /) -> Gaps:
        """Find the gaps of a range whose length `range_length` told."""

    def detect_explicit(self, timestamps: object, expected: object) -> Gaps:
        """Find the gaps of a strictly increasing array."""


def _native_is_built() -> bool:
    try:
        importlib.import_module("reconciler_engine._native")
    except ModuleNotFoundError:
        return False
    return True


IMPLEMENTATION: Literal["native", "pure"] = (
    "pure" if os.environ.get("RECONCILER_PURE_PYTHON") == "1" or not _native_is_built() else "native"
)
