"""The package root: every name that is promised, and nothing loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import reconciler_engine

PROMISED = {
    "detect_gaps", "Gap", "Gaps", "GapInfo", "ReconciliationConfig", "ReconciliationResult", "ReconciliationService",
    "DEFAULT_RECONCILIATION_CONFIG", "examine", "is_ready", "Timeframe", "TrioRedis", "Candle", "IMPLEMENTATION",
    "GapSummary", "why_not_ready", "are_ready", "wait_ready", "permit", "changes",
    "AsyncioReconciliationService",
}  # fmt: skip
# redis-py itself loads cryptography where it is installed.
HEAVY = ("httpx", "redis", "hiredis", "pydantic", "jwt", "cryptography", "trio")


def test_every_promised_name_is_there_and_no_other():
    assert set(reconciler_engine.__all__) == PROMISED
    for name in PROMISED:
        assert getattr(reconciler_engine, name) is not None


def test_completion_lists_every_promised_name():
    assert set(dir(reconciler_engine)) >= PROMISED | {"__name__", "__all__"}
    listed = "import reconciler_engine as r, sys; names = set(dir(r)); sys.exit(not set(r.__all__) <= names)"
    assert loaded_by(listed) == set()


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reconciler_engine.nothing


def loaded_by(code: str) -> set[str]:
    """Return the heavy libraries that a fresh interpreter has loaded after `code`."""
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(HEAVY) & set(told.stdout.split())


def test_importing_the_package_loads_no_heavy_library():
    assert loaded_by("import reconciler_engine as r; r.detect_gaps([1], range(3))") == set()


def test_the_ready_gate_loads_neither_the_exchange_client_nor_the_configuration():
    assert not loaded_by("from reconciler_engine import is_ready") & {"httpx", "jwt", "pydantic"}


def test_the_service_loads_nothing_that_signs_without_a_key():
    code = "from reconciler_engine import ReconciliationService as S; S(None, None, 'redis://localhost')"
    assert not loaded_by(code) & {"jwt"}
