"""Check changes of settings while an engine runs: some settings need a restart."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from reconciler_engine.config.faults import SECRET_FIELDS
from reconciler_engine.config.settings import ReconciliationConfig
from reconciler_engine.errors import ConfigError

FIXED = (
    "redis_url",
    "redis_ca_file",
    "redis_address_map",
    "redis_sentinel_username",
    "redis_sentinel_password",
    "data_dir",
    "base_url",
    "layout",
    "user_id",
    "exchange_id",
    "workers",
    "listen",
    "listen_hosts",
    "listen_token",
)
"""Settings that identify the engine or shape its processes. A change needs a restart."""


def changes(old: ReconciliationConfig, new: ReconciliationConfig) -> list[str]:
    """Return the differences between settings, such as `batch_size 5 -> 10`; of secret settings only the name."""
    names = [name for name in type(new).model_fields if getattr(old, name) != getattr(new, name)]
    return [
        name if name in SECRET_FIELDS else f"{name} {_said(getattr(old, name))} -> {_said(getattr(new, name))}"
        for name in names
    ]


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "unset" if value is None else str(value)


def check_change(old: ReconciliationConfig, new: ReconciliationConfig) -> None:
    """Check that a running engine can continue with new settings.

    Raises:
        ConfigError: Some settings cannot change while it runs; all of them are named.
    """
    faults = [fault for name in FIXED if (fault := _change_fault(name, old, new))]
    if faults:
        raise ConfigError(faults)


def change_faults(old: ReconciliationConfig, given: Mapping[str, Any]) -> list[str]:
    """Return the changes that need a restart, although the settings in `given` are faulty as a whole.

    Each setting is checked alone. One with a faulty value is skipped, because that fault is reported elsewhere.
    """
    faults = []
    for name in FIXED:
        # An address that other machines can reach is only valid together with a token.
        values = {each: given[each] for each in (name, "listen_token") if each in given}
        with suppress(ConfigError):
            faults.append(_change_fault(name, old, ReconciliationConfig.check(values)))
    return [fault for fault in faults if fault is not None]


def _change_fault(name: str, old: ReconciliationConfig, new: ReconciliationConfig) -> str | None:
    before, after = getattr(old, name), getattr(new, name)
    if before == after:
        return None
    if name in SECRET_FIELDS:
        return f"{name} cannot change while the engine runs; allowed: what it was started with, or a restart"
    return f"{name} {after} cannot change while the engine runs; allowed: {before}, or a restart"
