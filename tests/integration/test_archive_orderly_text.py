"""The quick reader of orderly text files: it answers as the other one or not at all."""

from __future__ import annotations

import gzip
import sys
from random import Random

import pytest
from tests.integration.candle_file_shapes import HEADER, SHAPES, draw

from reconciler_engine.archive import opened_file, orderly_text, series_gaps
from reconciler_engine.archive.found_files import find_sources
from reconciler_engine.archive.hints import NO_HINTS, parse_hints
from reconciler_engine.archive.orderly_text import summarise_orderly

T0 = 1_767_225_600_000
MINUTE = 60_000
ORDERLY = {"whole", "packed", "marked and of Windows"}


@pytest.fixture(autouse=True)
def every_length(monkeypatch):
    monkeypatch.setattr(orderly_text, "_LEAST_BYTES", 1)
    monkeypatch.setattr(orderly_text, "_BYTES_AT_ONCE", 4_096)


def survey(path):
    """All that is told of a file: its series, their rows and gaps, and faults."""
    ((series, faults),) = series_gaps.survey(find_sources([path], NO_HINTS), NO_HINTS, lambda _: None)
    return series, [fault.faults for fault in faults]


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.soak)], ids=["bounded", "whole"])
def test_it_answers_as_the_exact_reader_or_not_at_all(tmp_path, monkeypatch, rounds):
    answered = set()
    for number in range(rounds * len(SHAPES)):
        shape, _, content = draw(number)
        if rounds == 1 and shape.endswith("bomb"):
            continue
        path = tmp_path / "BTC-USD_1m.csv"
        path.write_bytes(content)
        (source,) = find_sources([path], NO_HINTS)
        quick = survey(path)
        if summarise_orderly(source.files[0], NO_HINTS, lambda _: None) is not None:
            answered.add(shape)
        with monkeypatch.context() as patch:
            patch.setattr(series_gaps, "summarise_orderly", lambda *_: None)
            assert survey(path) == quick, f"file {number}, {shape}"
    assert answered >= ORDERLY
    assert not answered & {"repeated", "contradicted", "no numbers", "beside the grid", "row bomb"}


def lines(count, *, step=MINUTE, values="1,2,0.5,1.5,3"):
    return [f"{T0 + number * step},{values}\n" for number in range(count)]


def quick(path, content, **said):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    flags = ("symbol", "timeframe", "columns", "time_unit", "time_zone")
    hints = parse_hints(**{flag: said.get(flag) for flag in flags})
    (source,) = find_sources([path], hints)
    taken: list[int] = []
    found = summarise_orderly(source.files[0], hints, taken.append)
    assert taken == sorted(taken)
    return found


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_long_files_in_either_order_are_answered_block_by_block(tmp_path, order):
    rows = lines(3_000)
    del rows[1_000:1_002], rows[7]
    series, summary, read_as = quick(tmp_path / "BTC-USD_1m.csv", HEADER + "".join(rows[::order]))
    assert (str(series), summary.count, summary.missing, len(summary.gaps), read_as) == ("BTC-USD:1m", 2_997, 3, 2, "")


def test_an_export_of_seconds_is_answered_too(tmp_path):
    rows = "".join(f"{T0 // 1_000 + 60 * number};x;{number}\n" for number in range(1_000))
    series, summary, read_as = quick(tmp_path / "BTCUSD_1m.csv.gz", gzip.compress(f"note\nunix;a;b\n{rows}".encode()))
    assert (str(series), summary.count, summary.missing) == ("BTC-USD:1m", 1_000, 0)
    assert read_as.startswith("time 'unix' (seconds), separated by semicolons, 1 note line, ")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows, at: rows.insert(at, rows[at]),
        lambda rows, at: rows.insert(0, rows[at]),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",1,", ",9,")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",0.5,", ",0,")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",3", ",nan")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",3", ",-3")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",2,", ",1e999,")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",3", ",")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace(",3", ",3,3")),
        lambda rows, at: rows.__setitem__(at, rows[at].replace("0,", "1,", 1)),
        lambda rows, at: rows.__setitem__(at, "-" + rows[at]),
    ],
    ids=["twice", "again", "high", "zero", "nan", "negative", "infinite", "empty", "more", "off grid", "before 1970"],
)
def test_one_row_that_is_no_good_makes_it_silent(tmp_path, spoil):
    rows = lines(1_000)
    assert quick(tmp_path / "BTC-USD_1m.csv", HEADER + "".join(rows)) is not None
    spoil(rows, Random(0).randrange(500, 900))
    assert quick(tmp_path / "BTC-USD_1m.csv", HEADER + "".join(rows)) is None


def test_a_file_that_misleads_or_ends_early_makes_it_silent(tmp_path):
    whole = (HEADER + "".join(lines(1_000))).encode()
    assert quick(tmp_path / "BTC-USD_5m.csv", whole) is None
    assert quick(tmp_path / "BTC-USD_1m.csv.gz", gzip.compress(whole)[:-20]) is None
    assert quick(tmp_path / "BTC-USD_1m.csv", whole, time_unit="s") is None


def test_a_file_that_unpacks_to_too_much_makes_it_silent(tmp_path, monkeypatch):
    packed = gzip.compress((HEADER + "".join(lines(30_000))).encode())
    assert quick(tmp_path / "BTC-USD_1m.csv.gz", packed) is not None
    monkeypatch.setattr(opened_file, "_MOST_RATIO", 2)
    assert quick(tmp_path / "BTC-USD_1m.csv.gz", packed) is None


def test_without_pyarrow_it_is_silent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert quick(tmp_path / "BTC-USD_1m.csv", HEADER + "".join(lines(10))) is None
