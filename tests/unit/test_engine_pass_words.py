"""A pass told in a line."""

from __future__ import annotations

import pytest

from reconciler_engine.engine.pass_words import in_words, totals
from reconciler_engine.market.result import ReconciliationResult, SeriesResult


def row(symbol, timeframe="1m", **counts):
    return SeriesResult(symbol, timeframe, 0, 60_000, **{"expected": 10, **counts})


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            ReconciliationResult(series=(row("A-USD"), row("B-USD")), duration_ms=40),
            "nothing missing in 2 series, 0.0 s",
        ),
        (ReconciliationResult(duration_ms=40), "no series was due, 0.0 s"),
        (
            ReconciliationResult(series=(row("A-USD"),), duration_ms=40, mismatched=3, repaired=1, requests=2),
            "nothing missing in 1 series, 0.0 s; 2 requests to look again; 3 wrong bars: 1 repaired",
        ),
        (
            ReconciliationResult(
                gaps_found=6, missing=9, filled=8, unresolved=1, requests=1, duration_ms=1_240,
                series=(
                    row("A-USD", gaps=1, missing=5), row("B-USD", "5m", gaps=2, missing=2),
                    row("C-USD", gaps=3, missing=2), row("D-USD"),
                ),
            ),
            ("6 gaps; 9 slots without a candle: 8 filled, 1 left; 1 request, 1.2 s; "
            "most gaps: C-USD:1m 3, B-USD:5m 2, and 1 more"),
        ),
        (
            ReconciliationResult(
                errors=("WRONGTYPE",), series=(row("A-USD", expected=0), row("B-USD", errors=("WRONGTYPE",)))
            ),
            ("nothing missing in 1 series, 0.0 s; 1 series without a closed slot examined; "
            "1 cause of errors, most: B-USD:1m: WRONGTYPE"),
        ),
    ],
)  # fmt: skip
def test_it_names_what_matters(result, words):
    assert in_words(result) == words


def test_totals_are_the_result_without_its_rows():
    found = totals(ReconciliationResult(missing=3, series=(row("A-USD"),)))
    assert found["missing"] == 3
    assert "series" not in found
    assert "gaps_filled" in found
