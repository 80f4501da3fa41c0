"""Candle files: those read, those refused, and the words for it."""

from __future__ import annotations

import gzip
from array import array
from pathlib import Path

import pytest

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.naming import Naming, parse_file_name
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

HEADER = "start_ms,open,high,low,close,volume\n"
SERIES = Series("BTC-USD", Timeframe.M1)
ROW = "60000,10.50,12,9,11,0.5\n"


def write(path: Path, text: str, *, packed: bool = True) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "BTC-USD_1m.csv.gz"


@pytest.mark.parametrize("packed", [True, False])
def test_rows_come_ascending_with_their_own_text(path: Path, packed: bool) -> None:
    file = read_candle_file(write(path, HEADER + "120000,1,1,1,1,0\n" + ROW, packed=packed))
    assert file.starts == array("q", [60_000, 120_000])
    assert file.texts == ["10.50,12,9,11,0.5", "1,1,1,1,0"]
    assert list(file.candles()) == [
        Candle(60_000, 10.5, 12.0, 9.0, 11.0, 0.5),
        Candle(120_000, 1.0, 1.0, 1.0, 1.0, 0.0),
    ]
    assert (file.rows, file.duplicates, file.skipped) == (2, 0, 0)


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_read(path: Path) -> None:
    text = "\ufeff" + (HEADER + ROW + "\n" + "120000,1,1,1,1,0").replace("\n", "\r\n")
    assert list(read_candle_file(write(path, text)).starts) == [60_000, 120_000]


def test_equal_rows_are_counted_and_kept_once(path: Path) -> None:
    file = read_candle_file(write(path, HEADER + ROW + ROW + "60000,10.5,12.0,9,11,0.50\n"))
    assert (len(file.starts), file.rows, file.duplicates) == (1, 3, 2)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("60000,1,1,1,1", "row '60000,1,1,1,1' has 5 columns; allowed: start_ms,open,high,low,close,volume"),
        ("60000,1,1,1,1,1,1", "row '60000,1,1,1,1,1,1' has 7 columns"),
        ("60000.5,1,1,1,1,1", "start_ms '60000.5' is not a whole number of milliseconds since 1970"),
        ("-60000,1,1,1,1,1", "start_ms '-60000' is not a whole number"),
        ("1234567890123456,1,1,1,1,1", "start_ms '1234567890123456' is not a whole number"),
        ("60000,one,1,1,1,1", "open 'one' is not a finite decimal number >= 0"),
        ("60000,1,nan,1,1,1", "high 'nan' is not a finite decimal number >= 0"),
        ("60000,1,1,-1,1,1", "low '-1' is not a finite decimal number >= 0"),
        ("60000,1,1,1,,1", "close '' is not a finite decimal number >= 0"),
        ("60000,1,1,1,1,1_0", "volume '1_0' is not a finite decimal number >= 0"),
        ("60000,1,1,1,1,٣", "volume"),
        ("60000,1,1,1,1,1e999", "volume '1e999' is not a finite number"),
        ("60000,1,1e999,1,1,1", "high '1e999' is not a finite number"),
        ("60000,1,1,0,1,1", "low '0' is not above 0"),
        ("60000,0.0,0,0,0,0", "open '0.0' is not above 0"),
        ("60000,5,4,3,3,1", "high '4' is below 5.0, the greatest of open, low and close"),
        ("60000,5,6,5.5,6,1", "low '5.5' is above 5.0, the least of open and close"),
        ("60000,5,6,4,7,1", "high '6' is below 7.0"),
        ("60000,5,6,4,3,1", "low '4' is above 3.0"),
        ("60000,5,6,7,5,1", "high '6' is below 7.0"),
        ("61000,1,1,1,1,1", "start_ms '61000' is not a multiple of the step 60000 ms"),
        ("60000,10.5,12,9,11,0.6", "start_ms '60000' repeats line 2 with other values"),
    ],
)
def test_bad_row_is_named_by_line_column_and_value(path: Path, row: str, fault: str) -> None:
    write(path, HEADER + ROW + row + "\n" + "120000,1,1,1,1,1\n")
    with pytest.raises(CandleFileError) as caught:
        read_candle_file(path, series=SERIES, on_grid=True)
    assert caught.value.faults[0].startswith(f"line 3: {fault}")
    assert caught.value.total == 1

    file = read_candle_file(path, series=SERIES, on_grid=True, skip_bad=True)
    assert list(file.starts) == [60_000, 120_000]
    assert file.texts[0] == "10.50,12,9,11,0.5"
    assert [row.line for row in file.bad] == [3]


def test_all_bad_rows_are_reported_at_once(path: Path) -> None:
    write(path, HEADER + "x,1,1,1,1,1\n" + ROW + "120000,1,1,1,1,y\n")
    with pytest.raises(CandleFileError, match=r"(?s)line 2: start_ms 'x'.*line 4: volume 'y'"):
        read_candle_file(path)


def test_report_is_bounded_and_says_how_many_more(path: Path) -> None:
    write(path, HEADER + "x,1,1,1,1,1\n" * 1_500)
    with pytest.raises(CandleFileError, match="and 500 more") as caught:
        read_candle_file(path)
    assert (len(caught.value.faults), caught.value.total) == (1_000, 1_500)
    skipped = read_candle_file(path, skip_bad=True)
    assert (len(skipped.bad), skipped.skipped, skipped.rows) == (1_000, 1_500, 0)


def test_off_grid_start_is_fine_unless_a_grid_is_given(path: Path) -> None:
    assert list(read_candle_file(write(path, HEADER + "61000,1,1,1,1,1\n")).starts) == [61_000]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "line 1: header '' is not 'start_ms,open"),
        (b"when,open,high,low,close,volume\n", "line 1: header 'when,open"),
        (gzip.compress((HEADER + ROW * 500).encode())[:40], "the gzip data is cut short or damaged"),
        (gzip.compress((HEADER + ROW * 500).encode())[:-8] + b"12345678", "cannot be read: CRC check failed"),
        (b"\x1f\x8bnothing", "damaged"),
        (HEADER.encode() + b"1" * 5_000, "is longer than 4096 bytes"),
    ],
    ids=["empty", "header", "truncated", "crc", "no gzip", "endless line"],
)
@pytest.mark.parametrize("skip_bad", [True, False])
def test_unreadable_file_is_refused_even_when_skipping(path: Path, content: bytes, fault: str, skip_bad: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(CandleFileError, match=fault.replace("(", r"\(")):
        read_candle_file(path, skip_bad=skip_bad)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="cannot be read: No such file"):
        read_candle_file(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("BTC-USD_5m_20250701-20251031.csv.gz", "BTC-USD:5m"),
        ("BTC-USD.SANDBOX_1m_x_y.csv", "BTC-USD.SANDBOX:1m"),
        ("BIP-20DEC30-CDE_1d.csv.gz", "BIP-20DEC30-CDE:1d"),
        ("BTCUSD_1h.parquet", "BTC-USD:1h"),
        ("Coinbase_ETHBTC_1d_2026.tsv.gz", "ETH-BTC:1d"),
        ("gdax_LTCUSDC_15m.feather", "LTC-USDC:15m"),
    ],
)
def test_name_says_the_series(name: str, series: str) -> None:
    assert str(parse_file_name(Path("folder") / name)) == series


def test_given_parts_replace_those_of_the_name() -> None:
    assert parse_file_name(Path("candles.csv"), "ETH-USD", Timeframe.H1) == Series("ETH-USD", Timeframe.H1)
    assert parse_file_name(Path("x_1m.csv"), symbol="ETH-USD") == Series("ETH-USD", Timeframe.M1)
    assert parse_file_name(Path("ETH-USD_3m.csv"), timeframe=Timeframe.M5) == Series("ETH-USD", Timeframe.M5)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("candles.csv", "does not say its series"),
        ("btc-usd_1m.csv", "symbol 'btc-usd' is not a product id"),
        ("BTC-USD_3m.csv", "timeframe '3m' is not supported"),
        ("coverage_BTC-USD_1m.csv", "symbol 'coverage' is not a product id"),
        ("BTCUSDX_1m.csv", "symbol 'BTCUSDX' is not a product id"),
    ],
)
def test_name_without_a_series_is_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_file_name(Path(name))


@pytest.mark.parametrize(
    ("path", "said", "series"),
    [
        ("lake/symbol=BTC-USD/timeframe=1m/part-0.parquet", {}, "BTC-USD:1m"),
        ("Market=ETH%2FUSD/year=2026/granularity=ONE_HOUR/x.csv", {}, "ETH-USD:1h"),
        ("symbol=BTC-USD/ETH-USD_5m.csv", {}, "BTC-USD:5m"),
        ("symbol=BTC-USD/ETH-USD_5m.csv", {"symbol": "SOL-USD"}, "SOL-USD:5m"),
    ],
)
def test_folders_and_flags_say_the_series_before_the_name(path, said, series):
    assert str(Naming.of(Path(path), Hints(**said)).series()) == series


def test_a_folder_that_says_no_series_is_named():
    naming = Naming.of(Path("symbol=bitcoin/BTC-USD_1m.csv"), Hints())
    assert naming.fault.startswith("folder 'symbol=bitcoin': symbol 'bitcoin' is not a product id; allowed: ")
    assert naming.lacks(())
