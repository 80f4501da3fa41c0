"""Which settings may change while an engine runs, and which need another start."""

from __future__ import annotations

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
"""Settings that name what an engine is, or its processes: other values need another start."""


def changes(old: ReconciliationConfig, new: ReconciliationConfig) -> list[str]:
    """Return the changes in newer settings, such as `batch_size 5 -> 10`; of secret ones the name alone."""
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
    """See that an engine at work can go on with other settings.

    Raises:
        ConfigError: Some of them cannot change while it runs; all are named.
    """
    faults = [
        _fault(name, getattr(old, name), getattr(new, name))
        for name in FIXED
        if getattr(old, name) != getattr(new, name)
    ]
    if faults:
        raise ConfigError(faults)


def _fault(name: str, old: object, new: object) -> str:
    if name in SECRET_FIELDS:
        return f"{name} cannot change while the engine runs; allowed: what it was started with, or a restart"
    return f"{name} {new} cannot change while the engine runs; allowed: {old}, or a restart"
