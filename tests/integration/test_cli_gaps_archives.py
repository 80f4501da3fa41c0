"""`gaps` over archives: folders, patterns, partitions and columnar files, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.integration.conftest import COMMAND, clean_environment
from tests.integration.test_cli_gaps import REAL, check_real

HEADER = "start_ms,open,high,low,close,volume\n"
T0 = 1_767_225_600_000
MINUTE = 60_000


def at(*minutes):
    return [T0 + minute * MINUTE for minute in minutes]


def write_csv(path, *minutes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(f"{time},1,2,0.5,1.5,3\n" for time in at(*minutes)))


def write_parquet(path, *minutes, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"time": pa.array(at(*minutes), pa.timestamp("ms", "UTC")), **columns}), path)


def figures(report):
    return {name: report[name] for name in ("rows", "first", "last", "missing", "gaps", "duplicates", "off_grid")}


def test_every_real_series_has_its_figures_as_parquet(market_data, tmp_path, run_inside):
    paths = []
    for name in REAL:
        with gzip.open(market_data / f"{name}.csv.gz", "rt") as file:
            rows = np.loadtxt(file, delimiter=",", skiprows=1)
        times = pa.array(rows[:, 0].astype(np.int64)).cast(pa.timestamp("ms")).cast(pa.timestamp("us", "UTC"))
        values = {kind: rows[:, index] for index, kind in enumerate(("open", "high", "low", "close", "volume"), 1)}
        paths.append(tmp_path / f"{name}.parquet")
        pq.write_table(pa.table({"time": times, **values}), paths[-1], row_group_size=5_000)
    done = run_inside("gaps", "--json", *paths)
    assert (done.code, done.err) == (0, "")
    assert len(done.json_lines) == len(REAL)
    for report in done.json_lines:
        assert report.pop("read_as") == ["time 'time' (timestamp[us, tz=UTC])"]
        report["file"] = report["file"].replace(".parquet", ".csv.gz")
        check_real(report)


def test_partitions_say_the_series_and_gaps_cross_files(tmp_path, run_inside):
    hive = tmp_path / "candles"
    write_parquet(hive / "symbol=BTC-USD" / "timeframe=1m" / "year=2026" / "b.parquet", 8, 7, 10)
    write_parquet(hive / "symbol=BTC-USD" / "timeframe=1m" / "year=2026" / "a.parquet", 0, 1, 3)
    write_parquet(hive / "symbol=ETH%2FUSD" / "timeframe=FIVE_MINUTE" / "c.parquet", 0, 10)
    write_csv(hive / "_temporary" / "BTC-USD_1m.csv", 5)
    write_csv(hive / ".hidden.csv", 5)
    done = run_inside("gaps", hive, "--json", "--list")
    assert (done.code, done.err) == (0, "")
    whole, other = done.json_lines
    assert (whole["file"], whole["symbol"], whole["timeframe"]) == (str(hive), "BTC-USD", "1m")
    assert figures(whole) == {
        "rows": 6, "first": T0, "last": at(10)[0], "missing": 5, "gaps": 3, "duplicates": 0, "off_grid": 0,
    }  # fmt: skip
    assert [(gap["start"], gap["count"]) for gap in whole["list"]] == [(at(2)[0], 1), (at(4)[0], 3), (at(9)[0], 1)]
    assert (other["symbol"], other["timeframe"], other["missing"]) == ("ETH-USD", "5m", 1)


def test_files_of_one_series_that_overlap_are_joined_exactly(tmp_path, run_inside):
    write_csv(tmp_path / "BTC-USD_1m_a.csv", 0, 1, 2, 6)
    write_parquet(tmp_path / "BTC-USD_1m_b.parquet", 1, 2, 4, 5)
    write_parquet(tmp_path / "deeper" / "BTC-USD_1m_c.parquet", 9)
    joined = run_inside("gaps", tmp_path, "--json").json
    assert figures(joined) == {
        "rows": 9, "first": T0, "last": at(9)[0], "missing": 3, "gaps": 2, "duplicates": 2, "off_grid": 0,
    }  # fmt: skip
    apart = run_inside("gaps", *sorted(tmp_path.glob("*_1m_*")), "--json").json_lines
    assert [report["missing"] for report in apart] == [3, 1]


def test_a_pattern_is_all_files_that_it_matches(tmp_path, run_inside):
    write_csv(tmp_path / "one" / "BTC-USD_1m.csv", 0, 2)
    write_csv(tmp_path / "two" / "BTC-USD_1m.csv", 4)
    write_csv(tmp_path / "two" / "BTC-USD_1m.txt", 1)
    report = run_inside("gaps", tmp_path / "**" / "*.csv", "--json").json
    assert (report["file"], report["rows"], report["missing"]) == (str(tmp_path / "**" / "*.csv"), 3, 2)
    # A name with signs of a pattern is that of a file where there is one.
    write_csv(tmp_path / "BTC-USD_1m_[1].csv", 0)
    assert run_inside("gaps", tmp_path / "BTC-USD_1m_[1].csv", "--json").json["rows"] == 1


def test_a_table_of_many_series_is_told_by_its_columns(tmp_path, run_inside):
    minutes = [minute for minute in range(40) if minute % 10 != 3]
    columns = {"symbol": ["BTC/USD", "ETH/USD"] * 18}
    write_parquet(tmp_path / "trades_1m.parquet", *minutes, **columns)
    done = run_inside("gaps", tmp_path, "--timeframe", "1m", "--json")
    assert {report["symbol"]: report["rows"] for report in done.json_lines} == {"BTC-USD": 18, "ETH-USD": 18}
    # Without the flag the file's name says no timeframe, since it has no symbol before it.
    assert "trades" in run_inside("gaps", tmp_path / "trades_1m.parquet", "--symbol", "BTC-USD").err


def test_what_says_no_series_is_left_out_of_a_folder_and_told(tmp_path, run_inside):
    write_csv(tmp_path / "BTC-USD_1m.csv", 0)
    for name in ("README.md", "dump.csv", "notes.parquet", "x_1m.csv"):
        (tmp_path / name).write_text("of another kind\n")
    done = run_inside("gaps", tmp_path, "--json")
    assert (done.code, done.json["rows"]) == (0, 1)
    assert done.err == (
        f"reconciler-engine: {tmp_path}: left out 4 files that say no series: README.md, dump.csv, notes.parquet "
        "and 1 more\n"
    )
    (tmp_path / "BTC-USD_1m.csv").unlink()
    done = run_inside("gaps", tmp_path)
    assert (done.code, done.out) == (78, "")
    assert f"'{tmp_path}' holds no candle file; allowed: names that end in .csv, .tsv, .txt, .parquet" in done.err


def test_a_series_with_a_file_that_fails_is_not_reported(tmp_path, run_inside):
    write_csv(tmp_path / "BTC-USD_1m_a.csv", 0, 1)
    write_csv(tmp_path / "ETH-USD_1m_a.csv", 0, 1)
    (tmp_path / "BTC-USD_1m_b.csv").write_text(f"{HEADER}x\n")
    (tmp_path / "BTC-USD_1m_c.parquet").write_bytes(b"PAR1 and nothing else")
    done = run_inside("gaps", tmp_path, "--json")
    assert (done.code, done.json["symbol"]) == (1, "ETH-USD")
    assert "BTC-USD_1m_b.csv: line 2: row 'x' has 1 columns" in done.err
    assert "BTC-USD_1m_c.parquet: cannot be read: " in done.err


def test_people_are_told_how_a_file_was_read(tmp_path, run_inside):
    path = tmp_path / "Coinbase_BTCUSD_1h.csv"
    path.write_text("note\nunix;symbol;close\n1767232800;BTC/USD;1\n1767225600;BTC/USD;1\n")
    done = run_inside("gaps", path)
    assert (done.code, done.err) == (0, "")
    said, _, row = done.out.splitlines()
    assert said == (
        "Coinbase_BTCUSD_1h.csv BTC-USD:1h: read as time 'unix' (seconds), symbol 'symbol', separated by semicolons, "
        "1 note line, newest first, not read: 'close'"
    )
    assert row.split()[1:6] == ["BTC-USD:1h", "2", "2026-01-01T00:00Z", "2026-01-01T02:00Z", "1"]


def test_an_export_is_loaded_as_it_is_listed(tmp_path, run_inside, redis_url):
    path = tmp_path / "BTCUSD_1h.csv"
    path.write_text("note\nunix,symbol,open,high,low,close,Volume BTC,Volume USD\n1767225600,BTC/USD,1,2,1,2,3,4\n")
    done = run_inside("load", path, "--redis-url", redis_url)
    assert (done.code, done.err) == (0, "")
    said, loaded = done.out.splitlines()
    assert said.startswith("BTCUSD_1h.csv BTC-USD:1h: read as time 'unix' (seconds), open 'open', ")
    assert loaded.startswith("BTCUSD_1h.csv: 1 candles loaded as BTC-USD:1h, 0 there already")
    again = run_inside("load", path, "--redis-url", redis_url, "--json").json
    assert (again["present"], again["read_as"]) == (1, [said.partition(": read as ")[2]])


# A process counts the memory of the one it was forked from, too; this one has little.
STARTER = """
import os, sys
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
raise SystemExit(os.waitstatus_to_exitcode(status))
"""


def peak_bytes(*arguments):
    """Run the command in a process of its own; return its answer and the most memory it held."""
    command = [sys.executable, "-S", "-c", STARTER, str(COMMAND), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, env=clean_environment(), check=True)
    answer, peak = done.stdout.splitlines()
    return json.loads(answer), int(peak)


@pytest.mark.parametrize(
    ("files", "rows"), [(2, 6_000_000), pytest.param(100, 10_000_000, marks=pytest.mark.soak)], ids=["small", "large"]
)
def test_memory_is_that_of_a_batch_whatever_the_archive_holds(tmp_path, tell_figure, files, rows):
    """Each file is one row group, so that only the reader's own bound keeps memory small."""
    write_parquet(tmp_path / "few" / "BTC-USD_1m.parquet", 0, 1)
    _, least = peak_bytes("gaps", tmp_path / "few")
    for number in range(files):
        times = T0 + MINUTE * np.arange(number * rows, (number + 1) * rows, dtype=np.int64)
        table = pa.table({"time": np.delete(times, np.arange(1, rows, 1_000)), "close": np.ones(rows - rows // 1_000)})
        pq.write_table(table, tmp_path / f"BTC-USD_1m_{number:03}.parquet", row_group_size=rows, use_dictionary=False)
    report, most = peak_bytes("gaps", tmp_path / "*.parquet")
    tell_figure(f"gaps over {files * rows:,} rows: {most >> 20} MB; over two rows {least >> 20} MB")
    assert report["missing"] == report["gaps"] == files * rows // 1_000
    # The times alone are eight bytes a row.
    assert most - least < rows * 8
    assert most < 500e6


def test_a_terminal_shows_how_far_it_is(tmp_path):
    write_csv(tmp_path / "BTC-USD_1m.csv", *range(5_000))
    master, slave = pty.openpty()
    command = [COMMAND, "gaps", tmp_path, "--json"]
    environment = clean_environment(TERM="xterm-256color", COLUMNS="80")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, env=environment)
    os.close(slave)
    out, _ = process.communicate()
    shown = os.read(master, 65_536).decode()
    os.close(master)
    assert (process.returncode, json.loads(out)["rows"]) == (0, 5_000)
    assert "reading" in shown
    assert "100%" in shown
