"""Private paths over real sockets: tokens are checked for real."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.integration.plain_http import open_http

from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.rules.tokens import TokenVerifier, TrustedKey, read_trusted_key
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange

NOW_S = 1_795_435_350
MARKET = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0)])
NAME = "organizations/o/apiKeys/k"
PATH = "/api/v3/brokerage/products/BTC-USD/candles"
QUERY = f"?start={NOW_S - 600}&end={NOW_S}&granularity=ONE_MINUTE"

EC_KEY = generate_private_key(SECP256R1())
EC_PEM = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
ED_KEY = Ed25519PrivateKey.generate()
ED_SEED = ED_KEY.private_bytes_raw()
ED_TEXT = base64.b64encode(ED_SEED + ED_KEY.public_key().public_bytes_raw()).decode()


def make_token(
    key: Any = EC_KEY, algorithm: str = "ES256", header: dict[str, Any] | None = None, **changes: Any
) -> str:
    claims = {
        "sub": NAME,
        "iss": "cdp",
        "nbf": NOW_S,
        "exp": NOW_S + 120,
        "uri": f"GET api.coinbase.com{PATH}",
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(claims, key, algorithm, {"kid": NAME, "nonce": "ab12", **(header or {})})


@asynccontextmanager
async def open_client(verifier: TokenVerifier, private_rate: float = 0) -> AsyncIterator[httpx.AsyncClient]:
    rules = ExchangeRules(public_rate=0, private_rate=private_rate, private_burst=2)
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), rules, verifier=verifier, read_s=lambda: 0.0)
    with trio.fail_after(20):
        async with open_exchange(exchange) as url, open_http(url) as client:
            yield client


async def ask(client: httpx.AsyncClient, token: str, path: str = PATH + QUERY) -> httpx.Response:
    return await client.get(path, headers={"authorization": f"Bearer {token}"})


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier([TrustedKey.of_private(NAME, EC_PEM)])


async def test_signed_request_is_answered_like_a_public_one(verifier: TokenVerifier) -> None:
    async with open_client(verifier) as client:
        private = await ask(client, make_token())
        public = await client.get(PATH.replace("/products", "/market/products") + QUERY)
    assert private.status_code == 200
    assert private.json() == public.json()
    # No cache stands before the private paths.
    assert "cf-cache-status" not in private.headers


@pytest.mark.parametrize(
    "token",
    [
        make_token(iss="coinbase-cloud"),
        make_token(uri=..., uris=[f"GET api.coinbase.com{PATH}"], aud=None),
        make_token(aud=["retail_rest_api_proxy"], iat=NOW_S),
        make_token(exp=NOW_S + 1),
        make_token(header={"nonce": None}),
    ],
    ids=["old issuer", "uris", "aud and iat", "last second", "no nonce"],
)
async def test_accepted_variants_pass(verifier: TokenVerifier, token: str) -> None:
    async with open_client(verifier) as client:
        assert (await ask(client, token)).status_code == 200


async def test_own_host_in_the_claim_passes(verifier: TokenVerifier) -> None:
    async with open_client(verifier) as client:
        own = f"GET {client.base_url.host}:{client.base_url.port}{PATH}"
        assert (await ask(client, make_token(uri=own))).status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "a.b.c",
        make_token(sub="someone"),
        make_token(iss=NAME),
        make_token(nbf=NOW_S + 1),
        make_token(exp=NOW_S),
        make_token(exp=...),
        make_token(nbf=...),
        make_token(exp="soon"),
        make_token(uri=...),
        make_token(uri=f"GET https://api.coinbase.com{PATH}"),
        make_token(uri=f"GET api.coinbase.com{PATH}{QUERY}"),
        make_token(uri=f"POST api.coinbase.com{PATH}"),
        make_token(uri="GET api.coinbase.com/api/v3/brokerage/products/ETH-USD/candles"),
        make_token(header={"kid": "other"}),
        make_token(generate_private_key(SECP256R1())),
        make_token(ED_KEY, "EdDSA"),
        make_token("s" * 64, "HS256"),
        make_token(None, "none"),
    ],
    ids=[
        "nonsense", "three parts", "sub", "iss", "too early", "expired", "no exp", "no nbf", "text exp", "no uri",
        "scheme", "query", "method", "path", "unknown key", "foreign key", "other algorithm", "hmac", "unsigned",
    ],
)  # fmt: skip
async def test_every_other_token_is_a_bare_401(verifier: TokenVerifier, token: str) -> None:
    async with open_client(verifier) as client:
        answer = await ask(client, token)
    assert (answer.status_code, answer.content) == (401, b"Unauthorized")


async def test_absent_and_foreign_authorization_are_401(verifier: TokenVerifier) -> None:
    async with open_client(verifier) as client:
        assert (await client.get(PATH + QUERY)).status_code == 401
        answer = await client.get(PATH + QUERY, headers={"authorization": f"Basic {make_token()}"})
        assert answer.status_code == 401


async def test_ed25519_key_signs_too() -> None:
    verifier = TokenVerifier([TrustedKey.of_private(NAME, ED_TEXT)])
    async with open_client(verifier) as client:
        assert (await ask(client, make_token(ED_KEY, "EdDSA"))).status_code == 200
        assert (await ask(client, make_token())).status_code == 401


async def test_key_without_the_scope_is_403() -> None:
    verifier = TokenVerifier([TrustedKey.of_private(NAME, EC_PEM, scopes=["trade"])])
    async with open_client(verifier) as client:
        answer = await ask(client, make_token())
    details = "Missing required scopes"
    assert answer.status_code == 403
    assert answer.json() == {"error": "PERMISSION_DENIED", "error_details": details, "message": details}


async def test_leeway_is_a_rule() -> None:
    key = TrustedKey.of_private(NAME, EC_PEM)
    async with open_client(TokenVerifier([key], leeway_s=30)) as client:
        assert (await ask(client, make_token(nbf=NOW_S + 30))).status_code == 200
        assert (await ask(client, make_token(exp=NOW_S - 29))).status_code == 200
        assert (await ask(client, make_token(exp=NOW_S - 30))).status_code == 401


async def test_rate_is_counted_by_key() -> None:
    keys = [TrustedKey.of_private(name, EC_PEM) for name in (NAME, "second")]
    async with open_client(TokenVerifier(keys), private_rate=30) as client:
        statuses = [(await ask(client, make_token())).status_code for _ in range(3)]
        other = await ask(client, make_token(header={"kid": "second"}, sub="second"))
    assert statuses == [200, 200, 429]
    assert other.status_code == 200


def pkcs8(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (EC_PEM, "ES256"),
        (EC_PEM.replace("\n", "\\n"), "ES256"),
        (pkcs8(EC_KEY), "ES256"),
        (pkcs8(ED_KEY), "EdDSA"),
        (ED_TEXT, "EdDSA"),
        (base64.b64encode(ED_SEED).decode(), "EdDSA"),
    ],
    ids=["SEC1", "escaped", "PKCS8 EC", "PKCS8 Ed25519", "64 bytes", "32 bytes"],
)
@pytest.mark.parametrize("field", ["name", "id"])
def test_key_files_of_every_form_are_read(tmp_path: Path, text: str, algorithm: str, field: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps({field: NAME, "privateKey": text}))
    key = read_trusted_key(path)
    assert (key.name, key.algorithm) == (NAME, algorithm)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.mkdir(),
        lambda path: path.write_text("no json"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps({"name": NAME})),
        lambda path: path.write_text(json.dumps({"name": NAME, "privateKey": "c2VjcmV0"})),
        lambda path: path.write_text(
            json.dumps({"name": NAME, "privateKey": pkcs8(generate_private_key(SECP384R1()))})
        ),
    ],
    ids=["folder", "no json", "list", "no key", "short", "other curve"],
)
def test_unusable_key_file_is_named_without_its_content(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "key.json"
    write(path)
    with pytest.raises(ConfigError, match=r"key file '.*key\.json'") as caught:
        read_trusted_key(path)
    assert "c2VjcmV0" not in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_simulator_trusts_the_key_files_of_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"name": NAME, "privateKey": EC_PEM}))
    assert build_exchange(SimulatorSettings(key_files=(path,)))
    with pytest.raises(ConfigError):
        build_exchange(SimulatorSettings(key_files=(tmp_path / "none",)))
