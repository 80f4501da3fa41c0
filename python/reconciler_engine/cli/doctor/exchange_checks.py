"""What `doctor` asks the exchange: a handful of requests, each with a permit."""

from __future__ import annotations

import time
from collections.abc import Sequence

from reconciler_engine.cli.doctor.check import Check
from reconciler_engine.cli.exits import CONFIG, UNAVAILABLE
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.coinbase.products import Product
from reconciler_engine.coinbase.symbol_selectors import Selector, choose
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.engine.symbols import fetch_lists
from reconciler_engine.errors import (
    ConfigError,
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

SKEW_OK_MS = 2_000
SKEW_LIMIT_MS = 30_000
"""Tokens begin at the instant of signing and live two minutes: a clock that is off by more spoils them soon."""

NAMES = ("exchange", "clock", "credentials", "symbols")

_PERMIT_S = 20.0
_UNREACHED = "the exchange was not reached"


async def examine_exchange(
    config: ReconciliationConfig, source: CoinbaseClient, bucket: TokenBucket, *, signed: bool
) -> tuple[list[Check], tuple[str, ...] | None]:
    """Ask for the time, the products and, with a key, for one candle; also return the symbols chosen, if they are.

    Raises:
        StoreError: Redis gives no permit.
    """
    # Whoever asks the doctor wants the key tried, refused before or not.
    await bucket.forgive()
    reached, skew_ms = await _check_reach(config, source, bucket)
    checks = [reached, _check_clock(skew_ms, signed=signed)]
    if skew_ms is None:
        symbols = None if any(_is_choice(text) for text in config.symbols) else config.symbols
        key = Check("credentials", "skipped", _UNREACHED) if signed else _no_key()
        return [*checks, key, Check("symbols", "skipped", _UNREACHED)], symbols
    checks.append(await _check_credentials(config, source, bucket, skew_ms) if signed else _no_key())
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
    """Return the exchange's address and the way to it."""
    return f"{config.base_url} ({config.route})" if str(config.route) else config.base_url


def _check_clock(skew_ms: int | None, *, signed: bool) -> Check:
    if skew_ms is None:
        return Check("clock", "skipped", _UNREACHED)
    detail = f"the exchange's clock is {abs(skew_ms)} ms {'ahead of' if skew_ms > 0 else 'behind'} this machine's"
    if abs(skew_ms) <= SKEW_OK_MS:
        return Check("clock", "ok", detail)
    hint = "set this machine's clock by NTP: it stamps the tokens and decides when jobs run"
    return Check("clock", "fail" if signed and abs(skew_ms) > SKEW_LIMIT_MS else "warn", detail, hint)


async def _check_credentials(
    config: ReconciliationConfig, source: CoinbaseClient, bucket: TokenBucket, skew_ms: int
) -> Check:
    """Ask for one candle, signed; a fresh token now and then passes where one was refused."""
    plain = next((text for text in config.symbols if not _is_choice(text)), "BTC-USD")
    stop = Timeframe.H1.floor(time.time_ns() // 1_000_000 + skew_ms)
    page = Interval(stop - Timeframe.H1.step_ms, stop)
    while True:
        try:
            permit = await bucket.wait_permit(_PERMIT_S)
            await send(bucket, permit, source.fetch_candles, Series(plain, Timeframe.H1), page)
        except TokenRefused:
            # The next round waits for a permit, and the breaker ends the rounds.
            continue
        except NotAuthorized as error:
            return Check("credentials", "fail", str(error), "make a new key with the view permission", CONFIG)
        except RequestRefused:
            # Understood and not served: about the product, not about who asked.
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
    symbols = None if any(_is_choice(text) for text in config.symbols) else config.symbols
    try:

        async def fetch(kind: str) -> tuple[Product, ...]:
            permit = await bucket.wait_permit(_PERMIT_S)
            return await send(bucket, permit, source.fetch_products, kind, signed=False)

        products, trouble = await fetch_lists(config.symbols, fetch)
        if trouble is not None:
            raise trouble
        symbols = choose([Selector.parse(text) for text in config.symbols], products)
    except ConfigError as error:
        return Check("symbols", "fail", "\n".join(error.faults), "correct the symbols", CONFIG), symbols
    except (SourceError, PermitRefused) as error:
        return Check("symbols", "warn", f"could not be checked: {error}", "ask again in a minute"), symbols
    return _known(symbols, products), symbols


def _known(symbols: Sequence[str], products: Sequence[Product]) -> Check:
    idle = sorted({product.symbol for product in products if not product.tradable}.intersection(symbols))
    if idle:
        detail = f"{len(symbols)} known; no longer traded: {', '.join(idle[:10])}"
        return Check("symbols", "warn", detail, "leave them out: what is missing of them will stay missing")
    return Check("symbols", "ok", f"{len(symbols)} of {len(products)} products")


def _no_key() -> Check:
    return Check("credentials", "skipped", "there is no API key to try")


def _is_choice(text: str) -> bool:
    return Selector.parse(text).symbol is None
