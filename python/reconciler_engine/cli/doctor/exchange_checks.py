"""Checks of `doctor` that ask the exchange: a few requests, each with a permit."""

from __future__ import annotations

import time
from collections.abc import Sequence

from reconciler_engine.cli.doctor.check import Check
from reconciler_engine.cli.exits import CONFIG, UNAVAILABLE
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.products import Product
from reconciler_engine.coinbase.symbol_selectors import Selector, look_up
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.engine.symbols import fetch_lists
from reconciler_engine.errors import (
    NotAuthorized,
    PermitRefused,
    RequestRefused,
    SourceError,
    TokenRefused,
)
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import SKEW_TOLD_MS, describe_skew, describe_span

SKEW_LIMIT_MS = 30_000
"""Clock skew above which the exchange may refuse tokens (ms): a token is valid for two minutes from its signing."""

NAMES = ("exchange", "clock", "credentials", "symbols")

_STAMPS = "set this machine's clock by NTP: it stamps the tokens and decides when jobs run"
_JOBS = "this machine decides when jobs run, Redis which bars have closed: set both clocks by NTP"
_PERMIT_S = 20.0
_NO_KEY = Check("credentials", "skipped", "there is no API key to try")
_UNREACHED = "the exchange was not reached"


async def examine_exchange(
    config: ReconciliationConfig,
    source: CoinbaseClient,
    bucket: TokenBucket,
    *,
    signed: bool,
    redis: SharedClock | None = None,
) -> tuple[list[Check], tuple[str, ...] | None]:
    """Ask for the time, the products and, with a key, one candle; return the checks, and the symbols if known.

    The exchange's clock is compared with this machine's, and with Redis'.

    Raises:
        StoreError: Redis does not grant a permit.
    """
    # Try the key even if it was refused before.
    await bucket.forgive()
    reached, skew_ms = await _check_reach(config, source, bucket)
    checks = [reached, check_clocks(skew_ms, await _redis_skew(redis), config.base_url, signed=signed)]
    if skew_ms is None:
        symbols = None if config.choices else config.symbols
        key = Check("credentials", "skipped", _UNREACHED) if signed else _NO_KEY
        return [*checks, key, Check("symbols", "skipped", _UNREACHED)], symbols
    checks.append(await _check_credentials(config, source, bucket, skew_ms) if signed else _NO_KEY)
    products, symbols = await _check_symbols(config, source, bucket)
    return [*checks, products], symbols


async def _check_reach(
    config: ReconciliationConfig, source: CoinbaseClient, bucket: TokenBucket
) -> tuple[Check, int | None]:
    try:
        permit = await bucket.wait_permit(_PERMIT_S)
        before = time.time_ns() // 1_000_000
        theirs = await send(bucket, permit, source.fetch_time, signed=False)
    except (SourceError, PermitRefused) as error:
        hint = (
            "look at base_url, DNS, firewall, and the settings proxy and ca_file; those of the environment are not used"
        )
        return Check("exchange", "fail", f"{_address(config)}: {error}", hint, UNAVAILABLE), None
    after = time.time_ns() // 1_000_000
    return Check("exchange", "ok", f"{_address(config)} answered in {after - before} ms"), theirs - (
        before + after
    ) // 2


def _address(config: ReconciliationConfig) -> str:
    """Return the exchange's address and the route to it, such as a proxy."""
    return f"{config.base_url} ({config.route})" if str(config.route) else config.base_url


async def _redis_skew(redis: SharedClock | None) -> int | None:
    """Return Redis' clock minus this machine's (ms); None without a Redis."""
    if redis is None:
        return None
    before = time.time_ns() // 1_000_000
    theirs = await redis.redis_now()
    return theirs - (before + time.time_ns() // 1_000_000) // 2


def check_clocks(exchange_ms: int | None, redis_ms: int | None, base_url: str, *, signed: bool) -> Check:
    """Check three clocks, by how far the exchange's and Redis' are ahead of this machine's (ms; None if unknown)."""
    if exchange_ms is None and redis_ms is None:
        return Check("clock", "skipped", _UNREACHED)
    told: list[str] = []
    hints: list[str] = []
    for owner, ms, hint in (("the exchange's", exchange_ms, _STAMPS), ("Redis'", redis_ms, _JOBS)):
        if ms is not None:
            told.append(f"{owner} clock is {_apart(ms)} this machine's")
            hints += [hint] if abs(ms) > SKEW_TOLD_MS else []
    if exchange_ms is not None and redis_ms is not None:
        consequence = describe_skew(exchange_ms - redis_ms, base_url.partition("://")[2])
        hints += [] if consequence is None else [consequence]
    if not hints:
        return Check("clock", "ok", ", ".join(told))
    spoils_tokens = signed and exchange_ms is not None and abs(exchange_ms) > SKEW_LIMIT_MS
    return Check("clock", "fail" if spoils_tokens else "warn", ", ".join(told), "\n".join(hints))


def _apart(ms: int) -> str:
    span = describe_span(abs(ms)) if abs(ms) > SKEW_TOLD_MS else f"{abs(ms)} ms"
    return f"{span} {'ahead of' if ms > 0 else 'behind'}"


async def _check_credentials(
    config: ReconciliationConfig, source: CoinbaseClient, bucket: TokenBucket, skew_ms: int
) -> Check:
    """Ask for a candle with the key; after a refused token, try again, because a fresh token may be accepted."""
    plain = next((text for text in config.symbols if text not in config.choices), "BTC-USD")
    stop = Timeframe.H1.floor(time.time_ns() // 1_000_000 + skew_ms)
    page = Interval(stop - Timeframe.H1.step_ms, stop)
    while True:
        try:
            permit = await bucket.wait_permit(_PERMIT_S)
            await send(bucket, permit, source.fetch_candles, Series(plain, Timeframe.H1), page)
        except TokenRefused:
            # The next try waits for a permit, and after some tries the breaker refuses one.
            continue
        except NotAuthorized as error:
            return Check("credentials", "fail", str(error), "make a new key with the view permission", CONFIG)
        except RequestRefused:
            # The exchange took the key, but does not serve the product.
            break
        except (SourceError, PermitRefused) as error:
            return Check("credentials", "warn", f"could not be tried: {error}", "ask again in a minute")
        else:
            break
    return Check("credentials", "ok", "the exchange serves signed requests")


async def _check_symbols(
    config: ReconciliationConfig, source: CoinbaseClient, bucket: TokenBucket
) -> tuple[Check, tuple[str, ...] | None]:
    if not config.symbols:
        return Check("symbols", "skipped", "none are set"), ()
    symbols = None if config.choices else config.symbols
    try:

        async def fetch(kind: str) -> tuple[Product, ...]:
            permit = await bucket.wait_permit(_PERMIT_S)
            return await send(bucket, permit, source.fetch_products, kind, signed=False)

        products, trouble = await fetch_lists(config.symbols, fetch)
        if trouble is not None:
            raise trouble
    except (SourceError, PermitRefused) as error:
        return Check("symbols", "warn", f"could not be checked: {error}", "ask again in a minute"), symbols
    choice = look_up([Selector.parse(text) for text in config.symbols], products)
    faults = [*choice.unknown.values(), *choice.faults]
    if choice.faults or not choice.symbols:
        return Check("symbols", "fail", "\n".join(faults), "correct the symbols", CONFIG), symbols
    if faults:
        detail = "\n".join([f"{len(choice.symbols)} known", *faults])
        return Check("symbols", "warn", detail, "correct them: `start` goes on with the others"), choice.symbols
    return _known(choice.symbols, products), choice.symbols


def _known(symbols: Sequence[str], products: Sequence[Product]) -> Check:
    idle = sorted({product.symbol for product in products if not product.tradable}.intersection(symbols))
    if idle:
        detail = f"{len(symbols)} known; no longer traded: {', '.join(idle[:10])}"
        return Check("symbols", "warn", detail, "leave them out: their missing candles stay missing")
    return Check("symbols", "ok", f"{len(symbols)} of {len(products)} products")
