"""How loud trouble at the exchange is told: a warning once, where it slows everybody down."""

from __future__ import annotations

import logging

import pytest

from reconciler_engine.engine.permitted_request import _level
from reconciler_engine.limiting.breaker import DENIALS, SILENCES, Fate


@pytest.mark.parametrize(
    ("fate", "levels"),
    [
        (Fate.SILENT, ["INFO"] * (SILENCES - 1) + ["WARNING"] + ["DEBUG"] * 40),
        (Fate.DENIED, ["INFO"] * (DENIALS - 1) + ["WARNING"]),
        (Fate.THROTTLED, ["WARNING", "INFO", "INFO"]),
        (Fate.BLOCKED, ["WARNING", "INFO", "INFO"]),
    ],
)
def test_an_outage_is_warned_of_once(fate, levels):
    assert [logging.getLevelName(_level(fate, count + 1)) for count in range(len(levels))] == levels
