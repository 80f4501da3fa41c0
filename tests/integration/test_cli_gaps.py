"""`gaps` as a user runs it: the figures of real captures, and files that are none."""

from __future__ import annotations

import gzip
import json
import os
import subprocess

import pytest
from tests.integration.conftest import COMMAND

HEADER = "start_ms,open,high,low,close,volume\n"
FIELDS = [
    "file", "symbol", "timeframe", "rows", "first", "last", "missing", "gaps", "longest", "duplicates", "off_grid",
]  # fmt: skip
MINUTE = 60_000

REAL = {
    # rows, missing, gaps, longest gap (slots, its start), duplicate rows; from the README beside the files
    "BTC-USD_1m_20251123-20260131": (100_000, 2, 1, (2, 1_765_553_520_000), 0),
    "BTC-USD_5m_20250701-20251031": (35_354, 70, 2, (69, 1_761_405_300_000), 0),
    "BIP-20DEC30-CDE_1m_202602-202603": (19_095, 1_065, 702, (60, 1_771_624_800_000), 0),
    "SLP-20DEC30-CDE_1m_202602-202603": (14_521, 5_639, 2_798, (61, 1_772_229_540_000), 0),
    "ET-27MAR26-CDE_1m_202602-202603": (5_679, 8_017, 1_835, (294, 1_771_920_480_000), 0),
    "BTC-USD_5m_20250916-20251031_pageholes": (12_872, 113, 45, (69, 1_761_405_300_000), 0),
    "BTC-USD_1m_20161007-20161009": (4_216, 104, 94, (3, 1_475_998_380_000), 0),
    "LTC-USD_1m_20180404-20180406": (3_887, 433, 4, (429, 1_522_860_660_000), 0),
    "ETH-USD_1m_20170903-20170904": (2_880, 0, 0, None, 0),
    "BTC-USD_1d_20141201-20180813": (1_318, 34, 8, (20, 1_418_947_200_000), 0),
    "BTC-USD_4h_20160518-20251028": (20_695, 5, 3, (3, 1_533_873_600_000), 0),
    "ETH-USD_1d_20160518-20251029": (3_450, 2, 1, (2, 1_463_788_800_000), 0),
    "BTC-USD_1h_20231231-20240430": (2_905, 0, 0, None, 0),
    "ETH-USD_1h_20170701-20181003_zerofilled": (11_029, 0, 0, None, 0),
    "LTC-USD_1m_20181127": (1_422, 18, 18, (1, 1_543_285_020_000), 0),
    "BTC-USD.SANDBOX_1m_20210831-20210911": (15_029, 942, 393, (247, 1_631_283_600_000), 12),
}


@pytest.fixture
def write_file(tmp_path):
    """Write a candle file of these minutes, each with a row of its own."""

    def write(name, *minutes, tail=""):
        path = tmp_path / name
        text = HEADER + "".join(f"{round(minute * MINUTE)},1,2,0.5,1.5,3\n" for minute in minutes) + tail
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


def check_real(report):
    name = report["file"].rpartition("/")[2].removesuffix(".csv.gz")
    rows, missing, gaps, longest, duplicates = REAL[name]
    assert list(report) == FIELDS
    assert (report["symbol"], report["timeframe"]) == tuple(name.split("_")[:2])
    assert (report["rows"], report["missing"], report["gaps"], report["duplicates"], report["off_grid"]) == (
        rows, missing, gaps, duplicates, 0,
    )  # fmt: skip
    assert report["longest"] == (None if longest is None else {"start": longest[1], "count": longest[0]})


def test_every_real_series_has_the_figures_of_its_table(market_data, run_inside):
    done = run_inside("gaps", "--json", *(market_data / f"{name}.csv.gz" for name in REAL))
    assert (done.code, done.err) == (0, "")
    reports = done.json_lines
    assert len(reports) == len(REAL)
    for report in reports:
        check_real(report)


def test_the_synthetic_twin_has_its_figures(write_file, run_inside):
    path = write_file("BTC-USD_1m_twin.csv.gz", 10, 11, 11, 14, 16, 17.5, 21)
    done = run_inside("gaps", path, "--json", "--list")
    assert (done.code, done.err) == (0, "")
    listed = done.json.pop("list")
    assert listed == [
        {"start": 12 * MINUTE, "end": 13 * MINUTE, "count": 2},
        {"start": 15 * MINUTE, "end": 15 * MINUTE, "count": 1},
        {"start": 17 * MINUTE, "end": 20 * MINUTE, "count": 4},
    ]
    report = run_inside("gaps", path, "--json").json
    assert list(report) == FIELDS
    assert report == {
        "file": str(path), "symbol": "BTC-USD", "timeframe": "1m", "rows": 7, "first": 10 * MINUTE,
        "last": 21 * MINUTE, "missing": 7, "gaps": 3, "longest": {"start": 17 * MINUTE, "count": 4},
        "duplicates": 1, "off_grid": 1,
    }  # fmt: skip


def test_a_terminal_gets_a_table_and_every_gap_on_request(write_file, run_inside):
    path = write_file("BTC-USD_1m.csv", 0, 3)
    done = run_inside("gaps", "--list", path)
    head, row, gap = (line.split() for line in done.out.splitlines())
    assert head[:3] == ["file", "series", "rows"]
    assert row == [
        "BTC-USD_1m.csv", "BTC-USD:1m", "2", "1970-01-01T00:00Z", "1970-01-01T00:03Z", "2", "1", "2",
        "1970-01-01T00:01Z", "0", "0",
    ]  # fmt: skip
    assert gap == ["BTC-USD:1m", "1970-01-01T00:01Z", "1970-01-01T00:02Z", "2"]


def test_a_file_beyond_the_year_9999_is_reported_all_the_same(write_file, run_inside):
    path = write_file("BTC-USD_1m.csv", 10**15 // MINUTE - 2, 10**15 // MINUTE)
    done = run_inside("gaps", path)
    assert (done.code, done.err) == (0, "")
    assert f"{(10**15 // MINUTE - 1) * MINUTE}ms" in done.out


def test_a_header_alone_is_a_series_without_candles(write_file, run_inside):
    report = run_inside("gaps", write_file("BTC-USD_1m.csv"), "--json").json
    assert (report["rows"], report["first"], report["last"], report["missing"], report["longest"]) == (
        0, None, None, 0, None,
    )  # fmt: skip
    assert run_inside("gaps", write_file("BTC-USD_1m.csv")).code == 0


def test_every_name_that_does_not_say_its_series_is_named(write_file, run_inside):
    done = run_inside("gaps", write_file("dump.csv", 0), write_file("btc_1m.csv", 0), write_file("BTC-USD_3m.csv", 0))
    assert (done.code, done.out) == (78, "")
    said = done.err.splitlines()
    assert len(said) == 3
    assert "file name 'dump.csv' does not say its series; allowed: SYMBOL_TIMEFRAME" in said[0]
    assert said[0].endswith("or the flags --symbol and --timeframe")
    assert "file name 'btc_1m.csv': symbol 'btc' is not a product id; allowed" in said[1]
    assert "file name 'BTC-USD_3m.csv': timeframe '3m' is not supported; allowed: 1m" in said[2]


def test_options_say_the_series_where_names_do_not(write_file, run_inside):
    path = write_file("dump.csv", 0, 2)
    report = run_inside("gaps", path, "--symbol", "ETH-USD", "--timeframe", "1m", "--json").json
    assert (report["symbol"], report["timeframe"], report["missing"]) == ("ETH-USD", "1m", 1)
    done = run_inside("gaps", path, "--symbol", "../x", "--timeframe", "1M")
    assert done.code == 78
    assert "--symbol: symbol '../x' is not a product id; allowed" in done.err
    assert "--timeframe: timeframe '1M' is not supported; allowed" in done.err


def test_bad_rows_are_all_named_with_line_column_and_value(write_file, run_inside):
    path = write_file(
        "BTC-USD_1m.csv",
        0,
        tail="60000,1,2,0.5,x,3\nfoo\n-1,1,1,1,1,1\n60000,NaN,1,1,1,1\n60000,2,1,1,1,1\n0,9,9,9,9,9\n",
    )
    done = run_inside("gaps", path)
    assert done.code == 1
    assert [line.removeprefix(f"reconciler-engine: {path}: ") for line in done.err.splitlines()] == [
        "line 3: close 'x' is not a finite decimal number >= 0",
        f"line 4: row 'foo' has 1 columns; allowed: {HEADER.strip()}",
        "line 5: start_ms '-1' is not a whole number of milliseconds since 1970 (at most 15 digits)",
        "line 6: open 'NaN' is not a finite decimal number >= 0",
        "line 7: high '1' is below 2.0, the greatest of open, low and close",
        "line 8: start_ms '0' repeats line 2 with other values",
    ]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: None, "cannot be read: No such file or directory"),
        (lambda path: path.write_bytes(b""), "line 1: header '' is not"),
        (lambda path: path.write_text("when,open\n"), "line 1: header 'when,open' is not"),
        (lambda path: path.write_bytes(gzip.compress(HEADER.encode() * 9)[:-12]), "the gzip data is cut short"),
        (lambda path: path.write_text(HEADER + "0" * 5_000), "is longer than 4096 bytes"),
    ],
    ids=["none", "empty", "header", "cut", "endless"],
)
def test_what_is_no_candle_file_is_refused(tmp_path, run_inside, make, why):
    path = tmp_path / "BTC-USD_1m.csv"
    make(path)
    done = run_inside("gaps", path, "--json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"reconciler-engine: {path}: ")
    assert why in done.err


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_pipe_is_read_as_a_file(run_inside, pack):
    reader, writer = os.pipe()
    os.write(writer, pack(f"{HEADER}60000,1,1,1,1,1\n180000,1,1,1,1,1\n".encode()))
    os.close(writer)
    done = run_inside("gaps", "--symbol", "BTC-USD", "--timeframe", "1m", f"/dev/fd/{reader}", "--json")
    os.close(reader)
    assert (done.code, done.json["rows"], done.json["missing"]) == (0, 2, 1), done.err


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_dash_is_standard_input(write_file, pack):
    content = pack(write_file("dump.csv", 0, 2).read_bytes())
    command = [str(COMMAND), "gaps", "--symbol", "BTC-USD", "--timeframe", "1m", "-", "--json"]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["missing"]) == (0, 1), done.stderr


def test_a_thousand_bad_lines_are_told_in_four(write_file, run_inside):
    done = run_inside("gaps", write_file("BTC-USD_1m.csv", 0, tail="foo\n" * 1_000))
    assert done.code == 1
    said = done.err.splitlines()
    assert len(said) == 4
    assert said[3].endswith(": and 997 more like line 5, 1,000 in all")


def test_files_before_a_bad_one_are_reported(write_file, run_inside, tmp_path):
    done = run_inside("gaps", "--json", write_file("BTC-USD_1m.csv", 0), tmp_path / "ETH-USD_1m.csv")
    assert done.code == 1
    assert [json.loads(line)["symbol"] for line in done.out.splitlines()] == ["BTC-USD"]
