"""Symbols against the exchange's list: typing errors, choices, and an exchange that does not answer."""

from __future__ import annotations

import json

import pytest
import redis as redis_py
from tests.integration.conftest import wait_until
from tests.integration.test_task_rules import enter_engine, status_of

NOWHERE = "http://127.0.0.1:9"
PRODUCTS = "/api/v3/brokerage/market/products"
# Turnover changes from hour to hour: an instant at which it is this.
NOON = 1_780_488_000_000  # 2026-06-03T12:00Z
BUSIEST = ["BTC-USD", "ETH-USD"]


@pytest.fixture
def run_pass(run_inside, redis_url):
    """One pass over the newest daily bars."""

    def run(command, symbols, url, *arguments, **settings):
        return run_inside(
            command, "--symbols", symbols, "--timeframes", "1d", "--redis-url", redis_url, "--base-url", url, "--json",
            *arguments, **settings,
        )  # fmt: skip

    return run


def asked_for_products(exchange) -> int:
    lines = [json.loads(line) for line in exchange.log.read_text().splitlines()]
    return sum(line["path"] == PRODUCTS for line in lines)


def symbols_of(outcome) -> list[str]:
    assert outcome.code in (0, 3), outcome.err
    return [row["symbol"] for row in outcome.json["series"]]


def test_an_unknown_symbol_is_refused_with_what_may_have_been_meant(run_pass, start_exchange):
    exchange = start_exchange(start=NOON)
    done = run_pass("reconcile", "BTC-UDS,ETH-USD,QQQQQQ-XXX", exchange.url)
    assert done.code == 78
    assert "symbol BTC-UDS is not a product of the exchange; near: BTC-USD" in done.err
    assert "symbol QQQQQQ-XXX is not a product of the exchange" in done.err
    assert "ETH-USD is not a product" not in done.err
    assert exchange.requests() == []


def test_start_refuses_an_unknown_symbol_and_leaves_nothing_behind(run_inside, start_exchange, tmp_path):
    exchange = start_exchange(start=NOON)
    where = ("--data-dir", tmp_path / "data")
    done = run_inside("start", "--symbols", "DOGE-UDS", "--base-url", exchange.url, *where)
    assert done.code == 78
    assert "symbol DOGE-UDS is not a product of the exchange; near: DOGE-USD" in done.err
    # the data directory is free again
    assert run_inside("scan", "--symbols", "DOGE-USD", "--timeframes", "1d", *where).code == 3


def test_a_choice_means_what_is_traded_most_and_is_known_to_later_scans(run_pass, start_exchange, redis_url):
    exchange = start_exchange(start=NOON)
    early = run_pass("scan", "top:2:USD", exchange.url)
    assert early.code == 78
    assert "symbols top:2:USD: no product list is kept in Redis yet; `reconcile` or `start` with them" in early.err
    assert symbols_of(run_pass("reconcile", "top:2:USD", exchange.url)) == BUSIEST
    assert asked_for_products(exchange) == 1
    # products that trade no more are in no choice; a plain symbol need not be in the list
    chosen = symbols_of(run_pass("scan", "NEW-USD,top:1:USD,all:USDC,BTC-USD", exchange.url))
    assert chosen == ["NEW-USD", "BTC-USD", "BTC-USDC"]
    everything = symbols_of(run_pass("scan", "all:USD", exchange.url))
    assert len(everything) == 15
    assert "OMG-USD" not in everything
    nothing = run_pass("scan", "all:EUR,top:3:GBP", exchange.url)
    assert nothing.code == 78
    assert "symbols: nothing tradable is quoted in EUR; quotes: USD, USDC" in nothing.err
    assert "nothing tradable is quoted in GBP" in nothing.err
    assert asked_for_products(exchange) == 1
    with redis_py.Redis.from_url(redis_url) as client:
        (key,) = client.keys("*:products")
        assert client.strlen(key) < 17 * 60
        assert 29 * 86_400 < client.ttl(key) <= 30 * 86_400
        client.set(key, "{}")
    assert run_pass("scan", "top:2:USD", exchange.url).code == 78


@pytest.mark.parametrize(
    "words",
    [
        ("scan", "--symbols", "BTC-UDS,BTC-USD", "--timeframes", "1d"),
        ("plan", "--symbols", "BTC-UDS", "--timeframes", "1d"),
        ("coverage", "--symbols", "BTC-UDS", "--timeframes", "1d"),
        ("inspect", "--symbols", "BTC-UDS", "--timeframes", "1d"),
        ("ready", "--all", "--symbols", "BTC-UDS", "--timeframes", "1d"),
        ("reconcile", "--symbols", "BTC-UDS", "--timeframes", "1d", "--dry-run"),
        ("backfill", "BTC-UDS", "1d", "--from", "-3d", "--dry-run"),
        ("verify", "BTC-UDS", "1d", "--from", "-3d", "--dry-run"),
        ("evidence", "BTC-UDS", "1d"),
        ("journal", "BTC-UDS", "1d"),
    ],
    ids=" ".join,
)
def test_without_requests_a_symbol_that_the_kept_list_lacks_is_warned_of(
    run_inside, run_pass, start_exchange, redis_url, words
):
    exchange = start_exchange(start=NOON)
    command = (*words, "--redis-url", redis_url, "--base-url", exchange.url, "--json")
    early = run_inside(*command)
    assert early.err == ""
    run_pass("reconcile", "BTC-USD", exchange.url)
    done = run_inside(*command)
    assert done.code == early.code
    warning = json.loads(done.err)
    assert warning["event"] == "symbol not in the kept product list, which may lack new products and futures"
    assert warning["fault"].startswith("symbol BTC-UDS is not a product of the exchange; near: BTC-USD")


def test_beside_an_engine_of_another_exchange_its_list_counts(run_inside, run_pass, start_exchange, redis_url):
    exchange = start_exchange(start=NOON)
    run_pass("reconcile", "BTC-USD", exchange.url)
    words = ("scan", "--symbols", "BTC-UDS,top:1:USD", "--timeframes", "1d", "--redis-url", redis_url, "--json")
    assert run_inside(*words).code == 78
    enter_engine(redis_url, status_of(exchange.url.removeprefix("http://")))
    done = run_inside(*words)
    assert json.loads(done.err)["fault"].startswith("symbol BTC-UDS is not a product of the exchange; near: BTC-USD")
    assert symbols_of(done) == ["BTC-UDS", "BTC-USD"]
    assert "BTC-UDS is not a product in" in run_inside("ready", "BTC-UDS", "1d", "--redis-url", redis_url).out


def test_choices_come_from_the_environment_and_the_file_as_well(run_inside, start_exchange, redis_url, tmp_path):
    exchange = start_exchange(start=NOON)
    file = tmp_path / "reconciler.toml"
    file.write_text(f'symbols = ["top:1:USD", "SOL-USD"]\ntimeframes = ["1d"]\nbase_url = "{exchange.url}"\n')
    common = ("reconcile", "--config", file, "--redis-url", redis_url, "--json")
    assert symbols_of(run_inside(*common)) == ["BTC-USD", "SOL-USD"]
    assert symbols_of(run_inside(*common, RECONCILER_SYMBOLS="top:2:USD")) == BUSIEST


def test_a_choice_of_another_form_is_refused_before_anybody_is_asked(run_pass):
    done = run_pass("reconcile", "top:0:USD,some:USD,all:usd", NOWHERE)
    assert done.code == 78
    for text in ("top:0:USD", "some:USD", "all:usd"):
        assert f"symbols {text!r} is not a choice of products" in done.err


def test_without_an_answer_choices_do_not_go_on(run_pass):
    choice = run_pass("reconcile", "BTC-USD,top:2:USD", NOWHERE)
    assert choice.code == 69
    assert choice.out == ""
    assert "no product list to choose symbols top:2:USD from: exchange unavailable" in choice.err


def test_without_a_list_plain_symbols_go_on(run_pass, start_exchange, tmp_path):
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "status"\nstatus = 503\npath = "*/market/products"\n')
    exchange = start_exchange(start=NOON, faults=faults)
    plain = run_pass("reconcile", "BTC-USD", exchange.url)
    assert symbols_of(plain) == ["BTC-USD"]
    assert "symbols are not checked, no product list came" in plain.err
    assert (asked_for_products(exchange), len(exchange.requests())) == (3, 1)


def test_a_server_in_trouble_is_asked_again(run_pass, start_exchange, tmp_path):
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "status"\nstatus = 503\npath = "*/market/products"\ncount = 2\n')
    exchange = start_exchange(start=NOON, faults=faults)
    assert symbols_of(run_pass("reconcile", "top:2:USD", exchange.url)) == BUSIEST
    assert asked_for_products(exchange) == 3


def test_start_works_on_what_was_chosen_and_goes_on_without_an_unknown_symbol(
    start_process, start_exchange, redis_url, run_inside, tmp_path
):
    exchange = start_exchange(start=NOON)
    engine = start_process(
        "start", "--json", "--symbols", "top:2:USD,BTC-UDS,BTC-PERP-INTX", "--timeframes", "1d",
        "--base-url", exchange.url, "--redis-url", redis_url, "--workers", "1", "--listen", "off",
        "--data-dir", tmp_path / "data",
    )  # fmt: skip
    assert engine.wait_event("symbols")["first"] == "BTC-USD, ETH-USD, BTC-PERP-INTX"
    warned = engine.wait_event("unknown symbol, looked for again each hour")
    assert warned["fault"] == "symbol BTC-UDS is not a product of the exchange; near: BTC-USD, BTC-USDC, LTC-USD"
    done = engine.wait_event("pass done", job="full_reconcile")
    assert (done["scanned_symbols"], done["errors"]) == (3, [])
    assert {one["path"].split("/")[-2] for one in exchange.requests()} == {*BUSIEST, "BTC-PERP-INTX"}
    status = run_inside("status", "--redis-url", redis_url, "--json")
    assert status.json["unknown_symbols"] == ["BTC-UDS"]
    assert "unknown to the exchange: BTC-UDS" in run_inside("status", "--redis-url", redis_url).out


@pytest.mark.slow
def test_a_signal_ends_a_start_that_waits_for_the_list(start_process, start_exchange, redis_url, tmp_path):
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "silence"\npath = "*/market/products"\n')
    exchange = start_exchange(start=NOON, faults=faults)
    engine = start_process(
        "start", "--json", "--symbols", "top:2:USD", "--base-url", exchange.url, "--redis-url", redis_url
    )
    wait_until(lambda: asked_for_products(exchange) > 0)
    # Not 69, as where it goes on waiting until nothing came.
    assert engine.stop() == 0
