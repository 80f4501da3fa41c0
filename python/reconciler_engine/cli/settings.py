"""Where settings come from: flags, then the environment, then the settings file, then the defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler_engine.cli.options import SETTINGS
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import ConfigError

CONFIG_VARIABLE = "RECONCILER_CONFIG"
_FILE_LIMIT = 1024 * 1024
_SECRET_PREFIXES = ("RECONCILER_", "COINBASE_")
_SWITCHES = frozenset({"RECONCILER_PURE_PYTHON", "RECONCILER_TEST_DATA", CONFIG_VARIABLE})


@dataclass(frozen=True, slots=True)
class Sources:
    """Settings as given, and where each came from."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]


def load_config(
    flags: Mapping[str, str],
    config_file: str | None,
    *,
    overrides: Mapping[str, Any] | None = None,
    needs_symbols: bool = False,
) -> ReconciliationConfig:
    """Return the checked configuration.

    Args:
        flags: What the command line gave, by setting name.
        config_file: Path of a TOML file with settings at its top level, or None.
        overrides: Defaults of this command that give way to everything the user set.
        needs_symbols: Whether an empty list of symbols is a fault.

    Raises:
        ConfigError: With every fault found, over all sources.
    """
    faults: list[str] = []
    sources = gather(flags, config_file, os.environ, faults)
    values = {**(overrides or {}), **sources.values}
    try:
        config = ReconciliationConfig.check(values, sources.origins, needs_symbols=needs_symbols)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    if faults:
        raise ConfigError(faults)
    return config


def gather(
    flags: Mapping[str, str], config_file: str | None, environment: Mapping[str, str], faults: list[str]
) -> Sources:
    """Merge the sources, the strongest last; add to `faults` what a source itself shows."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = config_file or environment.get(CONFIG_VARIABLE)
    if path is not None:
        given = _read_file(path, faults)
        values.update(given)
        origins.update((name, path) for name in given)
    for setting in SETTINGS.values():
        if setting.variable in environment:
            values[setting.name] = environment[setting.variable]
            origins[setting.name] = setting.variable
    known = {setting.variable for setting in SETTINGS.values()} | _SWITCHES
    faults.extend(
        f"{name}: unknown setting in the environment; allowed: {', '.join(sorted(known))}"
        for name in sorted(environment)
        if name.startswith("RECONCILER_") and name not in known
    )
    for name, value in flags.items():
        values[name] = value
        origins[name] = SETTINGS[name].flag
    if urlsplit(flags.get("redis_url", "")).password:
        faults.append(
            "redis_url (from --redis-url): a password on a command line is visible to every user of the machine; "
            "allowed: the same URL in RECONCILER_REDIS_URL or in the settings file"
        )
    return Sources(values, origins)


def child_environment() -> dict[str, str]:
    """Return this process' environment without what may be secret and without settings: children get a spec."""
    kept = {"RECONCILER_PURE_PYTHON"}
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(_SECRET_PREFIXES)}


def default_data_dir(*, simulated: bool) -> Path:
    """Return where the embedded server's data lives unless set: invented candles have a folder of their own."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / ("reconciler-engine-simulated" if simulated else "reconciler-engine")


def _read_file(path: str, faults: list[str]) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_FILE_LIMIT)
        return tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        faults.append(f"config {path}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"config {path}: no TOML: {error}")
    return {}
