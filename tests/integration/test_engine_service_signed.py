"""The service with an API key, against an exchange that checks tokens."""

from __future__ import annotations

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reconciler_engine import ReconciliationConfig, ReconciliationService
from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.tokens import TokenVerifier, TrustedKey
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock

NAME = "organizations/o/apiKeys/k"


def new_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


PEM = new_key()


@pytest.mark.usefixtures("short_retries")
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_pages_are_asked_for_under_the_key_it_was_given(redis, is_trusted):
    verifier = TokenVerifier([TrustedKey.of_private(NAME, PEM if is_trusted else new_key())], leeway_s=60)
    market = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0)])
    # the public path refuses everybody after the first request
    rules = ExchangeRules(public_rate=0.001, private_rate=0)
    with trio.fail_after(30):
        async with open_exchange(Exchange(market, SimulatedClock(), rules, verifier=verifier)) as url:
            config = ReconciliationConfig(
                base_url=url, symbols=("BTC-USD",), timeframes=("5m",), batch_size=100, window_bars=3
            )
            async with ReconciliationService(NAME, PEM, redis, config) as service:
                result = await service.perform_full_reconciliation()
    assert result.missing == 72
    assert result.filled == (72 if is_trusted else 0)
    assert bool(result.errors) != is_trusted
    assert PEM.splitlines()[1] not in repr(service) + str(result.errors)


def test_a_key_travels_over_no_plain_http_to_another_machine():
    with pytest.raises(ConfigError, match="credentials need https"):
        ReconciliationService(NAME, PEM, "redis://localhost", ReconciliationConfig(base_url="http://example.com"))
