"""Loaded by every Python that has this folder in its PYTHONPATH: a block is sat out in a second, not half a minute."""

from reconciler_engine.planning import backoff

backoff.BLOCKED = backoff.Backoff(base_ms=1_000, cap_ms=2_000)
