"""Candle files as the exchange's truth."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reconciler_engine.errors import CandleFileError, ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.market import Bar
from reconciler_engine.simulator.prices.replay import ReplayMarket
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange

MINUTE = 60_000
ALL = Interval(0, 1 << 60)
LATE = 1 << 60


def write(folder: Path, name: str, *rows: str) -> None:
    text = "start_ms,open,high,low,close,volume\n" + "".join(f"{row}\n" for row in rows)
    (folder / name).write_bytes(gzip.compress(text.encode()))


def test_bars_keep_the_text_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m_a.csv.gz", "60000,10.50,12,9.0,11,0.500", "180000,1,1,1,1,2")
    market = ReplayMarket.read(tmp_path)
    assert market.bars("BTC-USD", Timeframe.M1, ALL, LATE) == [
        Bar(60_000, "10.50", "12", "9.0", "11", "0.500"),
        Bar(180_000, "1", "1", "1", "1", "2"),
    ]
    assert market.bars("BTC-USD", Timeframe.M1, Interval(60_001, 180_000), LATE) == []
    assert market.rows("BTC-USD", Timeframe.M1, Interval(180_000, 180_001), LATE) == [
        '{"start":"180","low":"1","high":"1","open":"1","close":"1","volume":"2"}'
    ]
    assert market.end == 240_000


def test_overlapping_files_are_merged_and_the_first_by_its_name_is_believed(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m_b.csv.gz", "120000,5,5,5,5,5.0", "180000,7,7,7,7,7", "0,1,1,1,1,1")
    write(tmp_path, "BTC-USD_1m_a.csv.gz", "60000,4,4,4,4,4", "120000,5,5,5,5,5", "180000,6,6,6,6,6")
    market = ReplayMarket.read(tmp_path)
    bars = market.bars("BTC-USD", Timeframe.M1, ALL, LATE)
    assert [(bar.start, bar.open) for bar in bars] == [(0, "1"), (60_000, "4"), (120_000, "5"), (180_000, "6")]


def test_timeframe_without_file_is_folded_from_the_longest_that_divides_it(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m.csv.gz", *(f"{start},9,9,9,9,9" for start in range(0, 3_600_000, MINUTE)))
    write(tmp_path, "BTC-USD_30m.csv.gz", "0,2,8,2,3,0.10", "1800000,3,4,1,2.5,0.2", "3600000,1,1,1,1,1")
    market = ReplayMarket.read(tmp_path)
    # From 30m, whose bars differ from those of 1m on purpose.
    assert market.bars("BTC-USD", Timeframe.H1, ALL, LATE) == [
        Bar(0, "2", "8", "1", "2.5", "0.30"),
        Bar(3_600_000, "1", "1", "1", "1", "1"),
    ]
    assert len(market.bars("BTC-USD", Timeframe.M5, ALL, LATE)) == 12
    assert market.bars("BTC-USD", Timeframe.M5, Interval(0, 1), LATE) == [Bar(0, "9", "9", "9", "9", "45")]


def test_timeframe_without_a_shorter_file_is_empty(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_4h.csv.gz", "0,1,1,1,1,1")
    market = ReplayMarket.read(tmp_path)
    assert market.bars("BTC-USD", Timeframe.M1, ALL, LATE) == []
    # Six hours are not a multiple of four.
    assert market.bars("BTC-USD", Timeframe.H6, ALL, LATE) == []
    assert len(market.bars("BTC-USD", Timeframe.D1, ALL, LATE)) == 1


def test_bar_is_told_when_its_time_is_over(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m.csv.gz", "60000,1,1,1,1,1", "120000,1,1,1,1,1")
    market = ReplayMarket.read(tmp_path)
    assert [bar.start for bar in market.bars("BTC-USD", Timeframe.M1, ALL, 179_999)] == [60_000]
    assert [bar.start for bar in market.bars("BTC-USD", Timeframe.M1, ALL, 180_000)] == [60_000, 120_000]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m.csv.gz", "60000,1,1,1,1,1")
    write(tmp_path, "coverage_BTC-USD_1m.csv.gz", "not,a,candle")
    (tmp_path / "README.md").write_text("x")
    market = ReplayMarket.read(tmp_path)
    assert list(market.products) == ["BTC-USD"]
    assert [bar.start for bar in market.bars("BTC-USD", Timeframe.M1, ALL, LATE)] == [60_000]


def test_folder_without_candles_and_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no candle file"):
        ReplayMarket.read(tmp_path)
    with pytest.raises(ConfigError, match="cannot be listed"):
        ReplayMarket.read(tmp_path / "none")
    write(tmp_path, "BTC-USD_5m.csv.gz", "60000,1,1,1,1,1")
    with pytest.raises(CandleFileError, match="line 2: start_ms '60000' is not a multiple of the step 300000 ms"):
        ReplayMarket.read(tmp_path)


def test_plain_files_are_replayed_beside_packed_ones(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m.csv.gz", "60000,1,1,1,1,1")
    (tmp_path / "BTC-USD_1m_more.csv").write_text("start_ms,open,high,low,close,volume\n120000,2,2,2,2,2\n")
    market = ReplayMarket.read(tmp_path)
    assert [bar.start for bar in market.bars("BTC-USD", Timeframe.M1, ALL, LATE)] == [60_000, 120_000]


def test_a_last_price_beyond_all_prices_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m.csv.gz", "60000,1,1e12,1,1e12,1")
    with pytest.raises(ConfigError, match=r"product BTC-USD: price.*; allowed: a last close above 0 and below 1e12"):
        ReplayMarket.read(tmp_path)


def test_clock_stands_after_the_last_bar_unless_set(tmp_path: Path) -> None:
    write(tmp_path, "BTC-USD_1m.csv.gz", "60000,1,1,1,1,1")
    write(tmp_path, "ETH-USD_5m.csv.gz", "300000,1,1,1,1,1")
    assert build_exchange(SimulatorSettings(replay=tmp_path)).clock.now() == 600_000
    set_clock = build_exchange(SimulatorSettings(replay=tmp_path, start=90_000, rate=0)).clock
    assert set_clock.now() == 90_000
    running = build_exchange(SimulatorSettings(replay=tmp_path, start=90_000)).clock
    assert running.now() >= 90_000
