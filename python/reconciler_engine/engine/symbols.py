"""Resolves the symbol selectors of a configuration, by the exchange's product list or the copy kept in Redis."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import trio

from reconciler_engine.coinbase.products import FUTURE, SPOT, Product
from reconciler_engine.coinbase.symbol_selectors import Choice, Selector, choose, look_up
from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.permitted_request import send
from reconciler_engine.errors import ConfigError, PermitRefused, SourceError, SourceUnavailable
from reconciler_engine.planning.backoff import Backoff
from reconciler_engine.store.budget_use import asking_for
from reconciler_engine.store.product_list import ProductList

if TYPE_CHECKING:
    # HTTP is loaded where the exchange is asked.
    from reconciler_engine.coinbase.client import CoinbaseClient

ATTEMPTS = 3
PATIENCE_S = 20.0
"""Longest wait of a start for the product list, all attempts together."""

REFRESH_EVERY_S = 3_600
"""Age at which the kept product list is fetched again; until then a delisted product is still asked for."""

_RETRY_EVERY_S = 300
_RETRY = Backoff(base_ms=500, cap_ms=5_000)
_logger = logging.getLogger(__name__)


async def choose_symbols(symbols: Sequence[str], parts: Parts, source: CoinbaseClient) -> tuple[str, ...]:
    """Return the symbols of a configuration, selectors resolved by the exchange's present list; keep that list.

    If the exchange does not answer, plain symbols are taken unchecked, with a warning.

    Raises:
        ConfigError: A symbol is unknown (with near matches) or a selector matches nothing. The error names all faults.
        SourceUnavailable: The list did not come, and there are selectors.
        StoreError: Redis failed or refused the command.
    """
    choice = await choose_known_symbols(symbols, parts, source)
    if choice.unknown:
        raise ConfigError(list(choice.unknown.values()))
    return choice.symbols


async def choose_known_symbols(symbols: Sequence[str], parts: Parts, source: CoinbaseClient) -> Choice:
    """Resolve the symbols like `choose_symbols`, but list unknown ones in `Choice.unknown` instead of raising.

    Raises:
        ConfigError: All symbols are unknown, or a selector matches nothing. The error names all faults.
        SourceUnavailable: The list did not come, and there are selectors.
        StoreError: Redis failed or refused the command.
    """
    try:
        products = await _fetch(parts, source, symbols)
    except (SourceError, PermitRefused) as error:
        unclear = _selector_texts(symbols)
        if unclear:
            raise SourceUnavailable(f"no product list to choose symbols {', '.join(unclear)} from: {error}") from error
        _logger.warning("symbols are not checked, no product list came", extra={"error": str(error)})
        return Choice(tuple(symbols))
    choice = look_up([Selector.parse(text) for text in symbols], products)
    if choice.faults or not choice.symbols:
        raise ConfigError([*choice.unknown.values(), *choice.faults])
    return choice


def choose_kept_symbols(symbols: Sequence[str], kept: ProductList) -> tuple[str, ...]:
    """Return the symbols of a configuration, selectors resolved by the list in Redis, without a request.

    Symbols that the list lacks are taken, with a warning that names similar ones; without a list they are not checked.

    Raises:
        ConfigError: There are selectors, but Redis has no list, or a selector matches nothing in it.
    """
    unclear = _selector_texts(symbols)
    if not kept.products:
        if not unclear:
            return tuple(symbols)
        hint = "`reconcile` or `start` with them fetches one; allowed without: product ids such as BTC-USD"
        raise ConfigError([f"symbols {', '.join(unclear)}: no product list is kept in Redis yet; {hint}"])
    selectors = [Selector.parse(text) for text in symbols]
    unknown = look_up(selectors, kept.products).unknown
    for fault in unknown.values():
        event = "symbol not in the kept product list, which may lack new products and futures"
        _logger.warning(event, extra={"fault": fault, "listed_at": kept.at})
    return choose(selectors, [*kept.products, *map(_stand_in, unknown)])


async def refresh_when_due(parts: Parts, source: CoinbaseClient) -> None:
    """Fetch and keep a new product list if the kept one is an hour old; only one process of all does so.

    If the exchange does not answer, that is logged and tried again five minutes later; the old list stays in use.

    Raises:
        StoreError: Redis failed or refused the command.
    """
    if not await parts.products.turn.take(_RETRY_EVERY_S):
        return
    try:
        await _fetch(parts, source, parts.config.symbols)
    except (SourceError, PermitRefused) as error:
        _logger.info("the product list was not refreshed", extra={"error": str(error)})


async def fetch_lists(
    symbols: Sequence[str], fetch: Callable[[str], Awaitable[tuple[Product, ...]]]
) -> tuple[tuple[Product, ...], SourceError | PermitRefused | None]:
    """Return the spot products and, where one of `symbols` is not among them, the futures.

    The second value is the error of the request for futures, if that failed; the spot products are returned even so.
    """
    products = await fetch(SPOT)
    if not _unlisted(symbols, products):
        return products, None
    try:
        return products + await fetch(FUTURE), None
    except (SourceError, PermitRefused) as trouble:
        return products, trouble


def _unlisted(symbols: Sequence[str], products: Sequence[Product]) -> list[str]:
    known = {product.symbol for product in products}
    return [text for text in symbols if Selector.parse(text).symbol is not None and text not in known]


async def _fetch(parts: Parts, source: CoinbaseClient, symbols: Sequence[str]) -> tuple[Product, ...]:
    """Fetch, keep and return the products; if the list of futures fails, accept unlisted symbols unchecked."""
    products, trouble = await fetch_lists(symbols, partial(_fetch_list, parts, source))
    await parts.products.keep(products, await parts.clock.redis_now())
    await parts.products.turn.extend(REFRESH_EVERY_S)
    if trouble is None:
        return products
    unclear = _unlisted(symbols, products)
    facts = {"symbols": ", ".join(unclear), "error": str(trouble)}
    _logger.warning("symbols are not checked, no list of futures came", extra=facts)
    return products + tuple(map(_stand_in, unclear))


def _stand_in(symbol: str) -> Product:
    return Product(symbol, "", tradable=False, quote_volume=None)


async def _fetch_list(parts: Parts, source: CoinbaseClient, kind: str) -> tuple[Product, ...]:
    """Fetch the list of one kind of product; try again on a passing error, each time with a permit."""
    random = Random()
    last: SourceError | PermitRefused | None = None
    with trio.move_on_after(PATIENCE_S):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                permit = await parts.bucket.wait_permit(PATIENCE_S)
                with asking_for("product list"):
                    return await send(parts.bucket, permit, source.fetch_products, kind, signed=False)
            except (SourceError, PermitRefused) as error:
                last = error
                if not error.retryable or attempt == ATTEMPTS:
                    raise
            await trio.sleep(_RETRY.delay_ms(attempt, random.random()) / 1_000)
    raise SourceUnavailable(f"no answer within {PATIENCE_S:g} s") from last


def _selector_texts(symbols: Sequence[str]) -> list[str]:
    return [text for text in symbols if Selector.parse(text).symbol is None]
