"""One table of examples, two entrances: every test here runs against the native and the pure detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler_engine.detection import Gaps, native, pure
from reconciler_engine.detection.detect import detect_gaps_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler_engine.detection.detect import Detector


@pytest.fixture(params=[native, pure], ids=["native", "pure"])
def detect(request: pytest.FixtureRequest) -> Callable[..., Gaps]:
    """`detect_gaps` of one implementation."""
    detector: Detector = request.param

    def call(timestamps: object, expected: object, *, trusted: bool = False, threads: int = 1) -> Gaps:
        return detect_gaps_by(detector, timestamps, expected, trusted=trusted, threads=threads)

    return call
