"""The work of `doctor`: makes the checks in order; later checks use the results of earlier ones."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import trio

from reconciler_engine.cli.doctor import setting_checks
from reconciler_engine.cli.doctor.cache_checks import NAMES as CACHE_CHECKS
from reconciler_engine.cli.doctor.cache_checks import (
    ROOM,
    check_kept,
    check_layout,
    examine_cache,
    skip_cache,
    with_scrub,
)
from reconciler_engine.cli.doctor.check import Check, exit_code, print_checks
from reconciler_engine.cli.doctor.exchange_checks import NAMES as EXCHANGE_CHECKS
from reconciler_engine.cli.doctor.exchange_checks import examine_exchange
from reconciler_engine.cli.exits import CONFIG, leave
from reconciler_engine.cli.options import Given
from reconciler_engine.cli.output import Output
from reconciler_engine.cli.setting_sources import default_data_dir
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.errors import ConfigError, StoreError, StoreFull
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.plain_pause import PlainPause
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.alerts import Alert
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.webhook.sender import Post, Target, send

if TYPE_CHECKING:
    from reconciler_engine.coinbase.auth import Credentials

_Told = TypeVar("_Told")
_OF_SETTINGS = ("budget", "verification", "disk", "embedded server", "pages", "webhook")
_OTHERS = (*EXCHANGE_CHECKS, *CACHE_CHECKS, "layout", "retention", *_OF_SETTINGS)


def run_doctor(given: Given, output: Output, *, sends_test_alert: bool = False) -> None:
    """Make and print every check; exit with the code that they give."""
    config, settings = setting_checks.check_configuration(given)
    credentials, key = setting_checks.check_key(given, config)
    if config is None:
        checks = [Check(name, "skipped", "the configuration has faults") for name in _OTHERS]
    else:
        checks = [
            *trio.run(_examine, config, credentials),
            trio.run(_check_webhook, config, sends_test_alert),
        ]
    checks = [settings, key, *checks]
    code = exit_code(checks)
    if output.as_json:
        rows = [{name: value for name, value in asdict(check).items() if name != "code"} for check in checks]
        output.print_json({"exit_code": code, "checks": rows})
    else:
        print_checks(checks)
    leave(code)


async def _examine(config: ReconciliationConfig, credentials: Credentials | None) -> list[Check]:
    signed = credentials is not None
    async with AsyncExitStack() as stack:
        cache, parts = await _open_cache(config, credentials, stack)
        # The shared budget is kept in Redis. Without Redis, this process sends one request per second.
        bucket = TokenBucket(PlainPause(), "doctor", Budget(1, 1_000)) if parts is None else parts.bucket
        source = await stack.enter_async_context(
            CoinbaseClient(config.base_url, credentials=credentials, route=config.route)
        )
        try:
            clock = None if parts is None else parts.clock
            exchange, symbols = await examine_exchange(config, source, bucket, signed=signed, redis=clock)
        except StoreError as error:
            exchange, symbols = _no_permit(error), None
        series = None
        if symbols is not None:
            series = [Series(symbol, Timeframe(name)) for symbol in symbols for name in config.timeframes]
        retention = setting_checks.check_retention(config)
        if parts is not None:
            kept = check_kept(parts.client, parts.scope, series or [], config.max_candles, retention)
            retention = await _unless_away(kept, retention)
        verification = setting_checks.check_verification(config, series, signed=signed)
        if parts is not None and series:
            verification = await _unless_away(with_scrub(verification, parts, series), verification)
        return [
            *exchange,
            *cache,
            await _look_at_layouts(parts, series or []),
            retention,
            setting_checks.check_budget(config, series, signed=signed),
            verification,
            setting_checks.check_disk(config),
            await setting_checks.check_binary(config),
            setting_checks.check_pages(config),
        ]


async def _open_cache(
    config: ReconciliationConfig, credentials: Credentials | None, stack: AsyncExitStack
) -> tuple[list[Check], Parts | None]:
    """Check the configured cache, or the embedded one if it runs; if it serves, return the engine's parts, too."""
    url = config.cache_url
    if url is None:
        try:
            running = DataDirectory(config.data_dir or default_data_dir(simulated=False)).find_running()
        except ConfigError as error:
            failed = Check("redis", "fail", "\n".join(error.faults), "set another data_dir", CONFIG)
            return [failed, *skip_cache("the server was not reached")[1:]], None
        if running is None:
            return skip_cache("no embedded server runs, `start` runs one; redis_url is not set"), None
        url = running.url
    identity = None if credentials is None else credentials.identity
    owned = config.redis_url is None
    parts = await stack.enter_async_context(open_parts(config, url, owns_server=owned, identity=identity))
    checks = await examine_cache(parts.client, parts.scope)
    return checks, None if checks[0].status == "fail" else parts


async def _unless_away(asked: Awaitable[_Told], otherwise: _Told) -> _Told:
    """Return the answer of Redis, or `otherwise` after an error, which the check of the server reports."""
    try:
        return await asked
    except StoreError:
        return otherwise


async def _look_at_layouts(parts: Parts | None, series: list[Series]) -> Check:
    if parts is None:
        return Check("layout", "skipped", "the server was not reached")
    try:
        return await check_layout(parts, series)
    except StoreError as error:
        return Check("layout", "skipped", f"not counted: {error}")


def _no_permit(error: StoreError) -> list[Check]:
    rights = "the engine writes and runs scripts: its user must be allowed to, and the server be no replica"
    hint = ROOM if isinstance(error, StoreFull) else rights
    failed = Check(EXCHANGE_CHECKS[0], "fail", f"Redis did not grant a permit for a request: {error}", hint)
    return [failed, *(Check(name, "skipped", "nothing was asked") for name in EXCHANGE_CHECKS[1:])]


async def _check_webhook(config: ReconciliationConfig, sends: bool) -> Check:
    """Check the webhook: if `sends`, send one test alert, else nothing."""
    if config.webhook_url is None:
        hint = "set webhook_url in the environment or the settings file" if sends else ""
        return Check("webhook", "fail" if sends else "skipped", "webhook_url is not set", hint)
    if not sends:
        return Check("webhook", "skipped", "set; --send-test-alert tries it")
    told = {"alert": Alert.TEST.value, "phase": "begin", "at": time.time_ns() // 1_000_000, "count": 0, "subjects": []}
    answer = await send(Target(config.webhook_url, config.webhook_secret), Post.of(told))
    if answer.taken:
        signed = "signed" if config.webhook_secret is not None else "unsigned: webhook_secret is not set"
        return Check("webhook", "ok", f"took the test alert ({answer.detail}), {signed}")
    return Check(
        "webhook", "fail", f"did not take the test alert: {answer.detail}", "check webhook_url and its receiver"
    )
