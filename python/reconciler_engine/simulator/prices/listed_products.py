"""Products of the simulated exchange, and how much and how often each trades."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from reconciler_engine.market.series import check_symbol

ProductType = Literal["SPOT", "FUTURE"]
_DAY_MS = 86_400_000
_LIMIT = 1e12
_LEAST_DECIMALS, _MOST_DECIMALS = 4, 8
# A busy day has up to 3.4 times the ordinary volume; a volume is written with 15 digits, and must fit into them.
_LOTS_LIMIT = 2.5e14
_NEW_FOR_DAYS = 2
_DELISTED_SINCE_DAYS = 2
_NEVER = ("watched", "is_disabled", "cancel_only", "limit_only", "post_only", "auction_mode", "view_only")
_ALWAYS_OPEN = {
    "is_session_open": True,
    "open_time": None,
    "close_time": None,
    "session_state": "FCM_TRADING_SESSION_STATE_OPEN",
    "after_hours_order_entry_disabled": False,
    "closed_reason": "FCM_TRADING_SESSION_CLOSED_REASON_UNDEFINED",
}


@dataclass(frozen=True, slots=True)
class ListedProduct:
    """A product, with the numbers that its seeded prices and trades follow.

    Attributes:
        symbol: Product id.
        price: Price around which the seeded path moves (quote units).
        price_decimals: Decimals of the price increment.
        volume: Base units traded on an ordinary day.
        volume_decimals: Decimals of the base increment, 4 to 8; a trade is at least 0.0001 base units.
        trades: Trades on an ordinary day.
        dense: Whether there is a trade in every second of an ordinary day; otherwise some bars have no trades.
        volatility: Typical move of a day, as a share of the price.
        listed: Start of trading (ms UTC); None if it has always traded.
        delisted: End of trading (ms UTC); None if it does not end.
        alias_of: Symbol of the product whose trades it shows; None if it has its own.
        product_type: `SPOT` or `FUTURE`: the exchange's product lists have one type each.
        expires: Expiry of a future (ms UTC); None for a perpetual future.

    Raises:
        ValueError: A value is out of range, or a day's volume has more digits than can be written exactly.
    """

    symbol: str
    price: float
    price_decimals: int = 2
    volume: float = 1_000.0
    volume_decimals: int = 8
    trades: int = 400_000
    dense: bool = True
    volatility: float = 0.03
    listed: int | None = None
    delisted: int | None = None
    alias_of: str | None = None
    product_type: ProductType = "SPOT"
    expires: int | None = None

    def __post_init__(self) -> None:
        check_symbol(self.symbol)
        if not (0 < self.price < _LIMIT and 0 < self.volume < _LIMIT and 0 <= self.volatility <= 1):
            raise ValueError(f"product {self.symbol}: price, volume or volatility is out of range")
        if not (
            0 <= self.price_decimals <= _MOST_DECIMALS and _LEAST_DECIMALS <= self.volume_decimals <= _MOST_DECIMALS
        ):
            raise ValueError(f"product {self.symbol}: decimals must be 0 to 8 of the price and 4 to 8 of the volume")
        if self.trades < 1 or self.volume * 10**self.volume_decimals > _LOTS_LIMIT:
            raise ValueError(f"product {self.symbol}: too few trades, or too many lots in a day's volume")


def list_products(now: int) -> tuple[ListedProduct, ...]:
    """Return the default products.

    JUP-USD was listed, and OMG-USD delisted, two days before the midnight (UTC) that precedes `now` (ms UTC).
    """
    midnight = now - now % _DAY_MS
    dense = (
        ListedProduct("BTC-USD", 65_000.0, 2, 9_000.0, trades=500_000, volatility=0.025),
        ListedProduct("ETH-USD", 3_000.0, 2, 110_000.0, trades=400_000),
        ListedProduct("SOL-USD", 150.0, 2, 900_000.0, trades=300_000, volatility=0.04),
        ListedProduct("XRP-USD", 1.5, 4, 60_000_000.0, 6, trades=300_000, volatility=0.04),
        ListedProduct("DOGE-USD", 0.15, 5, 250_000_000.0, 4, trades=200_000, volatility=0.045),
        ListedProduct("ADA-USD", 0.6, 4, 40_000_000.0, 6, trades=200_000, volatility=0.04),
        ListedProduct("LINK-USD", 15.0, 3, 900_000.0, trades=150_000, volatility=0.04),
        ListedProduct("LTC-USD", 80.0, 2, 120_000.0, trades=150_000),
        ListedProduct("AVAX-USD", 30.0, 2, 400_000.0, trades=150_000, volatility=0.045),
        ListedProduct("DOT-USD", 5.0, 3, 900_000.0, trades=150_000, volatility=0.04),
    )
    thin = (
        ListedProduct("UNI-USD", 9.0, 3, 200_000.0, 6, 9_000, dense=False, volatility=0.045),
        ListedProduct("AERO-USD", 1.1, 5, 900_000.0, 4, 3_000, dense=False, volatility=0.06),
        ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False),
        ListedProduct("ZEC-USD", 40.0, 2, 4_000.0, 6, 700, dense=False, volatility=0.05),
    )
    special = (
        ListedProduct(
            "JUP-USD",
            0.8,
            4,
            500_000.0,
            4,
            20_000,
            dense=False,
            volatility=0.09,
            listed=midnight - _NEW_FOR_DAYS * _DAY_MS,
        ),
        ListedProduct(
            "OMG-USD", 0.6, 4, 90_000.0, 4, 1_500, dense=False, delisted=midnight - _DELISTED_SINCE_DAYS * _DAY_MS
        ),
        ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"),
    )
    futures = (
        ListedProduct("BTC-PERP-INTX", 65_000.0, 1, 9_000.0, trades=500_000, volatility=0.025, product_type="FUTURE"),
        ListedProduct(
            "BIT-31DEC27-CDE",
            65_000.0,
            0,
            400.0,
            trades=5_000,
            dense=False,
            product_type="FUTURE",
            expires=1_830_268_800_000,
        ),
    )
    return dense + thin + special + futures


def write_product(product: ListedProduct, aliases: tuple[str, ...], price: str, volume: str, now: int) -> str:
    """Return the JSON object of a product (coinbase-api.md section 5): numbers as strings, empty where unknown.

    Args:
        product: The product.
        aliases: Symbols of its aliases.
        price: Its last price, empty if it has none.
        volume: Base units traded in the last 24 hours, empty if unknown.
        now: Time of the answer (ms UTC).
    """
    is_future = product.product_type == "FUTURE"
    base, _, quote = product.symbol.rpartition("-")
    if is_future:
        base, quote = "", "USD" if product.expires else "USDC"
    venue = product.symbol.rpartition("-")[2] if is_future else "CBE"
    gone = product.delisted is not None and now >= product.delisted
    fresh = product.listed is not None and now >= product.listed
    turnover = f"{float(price) * float(volume):.2f}" if price and volume else ""
    return json.dumps(
        {
            "product_id": product.symbol,
            "price": price,
            "volume_24h": volume,
            **dict.fromkeys(("price_percentage_change_24h", "volume_percentage_change_24h", "mid_market_price"), ""),
            "base_increment": _increment(product.volume_decimals),
            **dict.fromkeys(("quote_increment", "price_increment"), _increment(product.price_decimals)),
            "quote_min_size": "1",
            "quote_max_size": "150000000",
            "base_min_size": "0.0001",
            "base_max_size": "100000000",
            **dict.fromkeys(("base_name", "base_currency_id", "base_display_symbol"), base),
            **dict.fromkeys(("quote_name", "quote_currency_id", "quote_display_symbol"), quote),
            "display_name": product.symbol,
            "status": "delisted" if gone else "" if is_future else "online",
            "trading_disabled": gone,
            **dict.fromkeys(_NEVER, False),
            "new": fresh,
            "new_at": write_time(product.listed) if fresh and product.listed is not None else None,
            "product_type": product.product_type,
            "alias": product.alias_of or "",
            "alias_to": list(aliases),
            "product_venue": venue if product.expires is None else "FCM",
            "fcm_trading_session_details": _ALWAYS_OPEN if product.expires else None,
            "future_product_details": _write_future(product, venue) if is_future else None,
            "approximate_quote_24h_volume": turnover,
        },
        separators=(",", ":"),
    )


def _write_future(product: ListedProduct, venue: str) -> dict[str, object]:
    root = "BTC"
    is_perpetual = product.expires is None
    return {
        "venue": venue.lower(),
        "contract_code": product.symbol.partition("-")[0],
        "contract_expiry": "" if product.expires is None else write_time(product.expires),
        "contract_size": "1" if is_perpetual else "0.01",
        "contract_root_unit": root,
        "group_description": f"{root} futures",
        "contract_expiry_timezone": "" if is_perpetual else "Europe/London",
        "group_short_description": root,
        "risk_managed_by": "MANAGED_BY_VENUE" if is_perpetual else "MANAGED_BY_FCM",
        "contract_expiry_type": "PERPETUAL" if is_perpetual else "EXPIRING",
        "perpetual_details": {"open_interest": "", "funding_rate": "", "funding_time": None} if is_perpetual else None,
        "contract_display_name": product.symbol,
    }


def _increment(decimals: int) -> str:
    return f"{10.0**-decimals:.{decimals}f}"


def write_time(instant: int) -> str:
    """Return an instant (ms UTC) as RFC 3339 text, to the second."""
    return datetime.fromtimestamp(instant // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
