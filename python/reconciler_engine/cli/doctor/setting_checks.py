"""Checks of `doctor` without exchange and Redis: settings, key, load, disk, pages, embedded server."""

from __future__ import annotations

import errno
import http.client
import os
import shutil
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler_engine.cli.api_key import read_credentials, signing_faults
from reconciler_engine.cli.doctor.check import Check
from reconciler_engine.cli.exits import CONFIG
from reconciler_engine.cli.options import Given
from reconciler_engine.cli.session import mark_data_directory
from reconciler_engine.cli.setting_sources import (
    child_environment,
    default_data_dir,
    gather,
    load_config,
    open_to_others,
)
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import ConfigError
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.web.listen import ListenAddress
from reconciler_engine.observe.words import counted
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.verify_load import verify_load
from reconciler_engine.planning.window import MINIMUM_STEPS
from reconciler_engine.store.embedded.binary import find_binary, probe_version
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.supervisor.web_child import open_listener

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
LONG_REPAIR_S = 3_600
"""If the repair of an outage of one hour takes longer than this (s), `doctor` warns: repair could fall behind."""

_ANSWER_S = 1.0
_MIB = 1024 * 1024
LEAST_FREE = 100 * _MIB
LITTLE_FREE = 1024 * _MIB


def check_configuration(given: Given) -> tuple[ReconciliationConfig | None, Check]:
    """Check all settings; return None instead of a configuration if they are not in order."""
    name = "configuration"
    try:
        config = load_config(*given)
    except ConfigError as error:
        hint = "correct what is named; `config show` says where each value comes from"
        return None, Check(name, "fail", "\n".join(error.faults), hint, CONFIG)
    if not config.symbols:
        hint = "set --symbols, RECONCILER_SYMBOLS or symbols in the settings file"
        return config, Check(name, "fail", "no symbols are set, `start` needs some", hint, CONFIG)
    if opened := open_to_others(given.config_file):
        return config, Check(name, "warn", opened, "chmod 600 the file")
    count = len(config.symbols)
    return config, Check(name, "ok", f"in order; {count} symbols x {len(config.timeframes)} timeframes")


def check_key(given: Given, config: ReconciliationConfig | None) -> tuple[Credentials | None, Check]:
    """Check the API key: the file's mode and form, or the environment's two variables."""
    name = "api key"
    try:
        credentials = read_credentials(gather(*given, os.environ, []).values.get("key_file"), os.environ)
    except ConfigError as error:
        hint = "chmod 600 its file, or mount it so that others cannot write it; or download a new key with only view"
        return None, Check(name, "fail", "\n".join(error.faults), hint, CONFIG)
    if credentials is None:
        return None, Check(name, "skipped", "no key is set, so requests are unsigned")
    faults = [] if config is None else signing_faults(config)
    if faults:
        return None, Check(name, "fail", "\n".join(faults), "use https, or no key", CONFIG)
    return credentials, Check(name, "ok", f"...{credentials.name[-4:]}, {credentials.algorithm}")


def check_retention(config: ReconciliationConfig) -> Check:
    """Compare the bars that the windows need with those that the cache keeps."""
    name = "retention"
    if not config.max_candles:
        return Check(name, "ok", "the cache keeps every candle (max_candles 0)")
    window_ms = max(config.quick_scan_window_ms, config.full_reconcile_window_ms)
    needs = {frame: max(ceil_div(window_ms, Timeframe(frame).step_ms), MINIMUM_STEPS) for frame in config.timeframes}
    frame = max(needs, key=lambda frame: needs[frame])
    kept = config.max_candles - 2
    return Check(name, "ok", f"the longest window needs {needs[frame]} candles of {frame}, the cache keeps {kept}")


def check_budget(config: ReconciliationConfig, series: list[Series] | None, *, signed: bool) -> Check:
    """Estimate the repair of a one-hour outage over all series."""
    name = "budget"
    if series is None:
        return Check(name, "skipped", "the number of products that the symbols select is not known")
    if not series:
        return Check(name, "skipped", "no symbols are set")
    budget = config.budget(signed=signed)
    requests = sum(ceil_div(ceil_div(HOUR_MS, one.timeframe.step_ms), PAGE_SLOTS) for one in series)
    took_s = duration_s(requests, budget)
    detail = (
        f"{len(series)} series; an outage of an hour over all of them is {counted(requests, 'request')}, "
        f"{_in_words(took_s)} at {budget.rate_per_s:.3g} a second"
    )
    if took_s > LONG_REPAIR_S:
        hint = "fewer series, a greater batch_size within the exchange's limit, or more outgoing addresses (egress)"
        return Check(name, "warn", detail, hint)
    return Check(name, "ok", detail)


def check_verification(config: ReconciliationConfig, series: list[Series] | None, *, signed: bool) -> Check:
    """Count the requests of verification; name the settings to change if its share is too small for them."""
    name = "verification"
    if not series:
        return Check(name, "skipped", "which series there are is not known" if series is None else "no symbols are set")
    share = config.budget(signed=signed).share(config.verify_share)
    load = verify_load(series, config.verify_rules, 60 * share.rate_per_s)
    detail = (
        f"about {counted(round(load.per_hour), 'request')} an hour for {len(series)} series, or "
        f"{ceil(load.with_sums_per_hour)} if longer bars equal the sums of shorter ones; second answers and references "
        f"not counted; verify_share {config.verify_share:g} allows {load.allowed_per_hour:.0f}"
    )
    if load.holds:
        return Check(name, "ok", detail)
    detail += (
        f"\nwhen a day begins {load.at_once} are due within {load.in_time_ms // MINUTE_MS} min, of which {load.served} "
        "go out: until the others do, `ready` says no of their series, because bars are unverified"
    )
    wider = load.least_share(config.verify_share)
    allowed = [f"verify_share to {wider:g} or more"] if wider <= 1 else []
    allowed.append(f"max_unverified_ms to {load.least_max_unverified_ms} or more")
    return Check(name, "warn", detail, f"set {', or '.join(allowed)}, or keep fewer series")


def duration_s(requests: int, budget: Budget) -> float:
    """Return how long these requests take (s) if the bucket is full at first."""
    return max(0.0, *((requests * limit.interval_us - limit.tolerance_us) / 1_000_000 for limit in budget.limits))


def check_disk(config: ReconciliationConfig) -> Check:
    """Check the free disk space and the folder for the embedded server's data; create nothing."""
    name = "disk"
    wanted = config.data_dir or default_data_dir(simulated=False)
    there = next(folder for folder in (wanted.absolute(), *wanted.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(name, "fail", f"{there} cannot be written", "set another data_dir, or its owner", CONFIG)
    try:
        directory = DataDirectory(wanted)
        if wanted.exists():
            directory.prepare()
        if config.redis_url is None:
            mark_data_directory(directory, simulated=False)
    except ConfigError as error:
        return Check(name, "fail", "\n".join(error.faults), "set another data_dir, or its owner and mode", CONFIG)
    if config.redis_url is not None:
        return Check(name, "skipped", "redis_url is set, so the data directory holds only a lock")
    return _free_space(wanted, shutil.disk_usage(there).free)


def _free_space(wanted: Path, free: int) -> Check:
    detail = f"{free // _MIB} MiB free for {wanted}"
    hint = "make room: a server that cannot write its append-only file refuses every candle"
    if free < LEAST_FREE:
        return Check("disk", "fail", detail, hint)
    return Check("disk", "warn", detail, hint) if free < LITTLE_FREE else Check("disk", "ok", detail)


def check_pages(config: ReconciliationConfig) -> Check:
    """Check that the pages can listen on their address."""
    name, address = "pages", config.pages
    if address is None:
        return Check(name, "skipped", "listen is off")
    try:
        with open_listener(address, is_fixed=True):
            return Check(name, "ok", f"{address} is free")
    except ConfigError as error:
        in_use = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if not in_use:
            return Check(name, "fail", "\n".join(error.faults), "set another listen, or off", CONFIG)
    if config.listen is None:
        return Check(name, "ok", f"{address} is in use, `start` takes any free port")
    if is_engine_at(address):
        return Check(name, "warn", f"{address} is in use by an engine", "to run a second engine, set another listen")
    return Check(name, "fail", f"{address} is in use by another program", "set another listen, or off", CONFIG)


def is_engine_at(address: ListenAddress) -> bool:
    """Whether an engine's pages answer at an address of this machine."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        answer = connection.getresponse()
        # The status may be 401, since the address may need a token; this header is in every response.
        return answer.getheader("cross-origin-resource-policy") == "same-origin"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def check_binary(config: ReconciliationConfig) -> Check:
    """Check the program of the embedded server."""
    name = "embedded server"
    if config.redis_url is not None:
        return Check(name, "skipped", "redis_url is set")
    try:
        binary = find_binary()
        version = await probe_version(binary, child_environment())
    except ConfigError as error:
        return Check(name, "fail", "\n".join(error.faults), "install it, or set redis_url", CONFIG)
    return Check(name, "ok", f"{'.'.join(map(str, version))}, {binary}")


def _in_words(seconds: float) -> str:
    if seconds < 1:
        return "less than a second"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
