"""Reads the API key from the file that `key_file` names, else from the environment. Only the room `cli` does that."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler_engine.cli.setting_sources import gather, load_config
from reconciler_engine.coinbase.base_url import BaseUrl
from reconciler_engine.config import WINDOWS, ReconciliationConfig
from reconciler_engine.errors import ConfigError
from reconciler_engine.supervisor.secrecy import keep_memory_secret

if TYPE_CHECKING:
    # Imported only with a key: cryptography is slow to load.
    from reconciler_engine.coinbase.auth import Credentials

NAME_VARIABLE = "COINBASE_API_KEY"
FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
SECRET_VARIABLE = "COINBASE_API_SECRET"  # noqa: S105  the variable's name, no secret


def load_signed(
    flags: Mapping[str, str],
    config_file: str | None,
    *,
    needs_symbols: bool = False,
    known_faults: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    windows: Collection[str] = WINDOWS,
) -> tuple[ReconciliationConfig, Credentials | None]:
    """Return the checked configuration and the credentials; None instead of credentials for unsigned requests.

    The arguments are those of `load_config`.

    Raises:
        ConfigError: The configuration or the credentials are not in order; names every fault of both.
    """
    environment = os.environ if environment is None else environment
    faults: list[str] = []
    config = credentials = None
    try:
        config = load_config(
            flags,
            config_file,
            needs_symbols=needs_symbols,
            known_faults=known_faults,
            environment=environment,
            windows=windows,
        )
    except ConfigError as error:
        faults += error.faults
    key_file = gather(flags, config_file, environment, []).values.get("key_file")
    try:
        credentials = read_credentials(key_file, environment)
    except ConfigError as error:
        faults += error.faults
    if config is not None and credentials is not None:
        faults += signing_faults(config)
    if config is None or faults:
        raise ConfigError(faults)
    return config, credentials


def read_credentials(key_file: Any, environment: Mapping[str, str]) -> Credentials | None:
    """Return the credentials in `key_file`, else those in the two environment variables, else None.

    From now on this process writes no core dump.

    Raises:
        ConfigError: The credentials are unusable, or only one of the two variables is set; never repeats a key.
    """
    keep_memory_secret()
    if key_file is not None:
        if not isinstance(key_file, str | Path) or not str(key_file) or "\0" in str(key_file):
            # `load_config` reports this fault.
            return None
        from reconciler_engine.coinbase.auth import Credentials

        # Read from this process, not from `environment`, so that `config check` inside a service finds it, too.
        folder = os.environ.get(FOLDER_VARIABLE)
        return Credentials.read(Path(key_file).expanduser(), credentials_directory=Path(folder) if folder else None)
    missing = [name for name in (NAME_VARIABLE, SECRET_VARIABLE) if not environment.get(name)]
    match missing:
        case [_, _]:
            return None
        case [name]:
            raise ConfigError([f"{name} is not set; {NAME_VARIABLE} and {SECRET_VARIABLE} go together"])
    from reconciler_engine.coinbase.auth import Credentials

    try:
        return Credentials(environment[NAME_VARIABLE], environment[SECRET_VARIABLE])
    except ConfigError as error:
        faults = error.faults
    raise ConfigError([f"{NAME_VARIABLE}, {SECRET_VARIABLE}: {fault}" for fault in faults])


def signing_faults(config: ReconciliationConfig) -> list[str]:
    """Return why credentials must not be sent to the exchange's address; empty if they may be sent."""
    try:
        BaseUrl.parse(config.base_url, signed=True)
    except ValueError as error:
        return [str(error)]
    return []
