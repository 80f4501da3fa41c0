"""The work of `config show` and `config check`."""

from __future__ import annotations

import json
import os
from typing import Any

from reconciler_engine.cli.credentials import NAME_VARIABLE, load_signed
from reconciler_engine.cli.exits import CONFIG, leave
from reconciler_engine.cli.report import print_columns
from reconciler_engine.cli.settings import default_data_dir, gather
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import ConfigError
from reconciler_engine.observe.words import counted
from reconciler_engine.store.client.address import Address

_UNSET = {
    "redis_url": "embedded server",
    "key_file": "-",
    "egress": "-",
    "listen": "127.0.0.1:9464",
    "listen_token": "-",
    "gap_scan_misfire_grace_ms": "its interval",
    "gap_scan_max_run_ms": "three intervals",
    "full_reconcile_misfire_grace_ms": "its interval",
    "full_reconcile_max_run_ms": "three intervals",
}


def show_config(flags: dict[str, str], config_file: str | None, *, as_json: bool) -> None:
    """Print every effective value and its origin, the credentials last.

    Raises:
        ConfigError: With every fault of settings and credentials.
    """
    config, credentials = load_signed(flags, config_file)
    origins = gather(flags, config_file, os.environ, []).origins
    values = effective_values(config, signed=credentials is not None)
    origin_of = {name: origins.get(name, "default") for name in values}
    key = None if credentials is None else f"...{credentials.name[-4:]}, {credentials.algorithm}"
    key_origin = "-" if key is None else origins.get("key_file", NAME_VARIABLE)
    if as_json:
        settings = {name: {"value": value, "origin": origin_of[name]} for name, value in values.items()}
        print(json.dumps({"settings": settings, "credentials": {"key": key, "origin": key_origin}}))
        return
    rows = [(name, _in_words(name, value), origin_of[name]) for name, value in values.items()]
    print_columns(
        ("setting", "value", "from"), [*rows, ("credentials", key or "none, requests are public", key_origin)]
    )


def effective_values(config: ReconciliationConfig, *, signed: bool) -> dict[str, Any]:
    """Return every setting as JSON has it, defaults that hang on something else worked out, the secret masked."""
    values = config.model_dump(mode="json")
    values["data_dir"] = str(config.data_dir or default_data_dir(simulated=False))
    values["hourly_limit"] = config.budget(signed=signed).hourly or 0
    if config.redis_url is not None:
        values["redis_url"] = masked(config.redis_url)
    if config.listen_token is not None:
        values["listen_token"] = "***"  # noqa: S105  a mask
    return values


def masked(redis_url: str) -> str:
    """Return where a Redis is, with `***` for user and password."""
    address = Address.parse(redis_url)
    scheme, _, rest = str(address).partition("://")
    return f"{scheme}://***@{rest}" if address.password is not None else f"{scheme}://{rest}"


def check_file(path: str, *, as_json: bool) -> None:
    """Print whether the settings file is in order; leave with 78 where it is not."""
    faults: tuple[str, ...] = ()
    values = gather({}, path, {}, []).values
    try:
        load_signed({}, path, needs_symbols="symbols" in values, environment={})
    except ConfigError as error:
        faults = error.faults
    if as_json:
        print(json.dumps({"file": path, "ok": not faults, "faults": faults}))
    elif not faults:
        print(f"{path}: in order, {counted(len(values), 'setting')}")
    if faults:
        leave(CONFIG, "" if as_json else "\n".join(faults))


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return _UNSET[name]
    return ", ".join(value) or "-" if isinstance(value, list) else str(value)
