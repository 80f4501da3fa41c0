"""Fixtures that benches share with the tests."""

from __future__ import annotations

from tests.conftest import redis_server, redis_url

__all__ = ["redis_server", "redis_url"]
