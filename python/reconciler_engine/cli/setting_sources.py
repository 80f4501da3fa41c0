"""Sources of settings, the strongest first: flags, the environment, the settings file, the defaults."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from reconciler_engine.config import WINDOWS, ReconciliationConfig
from reconciler_engine.config.definitions import FORMER_NAMES, SETTINGS, renamed
from reconciler_engine.config.faults import origin_of
from reconciler_engine.errors import ConfigError
from reconciler_engine.store.client.cluster_address import parse_address

CONFIG_VARIABLE = "RECONCILER_CONFIG"
_FILE_LIMIT = 1024 * 1024
_PREFIX = "RECONCILER_"
_VARIABLES = {f"{_PREFIX}{name.upper()}": name for name in (*SETTINGS, *FORMER_NAMES)}
_SECRET_PREFIXES = (_PREFIX, "COINBASE_")
# Variables that a service manager sets only for the process that it starts.
_SERVICE_MANAGER = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_SWITCHES = frozenset({"RECONCILER_PURE_PYTHON", "RECONCILER_TEST_DATA", CONFIG_VARIABLE})
# Addresses that Kubernetes sets for a service whose name begins with `reconciler`.
_SERVICE_LINK = re.compile(
    r"RECONCILER_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|RECONCILER_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
_UNKNOWN_TOLD = 10
# Keys of settings have no dots; the parser's time and memory grow with the square of a dotted key's length.
_DOTS_IN_A_LINE = 250
_DOTS_IN_ALL = 20_000


@dataclass(frozen=True, slots=True)
class Sources:
    """Settings as given, each with its source."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]


def load_config(
    flags: Mapping[str, str],
    config_file: str | None,
    *,
    overrides: Mapping[str, Any] | None = None,
    needs_symbols: bool = False,
    known_faults: Iterable[str] = (),
    refused: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    windows: Collection[str] = WINDOWS,
) -> ReconciliationConfig:
    """Return the checked configuration.

    Args:
        flags: Texts of the command line, by setting name.
        config_file: Path of a TOML file with settings at its top level, or None.
        overrides: Defaults of this command; settings of the user replace them.
        needs_symbols: Whether an empty list of symbols is a fault.
        known_faults: Faults of the command's other options, to be named together with those of the settings.
        refused: Settings that cannot be combined with `--simulate`; each is a fault if any source sets it.
        environment: Variables to read instead of this process' own.
        windows: The windows that the command uses; only these must fit retention.

    Raises:
        ConfigError: A setting is faulty; names every fault of all sources.
    """
    faults = list(known_faults)
    sources = gather(flags, config_file, os.environ if environment is None else environment, faults)
    faults += [
        f"{name} (from {sources.origins[name]}) does not go with --simulate: invented candles stay in a server and a "
        f"data directory of their own; allowed: no {name}"
        for name in refused
        if name in sources.values
    ]
    values = {**(overrides or {}), **sources.values}
    try:
        config = ReconciliationConfig.check(values, sources.origins, needs_symbols=needs_symbols, windows=windows)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    if config.cache_url is not None:
        faults += _address_faults(config.cache_url, sources.origins["redis_url"])
    try:
        config.route.tls()
    except ConfigError as error:
        faults += [f"{fault}{origin_of('ca_file', sources.origins)}" for fault in error.faults]
    if faults:
        raise ConfigError(faults)
    return config


def gather(
    flags: Mapping[str, str], config_file: str | None, environment: Mapping[str, str], faults: list[str]
) -> Sources:
    """Merge the sources of settings; add faults of a source itself, such as an unreadable file, to `faults`."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = environment.get(CONFIG_VARIABLE) if config_file is None else config_file
    if path is not None:
        given = _read_file(path, faults)
        values.update(renamed(given))
        origins.update(renamed({name: f"{name} in {path}" if name in FORMER_NAMES else path for name in given}))
    variables = {name: variable for variable, name in _VARIABLES.items() if variable in environment}
    values.update(renamed({name: environment[variable] for name, variable in variables.items()}))
    origins.update(renamed(variables))
    faults += _unknown_variables(environment)
    for name, value in flags.items():
        values[name] = value
        origins[name] = SETTINGS[name].flag
    faults += [
        f"{name} (from {SETTINGS[name].flag}): a password on a command line is visible to every user of the machine; "
        f"allowed: the same URL in {SETTINGS[name].variable} or in the settings file"
        for name in ("redis_url", "proxy")
        if _shows_password(flags.get(name, ""))
    ]
    return Sources(values, origins)


def child_environment() -> dict[str, str]:
    """Return this process' environment without secrets and settings, which children get in their spec."""
    kept = {"RECONCILER_PURE_PYTHON"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not (name.startswith(_SECRET_PREFIXES) or name in _SERVICE_MANAGER)
    }


def default_data_dir(*, simulated: bool) -> Path:
    """Return the default folder of the embedded server's data; invented candles have a folder of their own.

    Raises:
        ConfigError: The user has no home folder.
    """
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise ConfigError(["data_dir is not set and this user has no home folder; allowed: --data-dir"]) from error
    return Path(base) / ("reconciler-engine-simulated" if simulated else "reconciler-engine")


def _shows_password(url: str) -> bool:
    """Whether a URL shows a password. A URL that cannot be read is refused elsewhere, without being repeated."""
    try:
        parts = urlsplit(url)
        return bool(parts.password) or any(name.endswith("password") for name, _ in parse_qsl(parts.query))
    except ValueError:
        return False


def _address_faults(url: str, origin: str) -> list[str]:
    """Return the faults of a Redis URL. Its certificates are read now, so that faults show before a connection."""
    try:
        address = parse_address(url)
        if address.tls is not None:
            address.tls.context()
    except ValueError as error:
        return [f"redis_url <hidden> (from {origin}): {str(error).removeprefix('redis_url: ')}"]
    return []


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a fault for each unknown variable that looks like a setting; addresses of services are left out."""
    known = _VARIABLES.keys() | _SWITCHES
    unknown = [
        name
        for name, value in sorted(environment.items())
        if name.startswith(_PREFIX) and name not in known and _SERVICE_LINK.fullmatch(name) is None
        if not (name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value))
    ]
    faults = [f"{name}: unknown setting in the environment; {_near(name, known)}" for name in unknown[:_UNKNOWN_TOLD]]
    more = len(unknown) - len(faults)
    return [*faults, f"{_PREFIX}...: {more} more unknown settings in the environment"] if more else faults


def _near(name: str, known: Collection[str]) -> str:
    """Suggest the variable that was meant: the most similar one, compared without the common prefix."""
    names = {one.removeprefix(_PREFIX): one for one in sorted(known)}
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), names, n=1)
    return f"did you mean {names[near[0]]}?" if near else f"allowed: {_PREFIX}<NAME>, see `config init`"


def open_to_others(config_file: str | None) -> str | None:
    """Return the fault of the settings file, if it holds a secret and others can read it; None otherwise.

    If `config_file` is None, the environment names the file.
    """
    path = os.environ.get(CONFIG_VARIABLE) if config_file is None else config_file
    values = _read_file(path, []) if path else {}
    secrets = [name for name in values if name == "listen_token" or name.endswith("password")]
    secrets += [name for name in ("redis_url", "proxy") if _shows_password(str(values.get(name, "")))]
    if not secrets or path is None:
        return None
    try:
        mode = Path(path).stat().st_mode & 0o777
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return (
        f"config {path}: holds {secrets[0]} and its mode is {mode:04o}, so that others can read it; "
        f"allowed: 0600, or the secret in {SETTINGS[secrets[0]].variable}"
    )


def _read_file(path: str, faults: list[str]) -> dict[str, Any]:
    if not path:
        # Often an unset shell variable: going on without the file that it should name would hide the mistake.
        faults.append("config '': names no file; allowed: path of a settings file, or no --config")
        return {}
    try:
        with Path(path).open("rb") as file:
            text = file.read(_FILE_LIMIT + 1)
        if len(text) > _FILE_LIMIT:
            # Settings after the limit would be ignored silently.
            faults.append(f"config {path}: is larger than allowed: at most {_FILE_LIMIT} bytes")
            return {}
        if text.count(b".") > _DOTS_IN_ALL or any(line.count(b".") > _DOTS_IN_A_LINE for line in text.split(b"\n")):
            faults.append(f"config {path}: has more dots than any settings; allowed: a key of the settings a line")
            return {}
        return tomllib.loads(text.decode("utf-8-sig"))
    except OSError as error:
        faults.append(f"config {path}: cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        # Beside TOMLDecodeError: bytes that are not UTF-8, integers of thousands of digits, endless nesting.
        faults.append(f"config {path}: is not TOML: {str(error)[:200]}")
    return {}
