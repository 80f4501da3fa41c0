"""The names of keys and channels: the feeder's three layouts, and what engines of one key and of one address share."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from redis.crc import key_slot

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import scope_of
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.scope import Layout, Scope

BTC = Series("BTC-USD", Timeframe.M5)
NAMES = {
    Layout.USER: (
        "candles:7:2:BTC-USD:5m",
        "channel:candle:close:7:2:BTC-USD:5m",
        "channel:candle:repaired:7:2:BTC-USD:5m",
    ),
    Layout.EXCHANGE: (
        "candles:2:BTC-USD:5m",
        "channel:exchange:2:candle:close:BTC-USD:5m",
        "channel:exchange:2:candle:repaired:BTC-USD:5m",
    ),
    Layout.OVERFLOW: (
        "usercandles:7:2:BTC-USD:5m",
        "channel:candle:close:7:2:BTC-USD:5m",
        "channel:candle:repaired:7:2:BTC-USD:5m",
    ),
}


def scope(layout: Layout, user_id: int = 7) -> Scope:
    return Scope(user_id, 2, "host:443", layout)


@pytest.mark.parametrize("layout", Layout)
def test_keys_and_channels_are_the_feeders(layout):
    one = scope(layout)
    assert (one.candle_key(BTC), one.close_channel(BTC), one.repaired_channel(BTC)) == NAMES[layout]
    assert [scope(Layout.USER).candle_key(BTC, other) for other in Layout] == [names[0] for names in NAMES.values()]


@pytest.mark.parametrize("layout", Layout)
def test_companions_share_the_candles_slot_and_no_pattern_of_candle_keys(layout):
    one = scope(layout)
    companions = [one.evidence_key(BTC), one.journal_key(BTC), one.companion_key(BTC, "claims")]
    assert {key_slot(key.encode()) for key in companions} == {key_slot(one.candle_key(BTC).encode())}
    patterns = ("candles:2:*", "candles:7:2:*", "usercandles:7:2:*")
    assert [
        key for key in [*companions, one.key("x"), one.shared_key("x")] for p in patterns if fnmatchcase(key, p)
    ] == []


def test_engines_of_one_candle_key_share_their_keys_and_no_others_do():
    assert scope(Layout.EXCHANGE, 1).key("fence") == scope(Layout.EXCHANGE, 2).key("fence")
    assert len({scope(layout, user).key("fence") for layout in Layout for user in (1, 2)}) == 5
    # as engines of earlier versions named it
    assert scope(Layout.USER).key("fence") == "recon:{7:2:host:443}:fence"


def test_the_settings_name_the_layout_and_only_its_users_keys_have_a_life():
    config = ReconciliationConfig(layout="exchange", user_id=7, exchange_id=2, base_url="https://host:8443")
    assert scope_of(config) == Scope(7, 2, "host:8443", Layout.EXCHANGE)
    assert [ReconciliationConfig(layout=layout.value).life_s for layout in Layout] == [86_400, 0, 86_400]
