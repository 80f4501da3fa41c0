"""Real client libraries: two of the exchange against the simulator, two of Redis against the cache. Loopback only."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.integration.conftest import find_node
from tests.integration.engines import DENSE, MINUTE, engine, span, truth

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.scope import Layout

pytestmark = pytest.mark.clients
GRANULARITIES = {
    "ONE_MINUTE": 60,
    "FIVE_MINUTE": 300,
    "FIFTEEN_MINUTE": 900,
    "THIRTY_MINUTE": 1_800,
    "ONE_HOUR": 3_600,
    "TWO_HOUR": 7_200,
    "FOUR_HOUR": 14_400,
    "SIX_HOUR": 21_600,
    "ONE_DAY": 86_400,
}
READER = Path(__file__).parent / "children" / "reader.js"
FIELDS = ("display_name", "volume_percentage_change_24h", "watched", "future_product_details")


@pytest.fixture
def general(start_exchange):
    """The general library, which asks the simulator."""
    import ccxt  # noqa: PLC0415 - an extra of its own brings it

    return ccxt.coinbase({"urls": {"api": {"rest": start_exchange(public_rate=0).url}}, "enableRateLimit": False})


@pytest.fixture(params=["EC", "Ed25519"])
def sdk(request, start_exchange, tmp_path, monkeypatch):
    """The exchange's own SDK with a key of each kind, over plain HTTP."""
    from coinbase.rest import RESTClient  # noqa: PLC0415 - an extra of its own brings it
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - as above

    adapter = HTTPAdapter()
    send = adapter.send

    def send_plain(request, **settings):
        request.url = request.url.replace("https://", "http://")
        return send(request, **settings)

    monkeypatch.setattr(adapter, "send", send_plain)
    name, secret = "organizations/o/apiKeys/k", _make_secret(request.param)
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"name": name, "privateKey": secret}))
    client = RESTClient(
        api_key=name,
        api_secret=secret,
        base_url=start_exchange(public_rate=0, key_files=(file,)).url.removeprefix("http://"),
    )
    client.session.mount("https://", adapter)
    yield client
    client.session.close()


def _make_secret(kind):
    if kind == "EC":
        key = generate_private_key(SECP256R1())
        return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    ed = Ed25519PrivateKey.generate()
    return base64.b64encode(ed.private_bytes_raw() + ed.public_key().public_bytes_raw()).decode()


def test_the_sdk_reads_candles_of_all_granularities(sdk):
    end = int(time.time()) // 86_400 * 86_400
    for granularity, step in GRANULARITIES.items():
        span = {"start": str(end - 10 * step), "end": str(end - step), "granularity": granularity}
        signed = sdk.get_candles("BTC-USD", **span).candles
        public = sdk.get_public_candles("BTC-USD", **span).candles
        assert [int(one.start) for one in signed] == list(range(end - step, end - 11 * step, -step)), granularity
        assert [one.to_dict() for one in signed] == [one.to_dict() for one in public]


def test_the_sdk_knows_every_field_of_each_kind_of_product(sdk):
    for kind, names in (("SPOT", {"BTC-USD", "BTC-USDC"}), ("FUTURE", {"BTC-PERP-INTX", "BIT-31DEC27-CDE"})):
        products = {one.product_id: one for one in sdk.get_products(product_type=kind).products}
        assert names <= products.keys()
        assert {one.product_type for one in products.values()} == {kind}
        for field in FIELDS:
            assert all(field in one.to_dict() for one in products.values())
    perpetual = sdk.get_product("BTC-PERP-INTX")
    assert perpetual.future_product_details["contract_expiry_type"] == "PERPETUAL"
    assert sdk.get_product("BIT-31DEC27-CDE").fcm_trading_session_details["is_session_open"] is True


def test_the_sdk_reads_time_and_trades(sdk):
    assert abs(int(sdk.get_unix_time().epoch_seconds) - time.time()) < 60
    assert float(sdk.get_public_market_trades("BTC-USD", limit=1).trades[0].price) > 0


def test_the_general_library_loads_markets_of_each_kind(general):
    markets = general.load_markets()
    kinds = {one["id"]: (one["type"], one["active"]) for one in markets.values()}
    assert kinds["BTC-USD"] == ("spot", True)
    assert kinds["OMG-USD"] == ("spot", False)
    assert kinds["BTC-PERP-INTX"] == ("swap", True)
    assert kinds["BIT-31DEC27-CDE"] == ("future", True)
    assert len(kinds) == 19


def test_the_general_library_reads_time_ticker_and_candles(general):
    assert abs(general.fetch_time() - time.time() * 1_000) < 60_000
    since = int(time.time()) // 3_600 * 3_600_000 - 7_200_000
    for symbol in ("BTC/USD", "BTC/USDC:USDC"):
        candles = general.fetch_ohlcv(symbol, "5m", since, 12)
        assert [one[0] for one in candles] == list(range(since, since + 3_600_000, 300_000))
        assert general.fetch_ticker(symbol)["last"] > 0


@pytest.mark.contract
@pytest.mark.parametrize("layout", [Layout.USER, Layout.EXCHANGE])
@pytest.mark.parametrize("library", ["ioredis", "redis"])
async def test_a_reader_in_javascript_reads_the_candles_and_asks_the_gate(redis_url, tmp_path, library, layout):
    node, within = find_node(library), span(90)
    script = tmp_path / "ready.lua"
    script.write_text(READY_TEXT)
    async with engine(redis_url, layout=layout.value) as run:

        async def read():
            grace = await run.parts.clock.redis_now() - within.stop - MINUTE // 2
            words = (redis_url, script, run.key(DENSE), "90", str(grace))
            done = await trio.run_process([node, READER, library, *words], capture_stdout=True)
            told = json.loads(done.stdout)
            names = ("open", "high", "low", "close", "volume")
            held = {one["timestamp"]: tuple(float(one[name]) for name in names) for one in told["candles"]}
            yes, first, _, _, why, *_ = told["detail"]
            # With its one key, read-only, and with the evidence's declared, too, for servers that insist on it.
            assert told["ready"] == told["readyReadOnly"] == told["readyDeclared"]
            return held, told["ready"], (yes, first, why)

        request = PassRequest("test", [DENSE], within)
        await run.parts.reconciler.run_pass(request)
        there = truth(DENSE, within)
        full = there, 1, (1, within.start, "")
        assert await read() == full
        lost = within.start + 40 * MINUTE
        await run.parts.client.zremrangebyscore(run.key(DENSE), lost, lost)
        left = {at: bar for at, bar in there.items() if at != lost}
        assert await read() == (left, 0, (0, within.start, "fewer members"))
        await run.parts.reconciler.run_pass(request)
        assert await read() == full
