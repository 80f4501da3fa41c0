"""What a service manager left in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reconciler_engine.supervisor.notify import ServiceManager


def find_service_manager(environment: Mapping[str, str] | None = None) -> ServiceManager:
    """Return who wants to hear of this process; what is no socket or no number is left alone."""
    environment = os.environ if environment is None else environment
    address = environment.get("NOTIFY_SOCKET", "")
    watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    limit_us = environment.get("WATCHDOG_USEC", "")
    return ServiceManager(
        address if address.startswith(("/", "@")) else None,
        int(limit_us) / 1_000_000 if watched and limit_us.isdecimal() and int(limit_us) else None,
    )
